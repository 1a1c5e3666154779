"""A gateway that lies is noticed by the nodes and the dealer: nothing is signed for it, nothing runs."""

import time

import pytest

from gateway.sandbox.consortium import Consortium, Daemon
from parties.audit.events import (
    ContractRefused,
    ContractReplayed,
    DisclosureRecorded,
    HeadCosigned,
    PartnerMismatched,
    TranscriptSigned,
    WorkerStarted,
)
from parties.audit.snapshot import locate, take
from parties.service.lifecycle import FINAL
from parties.service.store import SessionStore
from tests.e2e.modified_gateway import DEED, OLD
from tests.e2e.world import ID, PROMPT_S, World, plan_for, split_columns, until


class ModifiedConsortium(Consortium):
    """The gateway's operator runs a program of its own."""

    def _launch(self, name, command, home):
        self.daemons[name] = Daemon(name, command, home, module="tests.e2e.modified_gateway")
        return self.daemons[name].wait_ready()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    files = split_columns(tmp_path_factory.mktemp("files"), "diabetes", 3)
    plan = plan_for(files, max_iter=10)
    with ModifiedConsortium(tmp_path_factory.mktemp("consortium"), plan) as consortium:
        consortium.start(files, ID, lambda _: None)
        yield World(consortium)


@pytest.fixture
def deed(world):
    """What the gateway does from now on."""
    file = world.directory / "gateway" / DEED
    yield file.write_text
    file.unlink()


def entries(world, name):
    return [entry.event for entry in take(locate(world.directory / name)).entries()]


def refusals(world, name):
    return [event for event in entries(world, name) if isinstance(event, ContractRefused)]


def sessions(world, name):
    return world.status(name)["sessions"]


def propose(world, name):
    """The new session as a participant knows it, under whatever digest the gateway sent."""
    before = set(sessions(world, name))
    offered = len(entries(world, name))
    world.client.propose(world.plan)
    until("the proposal", lambda: len(entries(world, name)) > offered)
    return lambda: {digest: state for digest, state in sessions(world, name).items() if digest not in before}


REFUSED_ON_SIGHT = {
    "swap-key": "partner.key",
    "more-iterations": "contract.derived",
    "open-more": "contract.derived",
    "dealer-is-a-party": "contract",
}


@pytest.mark.parametrize("lie", REFUSED_ON_SIGHT)
@pytest.mark.parametrize("name", ["org-0", "dealer"])
def test_altered_contract_is_refused_on_sight(world, deed, lie, name):
    """Keys, program, disclosures and roles are checked against what the participant itself knows, before it signs."""
    deed(lie)
    began = time.monotonic()
    before = len(refusals(world, name))
    new = propose(world, name)
    until("the refusal", lambda: len(refusals(world, name)) > before, PROMPT_S)
    assert time.monotonic() - began < PROMPT_S
    assert refusals(world, name)[-1].reason == REFUSED_ON_SIGHT[lie]
    assert set(new().values()) <= {"refused"}


def test_swapped_key_is_recorded_with_both_fingerprints(world, deed):
    """The log keeps the evidence: which key was confirmed, and which one the gateway presented."""
    deed("swap-key")
    world.client.propose(world.plan)
    until("the evidence", lambda: any(isinstance(e, PartnerMismatched) for e in entries(world, "org-2")), PROMPT_S)
    found = next(event for event in entries(world, "org-2") if isinstance(event, PartnerMismatched))
    assert found.confirmed == world.consortium.identities()["org-1"]
    assert found.presented != found.confirmed


@pytest.mark.parametrize("lie", ["altered-approval", "missing-approval", "exchanged-approvals"])
def test_forged_start_starts_nothing(world, deed, lie):
    """What came as all approvals is checked one by one: a worker starts only for what all have signed."""
    deed(lie)
    workers = [sum(isinstance(e, WorkerStarted) for e in entries(world, name)) for name in world.consortium.members]
    session = world.begin(world.plan)
    for name in world.consortium.members:
        until(f"the end at {name}", lambda name=name: world.state(name, session) in FINAL, PROMPT_S)
        assert world.state(name, session) in {"failed", "cancelled"}
    assert workers == [
        sum(isinstance(e, WorkerStarted) for e in entries(world, name)) for name in world.consortium.members
    ]


def test_a_contract_that_has_run_is_not_run_again(world, deed):
    """The very bytes that all had signed, sent anew: each participant refuses, and its log says so."""
    done = world.train(world.plan)
    assert done.state == "completed", done.fault
    (world.directory / "gateway" / OLD).write_text(
        SessionStore(world.directory / "org-0" / "state.sqlite").get(done.id).contract
    )
    deed("old-contract")
    workers = [of(world, name, WorkerStarted) for name in world.consortium.members]
    world.client.propose(world.plan)
    for name in world.consortium.members:
        until(f"{name}'s log to say so", lambda name=name: of(world, name, ContractReplayed, session=done.id))
        assert world.state(name, done.id) == "completed"
    assert workers == [of(world, name, WorkerStarted) for name in world.consortium.members]


def of(world, name, kind, **fields):
    found = [event for event in entries(world, name) if isinstance(event, kind)]
    return [event for event in found if all(getattr(event, field) == value for field, value in fields.items())]


@pytest.mark.parametrize("lie", ["swapped-heads", "forged-cosignatures", "forged-transcripts"])
def test_what_partners_say_to_each_other_is_not_forged(world, deed, lie):
    """Heads, cosignatures and transcripts that the gateway changes are taken by nobody; honest ones that follow are."""
    own, other, key = "org-0", "org-1", world.consortium.identities()
    began = len(entries(world, own))
    deed(lie)
    session = world.train(world.plan)
    assert session.state == "completed"
    ended = len(entries(world, own))
    if lie == "swapped-heads":
        for name in (own, other):
            until("the evidence", lambda name=name: of(world, name, PartnerMismatched, presented=key["org-2"]))
    deed("")
    assert world.train(world.plan).state == "completed"
    until("an honest cosignature", lambda: any(e.size > ended for e in of(world, own, HeadCosigned, log=own, by=other)))
    if lie == "forged-transcripts":
        assert of(world, own, TranscriptSigned, session=session.id) == []
    else:
        taken = [event.size for event in of(world, own, HeadCosigned, log=own, by=other)]
        assert not [size for size in taken if began < size <= ended]
    assert [event for event in of(world, own, TranscriptSigned) if not event.equal] == []


def test_different_contracts_for_different_parties_never_run(world, deed):
    """Nobody trains under a contract that another party did not sign word for word."""
    deed("another-for-org-0")
    home, before = "org-0", set(sessions(world, "org-0"))
    world.client.propose(world.plan)
    until("its end", lambda: any(sessions(world, home)[new] in FINAL for new in set(sessions(world, home)) - before))
    (digest,) = set(sessions(world, home)) - before
    assert not [e for e in entries(world, home) if isinstance(e, WorkerStarted) and e.session == digest]
    assert of(world, home, DisclosureRecorded, session=digest) == []
