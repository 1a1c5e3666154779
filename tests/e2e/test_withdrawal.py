"""Consent that ends, by real processes: before a session, in the middle of one, and after it left a model."""

from __future__ import annotations

import json

import pytest

from gateway.sandbox.consortium import Daemon
from parties.audit.snapshot import locate, take
from parties.service.lifecycle import State
from tests.e2e.test_predictions import DATA, new_rows, plan
from tests.e2e.world import World, privity, until

WHO = "org-1"


@pytest.fixture(scope="module")
def fresh(world):
    return new_rows(world)


def withdraw(world: World, session: str) -> None:
    done = privity("session", "withdraw", session[:12], "--yes", "--home", world.directory / WHO)
    assert done.status == 0, done.err
    assert session in done.out


def withdrawn(world: World, name: str, session: str) -> list[tuple[str, str]]:
    """Who withdrew from a session, by a participant's log."""
    found = [entry.event for entry in take(locate(world.directory / name)).entries()]
    return [
        (event.who, event.by)
        for event in found
        if event.type == "session:consent:withdrawn"
        if event.session == session
    ]


def everybody_knows(world: World, session: str) -> None:
    for name in (*world.consortium.members, "gateway"):
        by = "operator" if name == WHO else "partner"
        until(f"{name} to have it in its log", lambda name=name: bool(withdrawn(world, name, session)))
        assert withdrawn(world, name, session) == [(WHO, by)]


@pytest.mark.usefixtures("fresh")
def test_a_model_serves_nobody_after_a_withdrawal(world):
    """The share goes, waiting and later predictions are refused for this reason, and every log has the party's word.

    The daemon is killed afterwards and started again: what was withdrawn stays withdrawn.
    """
    session = world.train(world.plan).id
    waits = world.client.propose(plan(world, session)).id
    until("the prediction to wait", lambda: world.state(WHO, waits) == "proposed")
    file = world.directory / WHO / "models" / f"{session}.model"
    assert file.exists()
    withdraw(world, session)
    assert not file.exists()
    refused = world.ended(waits)
    assert (refused.state, refused.fault.code, refused.fault.who) == (State.REFUSED, "withdrawn", WHO)
    everybody_knows(world, session)
    assert world.client.session(session).withdrawn == (WHO,)
    assert world.client.session(session).state == State.COMPLETED

    world.consortium.daemons[WHO]._process.kill()
    world.consortium.daemons[WHO].stop()
    world.consortium.daemons[WHO] = Daemon(WHO, ["node", "serve"], world.directory / WHO)
    world.consortium.daemons[WHO].wait_ready()
    withdraw(world, session)  # once more: nothing changes
    starts = [entry.event for entry in take(locate(world.directory / WHO)).entries()]
    assert sum(event.type == "policy:file:read" for event in starts) == 2  # one each time that it started
    later = world.ended(world.client.propose(plan(world, session, DATA)).id)
    assert (later.state, later.fault.code) == (State.REFUSED, "withdrawn")
    everybody_knows(world, session)

    for name in world.parties:
        told = privity("audit", "report", session, "--json", "--home", world.directory / name)
        assert told.status == 0, told.err
        facts = json.loads(told.out)
        assert facts["checked"]["intact"]
        assert [bool(one["withdrew_at"]) for one in facts["involved"]] == [
            one == WHO for one in world.consortium.members
        ]
        assert facts["share"]["deleted_by"] == ("withdrawal" if name == WHO else "")
        assert all(one["recorded"] <= one["allowed"] for one in facts["told"])
        assert any(one["recorded"] for one in facts["told"])


def test_a_running_session_stops(world):
    """Its worker ends, all others hear why, and no share of a model is kept."""
    session = world.begin(world.long_plan())
    world.until_training(session, WHO)
    withdraw(world, session)
    view = world.ended(session)
    assert (view.state, view.fault.code, view.fault.who) == (State.FAILED, "withdrawn", WHO)
    everybody_knows(world, session)
    assert not world.status(WHO)["workers"]
    assert not (world.directory / WHO / "models" / f"{session}.model").exists()


def test_a_waiting_session_is_refused(world):
    """Before anything began it ends for all; asking for consent to withdraw from what was refused is an error."""
    session = world.client.propose(world.plan).id
    until("the contract", lambda: world.state(WHO, session) == "proposed")
    withdraw(world, session)
    view = world.ended(session)
    assert (view.state, view.fault.code) == (State.REFUSED, "withdrawn")
    other = world.client.propose(world.plan).id
    until("the contract", lambda: world.state(WHO, other) == "proposed")
    assert privity("session", "refuse", other, "--home", world.directory / WHO).status == 0
    again = privity("session", "withdraw", other, "--yes", "--home", world.directory / WHO)
    assert (again.status, "no consent to withdraw" in again.err) == (1, True)
    world.ended(other)
