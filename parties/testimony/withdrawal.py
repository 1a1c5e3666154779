"""A party's signed word that it no longer consents to a session, and what follows from it at whoever hears it.

Whoever withdraws destroys its share of the model that the session left; without it nobody can predict by that model.
What was told before can't be taken back. The word is signed, so that the gateway, which passes it on, can make none.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import rfc8785
from pydantic import AwareDatetime, ValidationError

from parties.agreement.contract import Hex32, Participant, Terms
from parties.agreement.kinds import parse_contract
from parties.agreement.plan import Frozen, Name, explain
from parties.audit import events
from parties.audit.log import AuditLog
from parties.errors import ContractError, LifecycleError
from parties.keys.identity import Identity, fingerprint, unseal
from parties.keys.partners import Partners
from parties.service.lifecycle import State
from parties.service.store import Session, SessionStore

WITHDRAWAL_TYPE: Final = "application/vnd.privity.withdrawal.v1+json"


class Withdrawal(Frozen):
    """What a party signs to end its consent."""

    contract: Hex32
    name: Name
    public_key: Hex32  # that signs it: the contract's, or one that this handed over to
    at: AwareDatetime


def _is_its_key(party: Participant, key: bytes) -> bool:
    return party.key == key


def sign_withdrawal(identity: Identity, withdrawal: Withdrawal) -> dict[str, Any]:
    return identity.seal(WITHDRAWAL_TYPE, rfc8785.dumps(withdrawal.model_dump(mode="json")))


def check_withdrawal(
    contract: Terms, name: str, envelope: dict[str, Any], follows: Callable[[Participant, bytes], bool] = _is_its_key
) -> Withdrawal:
    """The withdrawal in an envelope, if the party of that name signed it for this very contract.

    `follows` says of a key whether it is the party's, as the contract has it or after it was handed over.
    Raises: ContractError otherwise.
    """
    key, party = _claimed_key(envelope), contract.party(name)
    payload = unseal(envelope, key if follows(party, key) else party.key, WITHDRAWAL_TYPE)
    try:
        withdrawal = Withdrawal.model_validate_json(payload)
    except ValidationError as exc:
        raise ContractError(f"{name}'s withdrawal does not hold: {explain(exc)}") from exc
    if withdrawal.contract != contract.digest or withdrawal.name != name:
        raise ContractError(
            f"a withdrawal that came in {name}'s place is of another contract or party",
            action="ask the gateway's operator why it was sent",
        )
    return withdrawal


def _claimed_key(envelope: dict[str, Any]) -> bytes:
    """By which key an envelope says that it is signed; nothing of it is believed before that is checked."""
    try:
        return bytes.fromhex(Withdrawal.model_validate_json(base64.b64decode(envelope["payload"])).public_key)
    except (KeyError, TypeError, ValueError):
        return b""


def digest_of(envelope: dict[str, Any]) -> str:
    """What logs call a signed withdrawal."""
    return hashlib.sha256(rfc8785.dumps(envelope)).hexdigest()


class Withdrawals:
    """The withdrawals that a participant made or heard of.

    `destroy` destroys this participant's share of the model that a session left, if it keeps one, and records that.
    """

    def __init__(
        self,
        name: str,
        identity: Identity,
        store: SessionStore,
        journal: AuditLog,
        destroy: Callable[[str], None],
        partners: Partners,
    ) -> None:
        self._name, self._identity, self._partners = name, identity, partners
        self._store, self._journal, self._destroy = store, journal, destroy

    def withdraw(self, beginning: str) -> str:
        """End this party's consent to the one session whose id begins so; its id. May be said again.

        Raises: LifecycleError if there is no such session, or it never began and never can; ContractError at a dealer.
        """
        session = self._store.get(beginning)
        if self._name not in self._store.withdrawals(session.digest):
            parse_contract(session.contract.encode()).party(self._name)
            _require_consent(session)
            own = {"name": self._name, "public_key": self._identity.public.hex()}
            withdrawal = Withdrawal(contract=session.digest, **own, at=datetime.now(UTC))
            # Durable before anything follows: whatever dies from here on, the next start goes on.
            self._store.keep_withdrawal(session.digest, self._name, sign_withdrawal(self._identity, withdrawal))
        self._complete(session.digest)
        return session.digest

    def resume(self) -> list[str]:
        """Complete what a process that was killed left half done; the ids of all sessions withdrawn from here."""
        withdrawn = self._store.withdrawn_by(self._name)
        for digest in withdrawn:
            self._complete(digest)
        return withdrawn

    def hear(self, digest: str, name: str, envelope: dict[str, Any]) -> None:
        """Another party withdrew. Raises: LifecycleError, ContractError for a word that does not hold."""
        session = self._store.get(digest)
        if name not in self._store.withdrawals(session.digest):
            check_withdrawal(parse_contract(session.contract.encode()), name, envelope, self._follows)
            self._store.keep_withdrawal(session.digest, name, envelope)
        self._record(session.digest, name)

    def _follows(self, party: Participant, key: bytes) -> bool:
        """Whether it is a partner's key of then, or the one that follows it and was accepted here."""
        return _is_its_key(party, key) or self._partners.is_same(party.name, party.fingerprint, fingerprint(key))

    def _complete(self, digest: str) -> None:
        self._record(digest, self._name)
        self._destroy(digest)

    def _record(self, digest: str, name: str) -> None:
        if self._store.is_recorded(digest, name):
            return
        envelope = self._store.withdrawals(digest)[name]
        by = "operator" if name == self._name else "partner"
        self._journal.append(events.ConsentWithdrawn(session=digest, who=name, by=by, digest=digest_of(envelope)))
        self._store.mark_recorded(digest, name)


def _require_consent(session: Session) -> None:
    never_began = session.state in {State.REFUSED, State.EXPIRED} or (
        session.state in {State.CANCELLED, State.FAILED} and not session.epoch
    )
    if never_began:
        raise LifecycleError(
            f"session {session.digest[:12]} is {session.state} and never began; there is no consent to withdraw",
            action="`privity node status` shows this node's sessions",
        )
