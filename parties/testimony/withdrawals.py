"""The words by which parties end their consent, and what follows from one at whoever made or hears it.

Whoever withdraws destroys its share of the model that the session left; without it nobody can predict by that model.
What was told before can't be taken back.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from parties.agreement.contract import Participant
from parties.agreement.kinds import parse_contract
from parties.audit import events
from parties.audit.log import AuditLog
from parties.errors import LifecycleError
from parties.keys.identity import Identity, fingerprint
from parties.keys.partners import Partners
from parties.service.lifecycle import State
from parties.service.store import Session, SessionStore
from parties.testimony.withdrawal import Withdrawal, check_withdrawal, digest_of, is_its_key, sign_withdrawal


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
        return is_its_key(party, key) or self._partners.is_same(party.name, party.fingerprint, fingerprint(key))

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
