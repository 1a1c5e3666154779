"""An officer has the own part of a session made again: equal or not, and only where it was agreed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gateway.sandbox.consortium import Consortium, Daemon
from parties.agreement.plan import RecordingPlan, RetentionPlan
from parties.agreement.prediction import PredictionPlan
from parties.audit.events import DataRemoved, ReplayDeleted, Replayed, ReplayKept
from parties.audit.snapshot import locate, take
from parties.service.lifecycle import State
from tests.e2e.modified_worker import ANOTHER_WORD, DEED
from tests.e2e.world import ID, World, plan_for, privity, split_columns, tables, until

DAYS, NEW = 30, 20


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    files = split_columns(tmp_path_factory.mktemp("files"), "diabetes", 2)
    plan = plan_for(files, max_iter=5).model_copy(update={"retention": RetentionPlan(replay_days=DAYS)})
    with Consortium(tmp_path_factory.mktemp("consortium"), plan) as consortium:
        consortium.start(files, ID, lambda _: None)
        yield World(consortium)


def allow(world, days=DAYS):
    """Each operator lets partners keep recordings for so long."""
    for name in world.parties:
        path = world.directory / name / "policy.toml"
        rules = [line for line in path.read_text().splitlines() if not line.startswith("max_replay_days")]
        path.write_text("\n".join([f"max_replay_days = {days}", *rules]) + "\n")


@pytest.fixture(scope="module")
def session(world) -> str:
    allow(world)
    view = world.train(world.plan)
    assert view.state is State.COMPLETED, view.fault
    return view.id


def entries(world, name, kind):
    return [entry.event for entry in take(locate(world.directory / name)).entries() if isinstance(entry.event, kind)]


def kinds(world, name, session):
    """Types of the entries about a session, in order."""
    found = [entry.event for entry in take(locate(world.directory / name)).entries()]
    return [event.type for event in found if getattr(event, "session", None) == session]


def again(world, name, session, *more):
    return privity("audit", "replay", session, "--home", world.directory / name, *more)


@pytest.mark.parametrize("name", ["org-0", "org-1"])
def test_an_honest_part_is_equal(world, session, name):
    """Both parties' parts are made again while their daemons run; the log has what was kept, and the verdict."""
    assert {"vault:data:read", "session:worker:ended"} <= set(kinds(world, name, session))
    (kept,) = entries(world, name, ReplayKept)
    assert (kept.session, kept.days) == (session, DAYS)
    done = again(world, name, session[:12])
    assert (done.status, done.out.startswith("EQUAL: ")) == (0, True), done.out + done.err
    found = entries(world, name, Replayed)[-1]
    assert (found.session, found.equal, found.round) == (session, True, None)
    assert kinds(world, name, session)[-2:] == ["vault:data:read", "session:replay:done"]
    said = json.loads(again(world, name, session[:12], "--json").out)
    assert said["equal"] is True
    assert said["stages"] >= 3


@pytest.fixture(scope="module")
def predicted(world, session) -> str:
    """A prediction by that training's model, recorded as well; org-0 is told."""
    X, _ = tables("diabetes")
    for name, columns in zip(world.parties, np.array_split(np.arange(X.shape[1]), 2), strict=True):
        held = {ID: [f"N{row}" for row in range(NEW)]}
        world.add(name, "new", held | {f"x{column}": [str(X[row, column]) for row in range(NEW)] for column in columns})
    view = world.train(predicting(world, session, DAYS))
    assert view.state is State.COMPLETED, view.fault
    return view.id


def predicting(world, model, days):
    return PredictionPlan(
        kind="prediction",
        purpose="score new records",
        model=model,
        recipient="org-0",
        dealer=world.plan.dealer,
        parties=tuple({"name": name, "data": "new"} for name in world.parties),
        retention=RecordingPlan(replay_days=days),
    )


@pytest.mark.parametrize("name", ["org-0", "org-1"])
def test_a_prediction_is_made_again_as_a_training_is(world, predicted, name):
    """Of who was told as of who was not; one bit of the recording, and it is none."""
    done = again(world, name, predicted[:12], "--json")
    assert (done.status, json.loads(done.out)["equal"], json.loads(done.out)["stages"]) == (0, True, 2), done.err
    assert entries(world, name, Replayed)[-1].session == predicted
    assert kinds(world, name, predicted)[-3:] == ["vault:model:used", "vault:data:read", "session:replay:done"]
    path = world.directory / name / "replays" / f"{predicted}.tape"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = again(world, name, predicted[:12])
    path.write_bytes(content)
    assert (done.status, "was altered: it does not verify" in done.err) == (1, True), done.out + done.err
    assert again(world, name, predicted[:12]).status == 0


def test_a_policy_is_asked_of_predictions_too(world, session, predicted):
    """A day more than the policy allows, and the node refuses."""
    assert predicted
    refused = world.ended(world.client.propose(predicting(world, session, DAYS + 1)).id)
    assert (refused.state, refused.fault.code) == (State.REFUSED, "policy.max-replay-days")


def test_a_tampered_recording_is_refused(world, session):
    """One bit of it, and it is no recording; restored, it is one again."""
    path = world.directory / "org-0" / "replays" / f"{session}.tape"
    content = path.read_bytes()
    path.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    done = again(world, "org-0", session[:12])
    path.write_bytes(content)
    assert (done.status, "was altered: it does not verify" in done.err) == (1, True), done.out + done.err
    assert again(world, "org-0", session[:12]).status == 0
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("session")
def test_what_was_not_agreed_is_not_kept(world):
    """Without `replay_days` nothing is kept; a policy that allows no such contract refuses it."""
    plan = world.plan.model_copy(update={"retention": RetentionPlan()})
    view = world.train(plan)
    assert view.state is State.COMPLETED, view.fault
    done = again(world, "org-1", view.id[:12])
    assert (done.status, "keeps no recording" in done.err) == (1, True), done.err
    assert not (world.directory / "org-1" / "replays" / f"{view.id}.tape").exists()
    allow(world, 0)
    refused = world.ended(world.client.propose(world.plan).id)
    assert (refused.state, refused.fault.code) == (State.REFUSED, "policy.max-replay-days")
    allow(world)


def test_who_sent_another_word_is_told_the_round(world):
    """A modified worker shifts one word that it opens, and signs that, which no peer can see: made again, it shows."""
    allow(world)
    world.consortium.daemons["org-1"].stop()
    home = world.directory / "org-1"
    (home / DEED).write_text(ANOTHER_WORD)
    world.consortium.daemons["org-1"] = Daemon("org-1", ["node", "serve"], home, module="tests.e2e.modified_node")
    world.consortium.daemons["org-1"].wait_ready()
    until("its return", lambda: all(view.online for view in world.client.participants()))
    view = world.train(world.plan)
    assert view.state is State.COMPLETED, view.fault
    done = again(world, "org-1", view.id[:12], "--json")
    said = json.loads(done.out)
    assert (done.status, said["equal"], said["name"]) == (1, False, "residuals"), said
    found = entries(world, "org-1", Replayed)[-1]
    assert (found.equal, found.round, found.name) == (False, said["round"], "residuals")
    assert again(world, "org-0", view.id[:12]).status == 0
    (home / DEED).write_text("")


def test_consent_that_ends_takes_the_recording(world, session, predicted):
    """A withdrawal destroys it, with those of predictions by the model; a data set that is deleted takes its along."""
    later = world.train(world.plan)
    assert later.state is State.COMPLETED, later.fault
    path = world.directory / "org-0" / "replays" / f"{session}.tape"
    assert path.exists()
    done = privity("session", "withdraw", session[:12], "--home", world.directory / "org-0", "--yes")
    assert done.status == 0, done.err
    assert not path.exists()
    assert entries(world, "org-0", ReplayDeleted)[-1].by == "withdrawal"
    assert "no recording" in again(world, "org-0", session[:12]).err
    until("the partner's too", lambda: len(entries(world, "org-1", ReplayDeleted)) == 2)
    data = next(party.data for party in world.plan.parties if party.name == "org-1")
    assert entries(world, "org-1", ReplayDeleted)[-1].by == "withdrawal"
    assert "no recording" in again(world, "org-1", session[:12]).err
    for name in world.parties:  # and that of the prediction, which can't be made again without the model
        assert "no recording" in again(world, name, predicted[:12]).err
        assert (ReplayDeleted(session=predicted, by="withdrawal")) in entries(world, name, ReplayDeleted)
    done = privity("data", "delete", data, "--home", world.directory / "org-1")
    assert done.status == 0, done.err
    assert entries(world, "org-1", ReplayDeleted)[-1].by == "operator"
    assert entries(world, "org-1", DataRemoved)
    assert "no recording" in again(world, "org-1", later.id[:12]).err
