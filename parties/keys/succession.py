"""What a daemon tells partners of its own new key, and what it makes of theirs: an offer to the operator, no more."""

from __future__ import annotations

from parties.audit.events import PartnerKeyOffered
from parties.audit.log import AuditLog
from parties.errors import PartnerError
from parties.keys.handover import Handovers, keys_of
from parties.keys.identity import fingerprint
from parties.keys.partners import Partners
from parties.service.messages import HandedOver


class Succession:
    """One participant's side of all hand-overs of keys."""

    def __init__(self, name: str, handovers: Handovers, partners: Partners, journal: AuditLog) -> None:
        self._partners, self._journal = partners, journal
        self._chain = handovers.chain()
        self.keys = keys_of(name, self._chain)  # all own keys, oldest first; none if there was only one

    @property
    def former(self) -> list[bytes]:
        """Own keys that handed over."""
        return self.keys[:-1]

    def announcements(self) -> list[HandedOver]:
        """For each partner; none if this key is the first."""
        if not self._chain:
            return []
        key = self.keys[-1].hex()
        return [HandedOver(peer=name, public_key=key, handovers=tuple(self._chain)) for name in self._partners.all()]

    def hear(self, message: HandedOver) -> None:
        """Keep the key to which a partner's confirmed one handed over, for the operator to accept.

        Raises: PartnerError if nobody is confirmed under the name, or its key did not hand over to the one that came.
        """
        name, confirmed = message.peer, self._partners.all().get(message.peer)
        keys = [fingerprint(key) for key in keys_of(name, message.handovers)]
        if confirmed is None or confirmed not in keys or keys[-1] != fingerprint(bytes.fromhex(message.public_key)):
            raise PartnerError(
                f"hand-overs came for '{name}' that do not begin at the key confirmed for it",
                action="if its key was replaced, ask for the fingerprint by phone",
            )
        if confirmed != keys[-1]:
            offered = PartnerKeyOffered(name=name, confirmed=confirmed, successor=keys[-1])
            self._partners.offer(name, keys[-1], lambda _: self._journal.append(offered))
