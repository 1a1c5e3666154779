"""Keys change among running participants: a new one is accepted with one command, a revoked one ends what it had."""

from __future__ import annotations

import pytest

from gateway.sandbox.consortium import Consortium, Daemon
from parties.agreement.prediction import PredictionPlan
from parties.audit.events import (
    HeadCosigned,
    KeyReplaced,
    PartnerKeyOffered,
    PartnerKeyReplaced,
    PartnerRevoked,
    SessionFailed,
)
from parties.audit.snapshot import locate, take
from parties.audit.verify import verify
from parties.service.lifecycle import State
from tests.e2e.world import ID, World, plan_for, privity, split_columns, until


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    files = split_columns(tmp_path_factory.mktemp("files"), "diabetes", 2)
    plan = plan_for(files, max_iter=5)
    plan = plan.model_copy(update={"retention": plan.retention.model_copy(update={"model_days": 30})})
    with Consortium(tmp_path_factory.mktemp("consortium"), plan) as consortium:
        consortium.start(files, ID, lambda _: None)
        yield World(consortium)


def events(world, name, kind):
    entries = take(locate(world.directory / name)).entries()
    return [entry.event for entry in entries if isinstance(entry.event, kind)]


def prediction(world, model):
    """By the model that a training left, of the very rows."""
    parties = [{"name": party.name, "data": party.data} for party in world.plan.parties]
    content = {"kind": "prediction", "purpose": "score", "model": model, "recipient": "org-1", "parties": parties}
    return PredictionPlan.model_validate(content | {"dealer": world.plan.dealer})


def test_a_rotated_key_is_accepted_and_trains_on(world, tmp_path):
    """The new key is refused until each partner accepts it; old bundles verify, and old models predict."""
    session = world.train(world.plan)
    home, old = world.directory / "org-0", world.consortium.identities()["org-0"]
    running = privity("key", "rotate", "--home", home)
    assert (running.status, "open in another process" in running.err) == (1, True)
    world.consortium.daemons["org-0"].stop()
    rotated = privity("key", "rotate", "--home", home)
    assert rotated.status == 0, rotated.err
    new = world.consortium.identities()["org-0"]
    assert new in rotated.out
    assert new != old
    world.consortium.daemons["org-0"] = Daemon("org-0", ["node", "serve"], home)
    world.consortium.daemons["org-0"].wait_ready()
    others = [name for name in world.consortium.members if name != "org-0"]
    for name in others:
        until(f"the offer at {name}", lambda name=name: events(world, name, PartnerKeyOffered))
        assert any("privity partner accept org-0" in notice for notice in world.status(name)["notices"])
    assert events(world, "gateway", KeyReplaced)[0].successor == new
    refused = world.client.propose(world.plan).id
    until("the refusal", lambda: world.client.session(refused).state is State.REFUSED)
    assert "not accepted here yet" in world.client.session(refused).fault.what
    for name in others:
        done = privity("partner", "accept", "org-0", "--home", world.directory / name)
        assert done.status == 0, done.err
        assert events(world, name, PartnerKeyReplaced)[0].successor == new
    assert world.train(world.plan).state is State.COMPLETED
    assert world.train(prediction(world, session.id)).state is State.COMPLETED
    for name in others:
        cosigned = [event for event in events(world, name, HeadCosigned) if event.log == "org-0"]
        assert cosigned
    bundle = tmp_path / "old.bundle"
    assert privity("audit", "export", session.id, "--home", home, "--out", bundle).status == 0
    assert verify(bundle, old).ok
    assert verify(bundle, new).ok
    theirs = tmp_path / "theirs.bundle"
    assert privity("audit", "export", session.id, "--home", world.directory / "org-1", "--out", theirs).status == 0
    told = privity("audit", "reconcile", bundle, theirs)
    assert told.status == 0, told.out
    for name in world.consortium.members:
        until(f"the log of {name}", lambda name=name: verify(world.directory / name).ok)


def test_a_revoked_key_ends_its_sessions(world):
    """Running and waiting sessions with a revoked key end for everybody at once, and no contract is signed again."""
    session = world.begin(world.long_plan())
    world.until_training(session, "org-0")
    waiting = world.client.propose(world.plan).id
    until("the contract", lambda: world.state("org-1", waiting) == "proposed")
    done = privity("partner", "revoke", "org-0", "--home", world.directory / "org-1")
    assert done.status == 0, done.err
    view = world.ended(session)
    assert view.state is State.FAILED
    assert (view.fault.who, view.fault.code) == ("org-1", "partner")
    assert "was revoked" in view.fault.what
    until("the other's end", lambda: world.client.session(waiting).state is State.REFUSED)
    key = world.consortium.identities()["org-0"]
    assert [event.fingerprint for event in events(world, "org-1", PartnerRevoked)] == [key]
    assert [e.reason for e in events(world, "org-1", SessionFailed) if e.session == session] == ["partner"]
    again = world.client.propose(world.plan).id
    until("the refusal", lambda: world.client.session(again).state is State.REFUSED)
    assert "was revoked here" in world.client.session(again).fault.what
    add = privity("partner", "add", "org-0", key, "--home", world.directory / "org-1")
    assert (add.status, "was revoked here" in add.err) == (1, True)
