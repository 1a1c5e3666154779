"""Idempotency keys: a proposal that is sent twice is one session."""

from __future__ import annotations

import queue
import sqlite3
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from gateway.access.seen_tokens import TokenWanted
from gateway.access.tokens import TOKEN_FILE
from gateway.cli import app
from gateway.client import Gateway
from gateway.storage.database import FILE as STORE_FILE
from parties.agreement.plan import Plan
from parties.errors import GatewayError
from parties.service.lifecycle import State
from tests.gateway.conftest import PLAN_TOML, Consortium, House, check_problem

MakePlan = Callable[..., Plan]


def proposed(http: httpx2.Client, plan: Plan, key: str) -> httpx2.Response:
    return http.post("/v1/sessions", json=plan.model_dump(mode="json"), headers={"idempotency-key": key})


def test_repetition_is_answered_as_the_first(consortium: Consortium, http: httpx2.Client, make_plan: MakePlan):
    """The same key and plan give the same answer, also after the session went on, and nobody is asked twice."""
    key = str(uuid.uuid4())
    first = proposed(http, make_plan(), key)
    consortium.started()
    again = proposed(http, make_plan(), key)
    assert (again.status_code, again.content, again.headers["location"]) == (
        201,
        first.content,
        first.headers["location"],
    )
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert len(http.get("/v1/sessions").json()) == 1
    for daemon in consortium.everybody:
        with pytest.raises(queue.Empty):
            daemon.settled().incoming.get_nowait()


@pytest.mark.usefixtures("consortium")
def test_defaults_make_no_other_plan(http: httpx2.Client, make_plan: MakePlan):
    """Which keys of a plan a client writes out is its own matter: what counts is what they mean."""
    whole = make_plan().model_dump(mode="json")
    short = make_plan().model_dump(mode="json", exclude_defaults=True)
    headers = {"idempotency-key": "k"}
    assert whole != short
    first, again = (http.post("/v1/sessions", json=body, headers=headers) for body in (whole, short))
    assert first.json()["id"] == again.json()["id"]


@pytest.mark.usefixtures("consortium")
def test_other_plan_is_refused(http: httpx2.Client, client: Gateway, make_plan: MakePlan):
    """A key that was used for another plan is a problem, and proposes nothing."""
    client.propose(make_plan(), "k")
    check_problem(proposed(http, make_plan(purpose="another"), "k"), 422, "rest.key-reused")
    with pytest.raises(GatewayError, match="send a key of its own"):
        client.propose(make_plan(purpose="another"), "k")
    assert len(client.sessions()) == 1


@pytest.mark.usefixtures("consortium")
def test_no_key_or_another_key_proposes_again(client: Gateway, make_plan: MakePlan):
    """Without a key, and under each key, the same plan is a session of its own."""
    ids = {client.propose(make_plan(), key).id for key in ("", "", "k", "l")}
    assert len(ids) == 4


@pytest.mark.usefixtures("consortium")
def test_refused_proposal_leaves_its_key_unused(client: Gateway, make_plan: MakePlan):
    """What was not proposed may be mended and sent under the same key."""
    with pytest.raises(GatewayError, match="no 'nobody'"):
        client.propose(make_plan(dealer="nobody"), "k")
    assert client.propose(make_plan(), "k").state is State.PROPOSED


@pytest.mark.usefixtures("consortium")
def test_repetitions_at_once_are_one_session(gateway: House, client: Gateway, make_plan: MakePlan):
    """Clients that send one key at the same time are told of one session."""

    def propose(_number: int) -> str:
        with gateway.client() as own:
            return own.propose(make_plan(), "k").id

    with ThreadPoolExecutor(4) as senders:
        assert len(set(senders.map(propose, range(8)))) == 1
    assert len(client.sessions()) == 1


@pytest.mark.usefixtures("consortium")
def test_command_takes_a_key(gateway: House, tmp_path: Path):
    """`privity session propose --key` proposes a plan once, however often it is run."""
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN_TOML)
    place = ["--gateway", f"http://{gateway.serving.rest}", "--token-file", str(gateway.home / TOKEN_FILE)]
    first, again = (
        CliRunner().invoke(app, ["session", "propose", str(plan), "--key", "k", "--json", *place]) for _ in range(2)
    )
    assert first.exit_code == 0, first.output
    assert first.output == again.output


def test_repetition_is_no_open_session_more(house: House, make_plan: MakePlan):
    """At the limit of open sessions a repetition is still answered."""
    house.change("max_open_sessions = 100", "max_open_sessions = 1")
    with house.serve(), house.client() as client:
        house.consortium()
        assert client.propose(make_plan(), "k").id == client.propose(make_plan(), "k").id
        house.hang_up()


def test_key_is_kept_for_a_day_and_across_restarts(house: House, make_plan: MakePlan):
    """A key holds after a restart, and a day later no more; no text of it lies in the store."""
    with house.serve(), house.client() as client:
        house.consortium().a.settled()
        first = client.propose(make_plan(expires_in_hours=100), "wanted-twice").id
        house.hang_up()
    with house.serve(), house.client() as client:
        house.time_ahead = timedelta(hours=23)
        assert client.propose(make_plan(expires_in_hours=100), "wanted-twice").id == first
        house.time_ahead = timedelta(hours=25)
        assert client.propose(make_plan(expires_in_hours=100), "wanted-twice").id != first
    with closing(sqlite3.connect(house.home / STORE_FILE)) as store:
        assert "wanted-twice" not in "\n".join(store.iterdump())


@pytest.mark.parametrize("key", ["", "two words", "x" * 201, "\u00e9"])
def test_bad_key_is_refused(http: httpx2.Client, make_plan: MakePlan, key: str):
    """A key that is empty, too long or not visible ASCII is a problem, and is not repeated."""
    body, header = make_plan().model_dump(mode="json"), {"idempotency-key": key.encode("latin-1")}
    found = check_problem(http.post("/v1/sessions", json=body, headers=header), 400, "rest.request")
    assert "idempotency-key" in found.detail
    assert key not in {"two words", "x" * 201} or key not in found.detail


def test_proposal_reaches_everybody_once(consortium: Consortium, client: Gateway, make_plan: MakePlan):
    """The first under a key is a proposal like any other."""
    created = client.propose(make_plan(), "k")
    assert consortium.proposed().digest == created.id
    client.propose(make_plan(), "k")
    for daemon in consortium.everybody:
        with pytest.raises(queue.Empty):
            daemon.settled().incoming.get_nowait()


@pytest.mark.usefixtures("consortium")
def test_a_cancellation_may_be_sent_twice(http: httpx2.Client, client: Gateway, make_plan: MakePlan):
    """Under one key it is done once and answered alike; without one, or under a proposal's, it is a problem."""
    session = client.propose(make_plan(), "proposed").id
    place, headers = f"/v1/sessions/{session}/cancel", {"idempotency-key": "k"}
    check_problem(http.post(place, headers={"idempotency-key": "proposed"}), 422, "rest.key-reused")
    first, again = (http.post(place, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code, again.content) == (200, 200, first.content)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert client.cancel(session, "k").state is State.CANCELLED
    check_problem(http.post(place), 409, "lifecycle")
    check_problem(http.post(place, headers={"idempotency-key": "l"}), 409, "lifecycle")


def test_a_token_is_made_once_under_a_key(gateway: House, http: httpx2.Client):
    """A repetition makes none, and says which was made and that its secret is gone; keys are each account's own."""
    headers = {"idempotency-key": "k"}
    with gateway.http(gateway.personal("eve", "consortium", "admin")) as other:
        first, again = (http.post("/v1/tokens", json={"account": "ada"}, headers=headers) for _ in range(2))
        made = first.json()["token"]["id"]
        found = check_problem(again, 422, "rest.key-reused")
        assert made in found.detail
        assert "revoke" in found.action
        assert sum(token["account"] == "ada" for token in http.get("/v1/tokens").json()) == 1
        theirs = other.post("/v1/tokens", json={}, headers=headers)
        assert theirs.json()["token"]["id"] != made
    with gateway.http(first.json()["secret"]) as ada:
        assert ada.get("/v1/me").json()["account"] == "ada"
    with gateway.client() as client, pytest.raises(GatewayError, match=made):
        client.create_token(TokenWanted(account="ada"), "k")
