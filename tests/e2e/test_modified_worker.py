"""A party whose worker was modified gets nothing beyond the contract, and the logs say who asked for what."""

from __future__ import annotations

import json

import pytest

from gateway.sandbox.consortium import Consortium, Daemon
from parties.audit.events import (
    CommitmentReceived,
    CommitmentSigned,
    DisclosureRecorded,
    DisclosureRefused,
    FrameRefused,
    SessionCancelled,
    SessionFailed,
    TranscriptCompared,
)
from parties.audit.snapshot import locate, take
from parties.service.lifecycle import State
from tests.e2e.modified_worker import ASKED, DEED, GOT, INTENTS, OF_ITS_NODE, OTHER_WORDS, TWO_FACED
from tests.e2e.world import ID, World, plan_for, privity, split_columns, until

MODIFIED, HONEST = "org-1", ("org-0", "org-2")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    files = split_columns(tmp_path_factory.mktemp("files"), "diabetes", 3)
    with Consortium(tmp_path_factory.mktemp("consortium"), plan_for(files, max_iter=5)) as consortium:
        consortium.start(files, ID, lambda _: None)
        consortium.daemons[MODIFIED].stop()
        home = consortium.directory / MODIFIED
        (home / DEED).write_text("")
        consortium.daemons[MODIFIED] = Daemon(MODIFIED, ["node", "serve"], home, module="tests.e2e.modified_node")
        consortium.daemons[MODIFIED].wait_ready()
        world = World(consortium)
        until("its return", lambda: all(view.online for view in world.client.participants()))
        yield world


@pytest.fixture
def run(world):
    """A session in which the worker does this, and what it got."""

    def run(deed):
        home = world.directory / MODIFIED
        (home / GOT).unlink(missing_ok=True)
        (home / DEED).write_text(deed)
        view = world.ended(world.begin(world.plan))
        until("what it got", (home / GOT).exists)
        return view, json.loads((home / GOT).read_text())

    return run


def recorded(world, name, session, kind):
    found = [entry.event for entry in take(locate(world.directory / name)).entries()]
    return [event for event in found if isinstance(event, kind) and event.session == session]


@pytest.mark.parametrize("deed", ASKED)
def test_what_is_asked_of_peers_is_not_answered(world, run, deed):
    """Whatever a worker asks its peers for, and by whichever name: it gets at most what the program has there anyway,
    the session ends for everybody, and the honest logs name it, what it asked for, and what was to come.
    """
    view, frames = run(deed)
    during, asked, words = ASKED[deed]
    assert view.state is State.FAILED
    assert view.fault.who == MODIFIED, view.fault
    assert not [name for _, name in frames if name in {"disclosure", asked} and name != during]
    assert all(sum(who == peer for who, _ in frames) <= 1 for peer in HONEST)  # the round that was under way
    refused = [event for name in HONEST for event in recorded(world, name, view.id, FrameRefused)]
    assert refused
    for event in refused:
        assert (event.who, event.name, event.shape) == (MODIFIED, asked.replace(" ", "-"), (words,))
    assert_ended_with_reasons(world, view.id)
    for name in HONEST:
        (failed,) = recorded(world, name, view.id, SessionFailed)
        assert failed.who == MODIFIED
        shown = privity("audit", "report", view.id, "--json", "--home", world.directory / name)
        assert MODIFIED in shown.out


def test_what_is_asked_of_the_own_node_is_refused_there(world, run):
    """A worker that asks its own node for more, or once more, or for somebody else: each is refused, and recorded."""
    view, refused = run(OF_ITS_NODE)
    assert view.state is State.COMPLETED
    assert len(refused) == len(INTENTS)
    found = recorded(world, MODIFIED, view.id, DisclosureRefused)
    assert [(event.who, event.name, event.recipients, event.shape) for event in found] == [
        (MODIFIED, intent.name, (intent.recipient,), (intent.values,)) for intent in INTENTS
    ]


def test_who_signs_other_words_than_it_sent_is_named(world, run):
    """One frame more in what it signs than came: the peer that it was for says so, and nothing more is disclosed."""
    view, _ = run(OTHER_WORDS)
    assert view.state is State.FAILED
    assert (view.fault.code, view.fault.who) == ("engine.commitment", MODIFIED)
    assert_ended_with_reasons(world, view.id)
    came = {name: recorded(world, name, view.id, CommitmentReceived) for name in HONEST}
    wrong = [event for name in HONEST for event in came[name] if not event.equal]
    assert {event.partner for event in wrong} == {MODIFIED}
    assert all(event.equal for name in HONEST for event in came[name] if event.partner != MODIFIED)
    assert recorded(world, MODIFIED, view.id, CommitmentSigned)


def test_who_tells_two_peers_different_things_is_told_nothing(world, run):
    """One word more to one peer than to the other: chains differ, nothing is disclosed, and both honest logs say so."""
    view, frames = run(TWO_FACED)
    assert view.state is State.FAILED
    assert {name for _, name in frames} <= {"transcript"}
    assert_ended_with_reasons(world, view.id)
    differing = {name: recorded(world, name, view.id, TranscriptCompared) for name in HONEST}
    assert any(differing.values())
    for name in HONEST:
        assert not [event for event in differing[name] if event.equal]
        assert len(recorded(world, name, view.id, DisclosureRecorded)) <= 1  # written before chains are compared


def assert_ended_with_reasons(world, session) -> None:
    """Each of the four logs has one end of the session, and why."""
    for name in (*HONEST, MODIFIED, world.plan.dealer):
        ends = [event for kind in (SessionFailed, SessionCancelled) for event in recorded(world, name, session, kind)]
        assert [bool(event.reason) for event in ends] == [True], (name, ends)
