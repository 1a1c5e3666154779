"""A participant's side of commitments: it signs its own worker's, records each, and keeps everybody's as evidence."""

from __future__ import annotations

import hashlib

from parties.agreement.kinds import AnyContract
from parties.audit.events import CommitmentReceived, CommitmentSigned, DealerKeyBound
from parties.audit.log import AuditLog
from parties.errors import ContractError
from parties.keys.identity import Identity
from parties.process.job import Answer, AskedKey, Commit, Committed, KeySigned
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


class Commitments:
    """What a node, or a dealer, answers to its worker."""

    def __init__(self, name: str, identity: Identity, store: SessionStore, journal: AuditLog) -> None:
        self._name, self._identity, self._store, self._journal = name, identity, store, journal

    def hear(self, contract: AnyContract, epoch: int, report: Commit | Committed | KeySigned) -> Answer:
        """The answer to a party's worker, once what it says is recorded."""
        match report:
            case Commit():
                return self._sign(contract, epoch, report)
            case Committed():
                return self._keep(contract, epoch, report)
            case KeySigned():
                return self._keep_key(contract, epoch, report)

    def sign_key(self, contract: AnyContract, epoch: int, asked: AskedKey) -> Answer:
        """The dealer's signature on the digest of the key that its process shares with a party."""
        party = contract.party(asked.party).name
        statement = DealerKey(
            session=contract.digest, epoch=epoch, name=self._name, party=party, dealer_key=asked.dealer_key
        )
        self._journal.append(DealerKeyBound(session=contract.digest, partner=party, digest=_digest(statement)))
        return Answer(signature=signature_of(sign(self._identity, statement)).hex())

    def _sign(self, contract: AnyContract, epoch: int, report: Commit) -> Answer:
        """Order: recorded, kept, answered: what leaves is in the log."""
        statement = _statement(contract, epoch, self._name, report)
        envelope = sign(self._identity, statement)
        self._journal.append(
            CommitmentSigned(session=contract.digest, stage=statement.stage, digest=_digest(statement))
        )
        self._store.keep_commitment(contract.digest, self._name, statement.stage, envelope)
        return Answer(signature=signature_of(envelope).hex())

    def _keep(self, contract: AnyContract, epoch: int, report: Committed) -> Answer:
        party = contract.party(report.who)
        statement = _statement(contract, epoch, party.name, report.commit)
        envelope = envelope_of(statement, party.key, bytes.fromhex(report.signature))
        refused = _refusal(Commitment, envelope, party.key)
        self._journal.append(
            CommitmentReceived(
                session=contract.digest,
                partner=party.name,
                stage=statement.stage,
                digest=_digest(statement),
                equal=report.equal and not refused,
            )
        )
        if not refused:
            self._store.keep_commitment(contract.digest, party.name, statement.stage, envelope)
        return Answer(refused=f"what {party.name} sent as its commitment does not hold: {refused}" if refused else "")

    def _keep_key(self, contract: AnyContract, epoch: int, report: KeySigned) -> Answer:
        dealer = contract.dealer
        facts = {"name": dealer.name, "party": self._name, "dealer_key": report.dealer_key}
        statement = DealerKey(session=contract.digest, epoch=epoch, **facts)
        envelope = envelope_of(statement, dealer.key, bytes.fromhex(report.signature))
        if refused := _refusal(DealerKey, envelope, dealer.key):
            return Answer(refused=f"the dealer did not sign the key that it shares with {self._name}: {refused}")
        self._journal.append(DealerKeyBound(session=contract.digest, partner=dealer.name, digest=_digest(statement)))
        self._store.keep_commitment(contract.digest, dealer.name, DEALER_STAGE, envelope)
        return Answer()


def _statement(contract: AnyContract, epoch: int, name: str, said: Commit) -> Commitment:
    return Commitment(session=contract.digest, epoch=epoch, name=name, **said.model_dump(exclude={"type"}))


def _refusal(kind: type[Commitment | DealerKey], envelope: dict[str, object], key: bytes) -> str:
    """Why an envelope does not hold; empty if it does."""
    try:
        read(kind, envelope, key)
    except ContractError as exc:
        return exc.what
    return ""


def _digest(statement: Commitment | DealerKey) -> str:
    return hashlib.sha256(payload_of(statement)).hexdigest()
