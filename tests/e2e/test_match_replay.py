"""An officer has the own part of a matching made again, where the contract kept a recording."""

from __future__ import annotations

import json

import pytest

from gateway.sandbox.consortium import Consortium
from parties.agreement.kinds import parse_contract
from parties.agreement.match_plan import MatchingPlan
from parties.agreement.plan import RecordingPlan
from parties.audit.events import ReplayDeleted, Replayed, ReplayKept
from parties.service.lifecycle import State
from parties.service.store import SessionStore
from tests.e2e.test_replay import DAYS, again, allow, entries, kinds
from tests.e2e.world import ID, World, plan_for, privity, split_columns, until

LISTS = {"org-0": range(400), "org-1": range(100, 450)}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    files = split_columns(tmp_path_factory.mktemp("files"), "diabetes", 2)
    with Consortium(tmp_path_factory.mktemp("consortium"), plan_for(files)) as consortium:
        consortium.start(files, ID, lambda _: None)
        world = World(consortium)
        for name, rows in LISTS.items():
            world.add(name, "list", {ID: [f"P{row}" for row in rows], "x": [repr(row * 0.5) for row in rows]})
        allow(world)
        yield world


def plan(world, days=DAYS, **changes):
    content = {
        "kind": "matching",
        "purpose": "find the records that both have",
        "dealer": world.plan.dealer,
        "result": "both",
        "retention": RecordingPlan(replay_days=days),
        "parties": [{"name": name, "data": "list"} for name in world.parties],
    }
    return MatchingPlan.model_validate(content | changes)


@pytest.fixture(scope="module")
def session(world) -> str:
    view = world.train(plan(world))
    assert view.state is State.COMPLETED, view.fault
    return view.id


@pytest.mark.parametrize("name", LISTS)
def test_each_part_is_equal(world, session, name):
    """Both parties' parts, while their daemons run; logs have what is kept, what was read, and the verdict."""
    assert entries(world, name, ReplayKept) == [ReplayKept(session=session, days=DAYS)]
    done = again(world, name, session[:12], "--json")
    assert (done.status, json.loads(done.out)["equal"], json.loads(done.out)["stages"]) == (0, True, 3), done.err
    assert entries(world, name, Replayed)[-1] == Replayed(session=session, equal=True, round=None, name=None)
    assert kinds(world, name, session)[-2:] == ["vault:data:read", "session:replay:done"]
    size = (world.directory / name / "replays" / f"{session}.tape").stat().st_size
    store = SessionStore(world.directory / name / "state.sqlite")
    assert 0.5 < size / parse_contract(store.get(session).contract.encode()).quote.recorded_bytes < 2


def altered(path, place):
    """One bit of a file; its content as it was."""
    content = path.read_bytes()
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    return content


@pytest.mark.parametrize(
    ("what", "says"), [("vault", "data set list was altered"), ("replays", "recording of session")]
)
def test_what_was_altered_is_refused(world, session, what, says):
    """A bit of the data set, or of the recording: an error that says which; restored, all is equal again."""
    (path,) = {
        "vault": [path for path in (world.directory / "org-0" / "vault").glob("list*") if path.suffix != ".manifest"],
        "replays": [world.directory / "org-0" / "replays" / f"{session}.tape"],
    }[what]
    verdicts = len(entries(world, "org-0", Replayed))
    content = altered(path, path.stat().st_size // 2)
    done = again(world, "org-0", session[:12])
    path.write_bytes(content)
    assert (done.status, "does not verify" in done.err, says in done.err) == (1, True, True), done.out + done.err
    assert len(entries(world, "org-0", Replayed)) == verdicts
    assert again(world, "org-0", session[:12]).status == 0


def test_an_estimate_is_made_again_too(world):
    """Where its plan asks for that; as an estimate of a matching's plan it does not."""
    asked = plan(world, reveal="estimate", result=None)
    view = world.train(asked)
    assert view.state is State.COMPLETED, view.fault
    for name in LISTS:
        done = again(world, name, view.id[:12], "--json")
        assert (done.status, json.loads(done.out)["equal"], json.loads(done.out)["stages"]) == (0, True, 2), done.err
    assert plan(world).as_estimate().retention == RecordingPlan()


def test_a_policy_is_asked(world, session):
    """A day more than it allows, and the node refuses."""
    assert session
    refused = world.ended(world.client.propose(plan(world, DAYS + 1, result="more")).id)
    assert (refused.state, refused.fault.code) == (State.REFUSED, "policy.max-replay-days")


def test_consent_that_ends_takes_the_recordings(world, session):
    """At who withdraws and at its partner, before the days are over."""
    done = privity("session", "withdraw", session[:12], "--home", world.directory / "org-0", "--yes")
    assert done.status == 0, done.err
    for name in LISTS:
        until(
            f"{name} to destroy it",
            lambda name=name: ReplayDeleted(session=session, by="withdrawal") in entries(world, name, ReplayDeleted),
        )
        assert "no recording" in again(world, name, session[:12]).err
