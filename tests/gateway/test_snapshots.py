"""How a session looks is made again when something of it changes, and no sooner."""

from __future__ import annotations

from collections.abc import Callable

from gateway.client import Gateway
from gateway.coordination.snapshots import KEPT, Snapshot, Snapshots
from gateway.storage.store import Mark
from parties.agreement.plan import Plan
from parties.service.lifecycle import State
from parties.service.messages import Progress, Start
from tests.gateway.conftest import Consortium

MakePlan = Callable[..., Plan]


def test_a_snapshot_holds_for_its_mark_and_who_is_there():
    """After a change, or once somebody came or went, none is known."""
    snapshots, snapshot = Snapshots(), object.__new__(Snapshot)
    here = frozenset({"clinic-a"})
    snapshots.keep(Mark("aa", 1), here, snapshot)
    assert snapshots.find(Mark("aa", 1), here) is snapshot
    assert snapshots.find(Mark("aa", 2), here) is None
    assert snapshots.find(Mark("aa", 1), here | {"clinic-b"}) is None
    assert snapshots.find(Mark("bb", 1), here) is None


def test_those_shown_longest_ago_are_forgotten():
    """Memory is bounded, whatever is asked for."""
    snapshots, snapshot = Snapshots(), object.__new__(Snapshot)
    for number in range(KEPT):
        snapshots.keep(Mark(str(number), 0), frozenset(), snapshot)
    assert snapshots.find(Mark("0", 0), frozenset()) is snapshot
    snapshots.keep(Mark("another", 0), frozenset(), snapshot)
    assert snapshots.find(Mark("0", 0), frozenset()) is snapshot
    assert snapshots.find(Mark("1", 0), frozenset()) is None


def test_every_list_shows_what_is_so(consortium: Consortium, client: Gateway, make_plan: MakePlan):
    """A list that was shown before shows a state, a signature, progress and who left as soon as they are there."""
    session = client.propose(make_plan()).id

    def shown() -> tuple[State, set[str], set[str], int | None]:
        (view,) = client.sessions()
        assert view == client.session(session)
        online = {one.name for one in view.participants if one.online}
        signed = {one.name for one in view.participants if one.approved}
        progress = next(one.progress for one in view.participants if one.name == "clinic-a")
        return view.state, signed, online, progress.iteration if progress else None

    everybody = {"clinic-a", "clinic-b", "dealer"}
    assert shown() == (State.PROPOSED, set(), everybody, None)
    contract = consortium.proposed()
    consortium.a.say(consortium.a.approval(contract)).settled()
    assert shown() == (State.PROPOSED, {"clinic-a"}, everybody, None)
    for daemon in (consortium.b, consortium.dealer):
        daemon.say(daemon.approval(contract))
    for daemon in consortium.everybody:
        daemon.hear(Start)
    for iteration in (1, 2):
        consortium.a.say(Progress(session=session, iteration=iteration, of=9, rounds=1, bytes_sent=1)).settled()
        assert shown() == (State.RUNNING, everybody, everybody, iteration)
    client.cancel(session)
    assert shown()[0] is State.CANCELLED
