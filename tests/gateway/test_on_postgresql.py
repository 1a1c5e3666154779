"""The gateway's life once more, on PostgreSQL: the same tests as on its own file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import httpx2
import pytest

from gateway.errors import StoreAway
from gateway.storage.bell import Bell
from gateway.storage.store import Store
from parties.service.lifecycle import State
from parties.service.messages import Progress, Start, Welcome
from tests.e2e.world import until
from tests.gateway.conftest import House, check_problem
from tests.gateway.test_life import *  # noqa: F403
from tests.parties.databases import Server, postgresql


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgresql() as running:
        yield running


def test_a_running_session_outlives_the_database(tmp_path: Path, make_plan):
    """While the server is away requests are told so and daemons come back; once it is there the session goes on."""
    with postgresql() as server:
        house = House(tmp_path / "gateway", server.url)
        house.change("absence_s = 5.0", "absence_s = 0.5")
        try:
            with (
                house.serve(),
                house.client() as client,
                httpx2.Client(base_url=f"http://{house.serving.rest}", timeout=60) as http,
            ):
                consortium = house.consortium()
                session = client.propose(make_plan()).id
                consortium.started()
                server.stop()
                headers = {"authorization": f"Bearer {house.token}"}
                check_problem(http.get(f"http://{house.serving.rest}/v1/sessions", headers=headers), 503, "rest.store")
                for daemon in consortium.everybody:
                    daemon.say(Progress(session=session, iteration=1, of=2, rounds=3, bytes_sent=4))
                    assert daemon.incoming.get(timeout=30) is grpc.StatusCode.UNAVAILABLE
                server.start()
                back = [house.again(daemon).dial() for daemon in consortium.everybody]
                for daemon in back:
                    daemon.hear(Welcome)
                    daemon.hear(Start)
                    daemon.say(daemon.finished(session))
                until("its end", lambda: client.session(session).state is State.COMPLETED)
        finally:
            house.hang_up()


async def ring(bell: Bell, times: int) -> None:
    for _ in range(times):
        await bell.ring()


def test_a_bell_says_that_the_database_is_away(tmp_path: Path):
    """Whenever the server goes: before the bell hangs, while somebody waits for it, and after."""
    with postgresql() as server, closing(Store.open(tmp_path, server.url)) as store:
        with closing(store.bell("one")) as bell:
            server.stop()
            with pytest.raises(StoreAway):
                asyncio.run(asyncio.wait_for(ring(bell, 3), 30))  # the server's last words ring it, too
        with pytest.raises(StoreAway):
            store.bell("another")
        server.start()
        store.bell("another").close()


@pytest.fixture
def house(tmp_path: Path, server: Server) -> Iterator[House]:
    """A gateway on an empty database of the server, not serving yet."""
    made = House(tmp_path / "gateway", server.fresh(f"house_{tmp_path.name}".lower()[:60]))
    yield made
    made.hang_up()


def test_tokens_hold_here_too(house: House):
    """A personal token made and revoked beside the gateway is taken, and refused, by what the server has of it."""
    token = house.personal("ada", "consortium", "analyst")
    with house.serve(), house.http(token) as http:
        assert http.get("/v1/me").json()["account"] == "ada"
        house.revoke(token)
        assert "was revoked" in check_problem(http.get("/v1/me"), 401, "rest.unauthorised").detail
