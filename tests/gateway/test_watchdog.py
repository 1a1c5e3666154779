"""What the watchdog sees between two of its looks, by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.coordination.journal import MemoryJournal
from gateway.coordination.sessions import Sessions
from gateway.settings import GatewaySettings
from gateway.storage.store import Store
from parties.service.lifecycle import State
from parties.service.messages import FromGateway
from tests.contracts.store_suite import NOW, PEOPLE, contract


class Line:
    """A participant's stream that nobody reads."""

    def send(self, message: FromGateway) -> None:
        pass

    def close(self) -> None:
        pass


class Watched:
    """A gateway without a network whose one session runs, in which everybody may be connected."""

    def __init__(self, store: Store) -> None:
        self.store, self.settings, self.now = store, GatewaySettings(), 0.0
        with store.transaction() as rows:
            for name in PEOPLE:
                rows.invite(name, "party", "authority", NOW)
            rows.add_session(contract(1), "{}", "consortium")
            rows.set_state(contract(1).digest, State.RUNNING, None)
        self.sessions = Sessions(store, MemoryJournal(), self.settings, clock=lambda: NOW, monotonic=lambda: self.now)
        self.lines = {name: Line() for name in PEOPLE}
        for name in PEOPLE:
            self.come(name)

    def come(self, name: str) -> None:
        self.sessions.connected(name, self.lines[name])

    def leave(self, name: str) -> None:
        self.sessions.disconnected(name, self.lines[name])

    def look(self, after: float) -> tuple[State, str]:
        """The session's state and whom its fault names, once so many seconds more have gone by."""
        self.now += after
        self.sessions.tick()
        with self.store.reading() as rows:
            record = rows.session(contract(1).digest)
        assert record is not None
        return record.state, record.fault.who if record.fault else ""


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with closing(Store.open(tmp_path)) as store:
        yield Watched(store)


def test_who_leaves_is_awaited_from_then_on(watched):
    """As long as the settings allow an absence, counted from the moment that the stream ended, not from the look."""
    watched.look(0)
    watched.now += 0.4
    watched.leave("clinic-b")
    assert watched.look(0.1) == (State.RUNNING, "")
    assert watched.look(watched.settings.absence_s - 0.2) == (State.RUNNING, "")
    assert watched.look(0.2) == (State.FAILED, "clinic-b")


def test_who_came_and_left_between_two_looks_is_no_newcomer(watched):
    """It is awaited as anybody who was seen, not for as long as those who have yet to return after a restart."""
    watched.leave("clinic-b")
    assert watched.look(0.1) == (State.RUNNING, "")
    assert watched.look(watched.settings.absence_s) == (State.FAILED, "clinic-b")


def test_who_returns_is_forgiven(watched):
    """Each absence is counted for itself."""
    for _ in range(3):
        watched.leave("clinic-b")
        assert watched.look(watched.settings.absence_s - 0.5) == (State.RUNNING, "")
        watched.come("clinic-b")
        assert watched.look(1.0) == (State.RUNNING, "")
