"""Two gateways' processes on one PostgreSQL, real nodes at either: sessions go across, and over one gateway's death."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from gateway.access.tokens import TOKEN_FILE, Token
from gateway.client import Gateway
from gateway.home import init, init_beside
from gateway.sandbox.consortium import GATEWAY, Consortium, Daemon
from parties.agreement.plan import Plan
from parties.audit.events import SessionCompleted
from parties.audit.snapshot import locate, take
from parties.audit.verify import verify
from parties.audit.witnesses import cosigned_of
from parties.errors import SettingsError
from parties.keys.identity import Identity
from parties.service.lifecycle import FINAL, State
from tests.e2e.world import ID, World, plan_for, split_columns, until
from tests.gateway.conftest import check_problem
from tests.parties.databases import Server, postgresql

SECOND = "gateway-2"


class Pair(Consortium):
    """A consortium with a second gateway, which all but one participant dial first."""

    other: Gateway

    def _launch(self, name, command, home):
        ready = super()._launch(name, command, home)
        first = self.directory / GATEWAY
        init_beside(self.directory / SECOND, first, name=SECOND, rest="127.0.0.1:0", control="127.0.0.1:0")
        self.daemons[SECOND] = Daemon(SECOND, [GATEWAY, "serve"], self.directory / SECOND)
        second = self.daemons[SECOND].wait_ready()
        self.controls = [ready["control"], second["control"]]
        token = Token.load(self.directory / SECOND / TOKEN_FILE).reveal()
        self.other = Gateway(f"http://{second['rest']}", token)
        return ready

    def _furnish(self, name, file, id_column, say):
        """org-0 dials the first gateway first, everybody else the second."""
        super()._furnish(name, file, id_column, say)
        path = self.directory / name / "settings.toml"
        first, second = self.controls if name == "org-0" else reversed(self.controls)
        text = path.read_text().replace(f'gateway = "{self.controls[0]}"', f'gateway = "{first}"')
        path.write_text(text.replace("gateways = []", f'gateways = ["{second}"]'))

    def stop(self):
        self.other.close()
        super().stop()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgresql() as running:
        yield running


@pytest.fixture
def pair(tmp_path: Path, server: Server) -> Iterator[Pair]:
    files = split_columns(tmp_path, "diabetes", 2)
    made = Pair(tmp_path / "consortium", plan_for(files), database=server.fresh(f"pair_{abs(hash(tmp_path.name))}"))
    with made:
        made.start(files, ID, lambda _: None)
        yield made


def connected(pair: Pair, name: str) -> set[str]:
    """Participants that a gateway said in its log are connected to it."""
    lines = (pair.directory / name / "daemon.log").read_text().splitlines()
    return {line.split('"who": "')[1].split('"')[0] for line in lines if '"event": "connected"' in line}


def watch(client: Gateway, session: str) -> queue.Queue[str]:
    """States as a watcher sees them; an empty one at the end."""
    seen: queue.Queue[str] = queue.Queue()

    def follow() -> None:
        for event in client.events(session):
            seen.put(str(event.data["state"]) if event.kind == "state" else event.kind)
        seen.put("")

    threading.Thread(target=follow, daemon=True).start()
    return seen


def until_end(seen: queue.Queue[str]) -> list[str]:
    found: list[str] = []
    while one := seen.get(timeout=120):
        found.append(one)
    return found


def test_a_session_goes_across_gateways(pair: Pair):
    """Proposed at one gateway, approved by nodes at either, watched at both, cosigned by partners at the other."""
    assert (connected(pair, GATEWAY), connected(pair, SECOND)) == ({"org-0"}, {"org-1", "dealer"})
    world = World(pair)
    session = world.client.propose(world.plan).id
    seen = [watch(client, session) for client in (pair.client, pair.other)]
    pair.approve(session, lambda _: None)
    for told in map(until_end, seen):
        states = [one for one in told if one != "progress"]
        assert [state for state, before in zip(states, ["", *states], strict=False) if state != before] == [
            "proposed",
            "running",
            "completed",
        ]
        assert "progress" in told
    views = [client.session(session) for client in (pair.client, pair.other)]
    assert views[0] == views[1]
    assert all(one.report and one.online for one in views[0].participants)
    own = {"version", "since", "left", "cosigned"}  # what one gateway's process has seen itself
    listed = [[each.model_dump(exclude=own) for each in one.participants()] for one in (pair.client, pair.other)]
    assert listed[0] == listed[1]
    for name in (GATEWAY, SECOND):
        until_cosigned = verify(
            pair.directory / name, Identity.load(pair.directory / name / "identity.pem").fingerprint
        )
        assert until_cosigned.ok, until_cosigned.line()


def cosigners(home: Path) -> set[str]:
    """Who cosigned a head of this home's log that covers a session's end."""
    entries = [entry.event for entry in take(locate(home)).entries()]
    end = next(number for number, event in enumerate(entries) if isinstance(event, SessionCompleted))
    return {head.cosigner.name for head in cosigned_of(home) if head.checkpoint.size > end}


def test_one_of_two_races_wins(pair: Pair):
    """The same session is cancelled at both gateways at once, and the same key is used at both: one does it."""
    with ThreadPoolExecutor(2) as pool:
        keyed = [pool.submit(client.propose, pair.plan, "wanted-once").result for client in (pair.client, pair.other)]
        first, second = (result(timeout=60).id for result in keyed)
        assert first == second

        def cancel(client: Gateway) -> httpx2.Response:
            return client._http.post(f"/v1/sessions/{first}/cancel", timeout=60)

        asked = [pool.submit(cancel, client) for client in (pair.client, pair.other)]
        won, lost = sorted((one.result(timeout=60) for one in asked), key=lambda answer: answer.status_code)
    assert (won.status_code, won.json()["state"]) == (200, "cancelled")
    assert "can't cancel" in check_problem(lost, 409, "lifecycle").detail
    views = [client.session(first) for client in (pair.client, pair.other)]
    assert views[0] == views[1]
    assert (views[0].state, views[0].fault.code) == (State.CANCELLED, "cancelled")
    until("every node to hear of it", lambda: all(World(pair).state(name, first) in FINAL for name in pair.parties))


def longer(plan: Plan) -> Plan:
    """One that trains for long enough to be disturbed."""
    return plan.model_copy(update={"model": plan.model.model_copy(update={"max_iter": 1500})})


def test_a_session_outlives_its_gateway(pair: Pair):
    """The gateway of two participants is killed in the middle: they come to the other, and the session completes."""
    world = World(pair)
    session = world.begin(
        world.plan.model_copy(update={"model": world.plan.model.model_copy(update={"max_iter": 1500})})
    )
    world.until_training(session, "org-1")
    os.kill(pair.daemons[SECOND].pid, signal.SIGKILL)
    until("everybody to be at the other gateway", lambda: connected(pair, GATEWAY) == {*pair.members})
    until("its end", lambda: world.client.session(session).state in FINAL)
    view = world.client.session(session)
    assert view.state is State.COMPLETED, view.fault
    assert all(one.report for one in view.participants)


def test_a_gateway_that_stood_still_begins_anew(pair: Pair):
    """One that is stopped is given up, its participants come to the other; when it goes on it takes part again."""
    world = World(pair)
    os.kill(pair.daemons[SECOND].pid, signal.SIGSTOP)
    try:
        until("everybody to be at the other gateway", lambda: connected(pair, GATEWAY) == {*pair.members})
        session = world.begin(world.plan)
        until("its end", lambda: world.client.session(session).state in FINAL)
        assert world.client.session(session).state is State.COMPLETED
        log = pair.directory / GATEWAY / "daemon.log"
        until("it to be given up", lambda: "stands still and is given up" in log.read_text())
    finally:
        os.kill(pair.daemons[SECOND].pid, signal.SIGCONT)
    until("it to see the session", lambda: pair.other.session(session).state is State.COMPLETED)
    log = pair.directory / SECOND / "daemon.log"
    until("it to begin anew", lambda: "had given this one up" in log.read_text())
    again = pair.other.propose(pair.plan).id
    pair.approve(again, lambda _: None)
    until("another session", lambda: pair.other.session(again).state is State.COMPLETED)


def test_a_file_is_one_gateways(tmp_path: Path):
    """Nobody is made a second gateway on a file, or under the first one's name."""
    init(tmp_path / "first")
    with pytest.raises(SettingsError, match="keeps its sessions in a file"):
        init_beside(tmp_path / "second", tmp_path / "first", name=SECOND)
