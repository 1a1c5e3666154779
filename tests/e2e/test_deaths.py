"""Whoever dies, everybody else hears promptly who it was; logs stay whole and the next session runs."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from gateway.sandbox.consortium import Daemon
from parties.audit.events import SessionFailed
from parties.audit.snapshot import locate, take
from parties.process.meeting import round_s
from parties.service.lifecycle import FINAL, State
from tests.e2e.world import PROMPT_S, until


@pytest.fixture
def training(world):
    """A session in the middle of a long run."""
    session = world.begin(world.long_plan())
    world.until_training(session, "org-0")
    return session


def last_words(world, name: str, session: str):
    """The end of a session as a participant's own log has it."""
    entries = [
        entry.event
        for entry in take(locate(world.directory / name)).entries()
        if getattr(entry.event, "session", None) == session
    ]
    return entries[-1]


@pytest.mark.parametrize("victim", ["org-0", "org-1", "org-2", "dealer"])
def test_killed_worker_ends_the_session_for_all(world, training, victim):
    """A worker, or the dealer's process, killed in the middle: every side fails, names it, and trains again."""
    os.kill(int(world.status(victim)["workers"][training]), signal.SIGKILL)
    began = time.monotonic()
    view = world.ended(training)
    assert time.monotonic() - began < PROMPT_S
    assert view.state is State.FAILED
    assert view.fault is not None
    assert view.fault.who == victim
    assert "SIGKILL" in view.fault.what
    assert view.fault.action
    for name in world.consortium.members:
        end = last_words(world, name, training)
        assert isinstance(end, SessionFailed)
        assert end.who == victim, name
        assert not world.status(name)["workers"]
    assert world.train(world.plan).state is State.COMPLETED


@pytest.mark.parametrize("victim", ["org-1", "dealer"])
def test_killed_daemon_ends_the_session_and_comes_back(world, training, victim):
    """A whole node, or the dealer, killed: its worker goes with it, the others hear; started again, it trains again."""
    worker = int(world.status(victim)["workers"][training])
    world.consortium.daemons[victim]._process.kill()
    began = time.monotonic()
    others = [name for name in world.consortium.members if name != victim]
    for name in others:
        until(f"the end at {name}", lambda name=name: world.state(name, training) in FINAL, PROMPT_S)
    until("the worker's end", lambda: not Path(f"/proc/{worker}").exists(), PROMPT_S)
    until("the end at the gateway", lambda: world.client.session(training).state in FINAL, 3 * PROMPT_S)
    assert time.monotonic() - began < 3 * PROMPT_S
    assert world.client.session(training).fault.who == victim
    world.consortium.daemons[victim].stop()
    kind = "dealer" if victim == "dealer" else "node"
    world.consortium.daemons[victim] = Daemon(victim, [kind, "serve"], world.directory / victim)
    world.consortium.daemons[victim].wait_ready()
    until("its return", lambda: all(view.online for view in world.client.participants()))
    assert world.state(victim, training) == State.FAILED
    assert world.train(world.plan).state is State.COMPLETED


def test_a_stopped_worker_holds_no_other_session(world, training):
    """One that neither reads nor dies: the dealer goes on for another session of the same participants."""
    worker = int(world.status("org-1")["workers"][training])
    os.kill(worker, signal.SIGSTOP)
    assert world.train(world.plan).state is State.COMPLETED
    assert world.client.session(training).state is State.RUNNING
    os.kill(worker, signal.SIGCONT)
    world.client.cancel(training)
    assert world.ended(training).state is State.CANCELLED


def test_a_stopped_dealer_is_missed(world, training):
    """Its heartbeats are: the parties end, and name it, and the next session has another process of it."""
    os.kill(int(world.status("dealer")["workers"][training]), signal.SIGSTOP)
    view = world.ended(training)
    assert (view.state, view.fault.who) == (State.FAILED, "dealer")
    assert world.train(world.plan).state is State.COMPLETED


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_stopped_party_is_missed(world):
    """One that neither reads nor dies: a round's deadline passes, the others end, and every log names it."""
    model = world.plan.model.model_copy(update={"max_iter": 600})
    silent = world.plan.disclosures.model_copy(update={"loss_reports": 0})
    session = world.begin(world.plan.model_copy(update={"model": model, "disclosures": silent}))
    world.until_training(session, "org-0")
    os.kill(int(world.status("org-1")["workers"][session]), signal.SIGSTOP)
    deadline = round_s(world.client.contract(session))
    until("the end", lambda: world.client.session(session).state in FINAL, 2 * deadline)
    view = world.client.session(session)
    assert (view.state, view.fault.who) == (State.FAILED, "org-1")
    assert f"kept silent for {deadline:.0f} s" in view.fault.what
    for name in world.consortium.members:
        until(f"the end at {name}", lambda name=name: not world.status(name)["workers"], PROMPT_S)
        assert last_words(world, name, session).who == "org-1", name
    assert world.train(world.plan).state is State.COMPLETED


def test_cancelled_session_ends_for_all(world, training):
    """The analyst cancels a run: every worker is gone, every log says so."""
    world.client.cancel(training)
    view = world.ended(training)
    assert view.state is State.CANCELLED
    for name in world.consortium.members:
        until("the worker's end", lambda name=name: not world.status(name)["workers"], PROMPT_S)
        assert last_words(world, name, training).session == training
    assert world.train(world.plan).state is State.COMPLETED


@pytest.fixture
def gateway(world):
    """The gateway on ports that it keeps, and a way to kill it and start it again."""
    home = world.directory / "gateway"
    serving, settings = json.loads((home / "serving.json").read_text()), home / "gateway.toml"
    kept = settings.read_text()
    fixed = kept.replace('rest_address = "127.0.0.1:0"', f'rest_address = "{serving["rest"]}"')
    settings.write_text(fixed.replace('control_address = "127.0.0.1:0"', f'control_address = "{serving["control"]}"'))

    def restart() -> None:
        daemons = world.consortium.daemons
        daemons["gateway"]._process.kill()
        daemons["gateway"].stop()
        daemons["gateway"] = Daemon("gateway", ["gateway", "serve"], home)
        daemons["gateway"].wait_ready()
        until("everybody's return", lambda: all(view.online for view in world.client.participants()))

    yield restart
    settings.write_text(kept)


def test_killed_gateway_loses_no_session(world, gateway):
    """A proposal that waits survives the gateway's death, and so does a run, which ends as if nothing had been."""
    session = world.client.propose(world.plan).id
    world.consortium._wait("the contract", lambda: world.state("org-0", session) == "proposed")
    gateway()
    assert world.client.session(session).state is State.PROPOSED
    world.consortium.approve(session, lambda _: None)
    world.until_training(session, "org-0")
    gateway()
    assert world.ended(session).state is State.COMPLETED
    assert world.train(world.plan).state is State.COMPLETED
