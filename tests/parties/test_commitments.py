"""Commitments are signed, recorded and kept: the own ones, and others' if their keys signed them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from parties.audit.events import CommitmentReceived, CommitmentSigned, DealerKeyBound
from parties.audit.log import AuditLog
from parties.audit.snapshot import take
from parties.errors import ContractError
from parties.keys.identity import Identity
from parties.process.job import AskedKey, Commit, Committed, KeySigned
from parties.service.store import SessionStore
from parties.testimony.commitment import (
    DEALER_STAGE,
    Commitment,
    DealerKey,
    envelope_of,
    payload_of,
    read,
    sign,
    signature_of,
)
from parties.testimony.commitments import Commitments
from tests.parties.conftest import draft

NAMES = ("clinic-a", "clinic-b", "dealer")


class Side:
    """One participant's store, log and commitments."""

    def __init__(self, directory, name, identity):
        self.store = SessionStore(directory / f"{name}.state")
        self.log = AuditLog.open(directory / f"{name}.audit", identity, name)
        self.commitments = Commitments(name, identity, self.store, self.log)

    def entries(self, kind):
        return [entry.event for entry in take(self.log.path).entries() if isinstance(entry.event, kind)]


@pytest.fixture
def identities():
    return {name: Identity.generate() for name in NAMES}


@pytest.fixture
def contract(identities):
    return draft(*(identity.public.hex() for identity in identities.values()), expires=datetime(2027, 1, 1, tzinfo=UTC))


@pytest.fixture
def sides(tmp_path, identities):
    made = {name: Side(tmp_path, name, identity) for name, identity in identities.items()}
    yield made
    for side in made.values():
        side.log.close()


def commit(to, stage=1):
    return Commit(stage=stage, sent={to: "11" * 32}, dealer="22" * 32, block="33" * 32, dealer_key="44" * 32)


def test_a_commitment_is_signed_recorded_and_believed(contract, sides, identities):
    """What one signs the other checks; both logs have its digest, both homes the envelope."""
    made = commit("clinic-b")
    answer = sides["clinic-a"].commitments.hear(contract, 1, made)
    said = Committed(who="clinic-a", commit=made, signature=answer.signature, equal=True)
    assert sides["clinic-b"].commitments.hear(contract, 1, said).refused == ""
    (signed,) = sides["clinic-a"].entries(CommitmentSigned)
    (received,) = sides["clinic-b"].entries(CommitmentReceived)
    assert (received.partner, received.stage, received.equal) == ("clinic-a", 1, True)
    assert received.digest == signed.digest
    kept = sides["clinic-b"].store.commitments(contract.digest)
    assert kept == sides["clinic-a"].store.commitments(contract.digest)
    statement = read(Commitment, kept["clinic-a", 1], identities["clinic-a"].public)
    assert (statement.sent, statement.session) == (made.sent, contract.digest)


@pytest.mark.parametrize("wrong", ["signer", "stage", "chain", "epoch"])
def test_what_was_not_signed_is_refused_and_recorded(contract, sides, wrong):
    """Another key, another stage, another chain or another epoch: nothing is kept, and the log says whose it was."""
    made = commit("clinic-b")
    signer = "clinic-b" if wrong == "signer" else "clinic-a"
    signature = sides[signer].commitments.hear(contract, 2 if wrong == "epoch" else 1, made).signature
    changed = {"stage": {"stage": 2}, "chain": {"sent": {"clinic-b": "12" * 32}}}.get(wrong, {})
    said = Committed(who="clinic-a", commit=made.model_copy(update=changed), signature=signature, equal=True)
    answer = sides["clinic-b"].commitments.hear(contract, 1, said)
    assert "clinic-a" in answer.refused
    assert "does not verify" in answer.refused
    assert [event.equal for event in sides["clinic-b"].entries(CommitmentReceived)] == [False]
    assert ("clinic-a", 1) not in sides["clinic-b"].store.commitments(contract.digest)


def test_a_chain_that_differs_is_kept_as_evidence(contract, sides):
    """Its signature holds and its words did not come: the signed statement stays, and the log says so."""
    made = commit("clinic-b")
    signature = sides["clinic-a"].commitments.hear(contract, 1, made).signature
    said = Committed(who="clinic-a", commit=made, signature=signature, equal=False)
    assert sides["clinic-b"].commitments.hear(contract, 1, said).refused == ""
    assert [event.equal for event in sides["clinic-b"].entries(CommitmentReceived)] == [False]
    assert ("clinic-a", 1) in sides["clinic-b"].store.commitments(contract.digest)


def test_the_dealer_s_key_is_bound(contract, sides):
    """The dealer signs the digest of a key, the party of that name believes it, and no other does."""
    asked = AskedKey(party="clinic-a", dealer_key="44" * 32)
    signature = sides["dealer"].commitments.sign_key(contract, 1, asked).signature
    said = KeySigned(dealer_key="44" * 32, signature=signature)
    assert sides["clinic-a"].commitments.hear(contract, 1, said).refused == ""
    assert "did not sign" in sides["clinic-b"].commitments.hear(contract, 1, said).refused
    other = KeySigned(dealer_key="45" * 32, signature=signature)
    assert "did not sign" in sides["clinic-a"].commitments.hear(contract, 1, other).refused
    assert [event.partner for event in sides["dealer"].entries(DealerKeyBound)] == ["clinic-a"]
    assert [event.partner for event in sides["clinic-a"].entries(DealerKeyBound)] == ["dealer"]
    assert sides["clinic-b"].entries(DealerKeyBound) == []
    assert list(sides["clinic-a"].store.commitments(contract.digest)) == [("dealer", DEALER_STAGE)]


def test_a_stranger_has_no_commitment(contract, sides):
    """A name that the contract does not have is refused before anything is written."""
    said = Committed(who="clinic-c", commit=commit("clinic-b"), signature="00" * 64, equal=True)
    with pytest.raises(ContractError, match="not a party"):
        sides["clinic-b"].commitments.hear(contract, 1, said)
    assert sides["clinic-b"].entries(CommitmentReceived) == []


def test_one_kind_is_not_taken_for_another(contract, identities):
    """A dealer's statement is no party's commitment, whoever signed it."""
    key = identities["dealer"]
    statement = DealerKey(session=contract.digest, epoch=1, name="dealer", party="clinic-a", dealer_key="44" * 32)
    envelope = sign(key, statement)
    assert envelope_of(statement, key.public, signature_of(envelope)) == envelope
    assert b"clinic-a" in payload_of(statement)
    with pytest.raises(ContractError, match="another type"):
        read(Commitment, envelope, key.public)


@pytest.mark.parametrize("changed", [{"stage": 0}, {"dealer": "22"}, {"sent": {"Clinic": "11" * 32}}, {"more": 1}])
def test_a_report_that_is_none_is_refused(changed):
    """A worker can't have anything else signed than digests of a stage."""
    with pytest.raises(ValidationError):
        Commit.model_validate({**commit("clinic-b").model_dump(), **changed})
