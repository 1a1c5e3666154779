"""The gateway's own log is cosigned too, by daemons whose operators confirmed its key.

The same as between partners (parties/testimony/witness.py): who joined under an invitation is known here by the key
that joined, and the gateway's key is confirmed at each daemon by its operator, as any partner's.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import structlog

from gateway.storage.store import Store
from mpc.errors import PrivityError
from parties.audit.agreements import STATE_FILE
from parties.audit.log import AuditLog
from parties.errors import PartnerError
from parties.keys.identity import Identity, fingerprint
from parties.keys.partners import Keys
from parties.service.messages import FromPartner, Relayed
from parties.testimony.witness import Witness
from parties.testimony.witness_store import Heads

log = structlog.get_logger()


class Members:
    """Whom the gateway knows: participants that joined, by the keys that did, as a witness asks (`Confirmed`)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> dict[str, str]:
        """Fingerprints by name."""
        with self._store.transaction() as rows:
            joined = {member.name: member.public_key for member in rows.members()}
        return {name: fingerprint(bytes.fromhex(key)) for name, key in joined.items() if key is not None}

    def keys(self) -> Keys:
        """None but those that are confirmed."""
        return Keys()

    def check_key(self, name: str, presented: str) -> None:
        """Raises: PartnerError for a key that did not join under this name."""
        if self.all().get(name) != presented:
            raise PartnerError(
                f"'{name}' is not known here with the key {presented}",
                action="it joins, or hands its key over, before its log is cosigned",
                reason="unknown",
            )


class Cosigning:
    """The gateway as one of those whose logs are cosigned. No call from inside a transaction of its store."""

    def __init__(self, name: str, home: Path, identity: Identity, journal: AuditLog, store: Store) -> None:
        self.name = name
        self._witness = Witness(name, identity, journal, Members(store), Heads(home / STATE_FILE))

    def concerns(self, message: Relayed) -> bool:
        """Whether it is for the gateway itself."""
        return message.peer == self.name

    def hear(self, sender: str, message: FromPartner) -> list[FromPartner]:
        """What to answer to a connected participant; what does not hold goes to the operational log."""
        try:
            answers = self._witness.hear(message.model_copy(update={"peer": sender}))
        except PrivityError as exc:
            log.warning("cosigning", who=sender, type=message.type, code=exc.code, what=exc.what, action=exc.action)
            return []
        return [self._from_here(answer) for answer in answers]

    def offers(self, names: Iterable[str]) -> list[tuple[str, FromPartner]]:
        """The newest head for those of these participants that have not answered to it yet, and for whom each is."""
        try:
            return [(offer.peer, self._from_here(offer)) for offer in self._witness.offers(names)]
        except PrivityError as exc:
            log.warning("cosigning", code=exc.code, what=exc.what, action=exc.action)
            return []

    def _from_here(self, message: FromPartner) -> FromPartner:
        return message.model_copy(update={"peer": self.name})
