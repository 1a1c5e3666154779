"""Gives a home another identity key: the old one signs the hand-over, and a last head of the log.

Only while no daemon runs: sessions that are open end with it. What the old key signed stays verifiable, for its
fingerprint leads along the hand-overs to the new one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from parties.audit.log import AuditLog
from parties.durable import sync_directory
from parties.errors import ForeignLog
from parties.keys.handover import HANDOVERS_FILE, Handovers, hand_over
from parties.keys.identity import Identity
from parties.service.home import Home

IDENTITY_FILE: Final = "identity.pem"
NEXT_FILE: Final = "identity.next.pem"  # from the first step to the last; found again if one was broken off


def rotate_identity(home: Home, now: datetime) -> str:
    """Make a new key, hand over to it, and take it into use; its fingerprint. May be called again if broken off.

    Raises: SettingsError if this is no home; AuditError if a daemon runs, or the log is not whole.
    """
    name, old, path = home.settings.name, home.identity, home.path(NEXT_FILE)
    if not path.exists():
        Identity.generate().save(path)
    new = Identity.load(path)
    if not _is_handed_over(home, new):
        handovers = Handovers(home.path(HANDOVERS_FILE))
        # Order: the hand-over is kept before the log names the new key, and that before the new key is used.
        if new.public.hex() not in [link.read().new for link in handovers.chain()]:
            handovers.add(hand_over(name, old, new, now))
        with AuditLog.open(home.path("audit.sqlite"), old, name, must_exist=True) as journal:
            journal.rotate(new)
    path.replace(home.path(IDENTITY_FILE))
    sync_directory(home.directory)
    return new.fingerprint


def _is_handed_over(home: Home, new: Identity) -> bool:
    """Whether the log is the new key's already, where an earlier call was broken off."""
    try:
        AuditLog.open(home.path("audit.sqlite"), new, home.settings.name, must_exist=True).close()
    except ForeignLog:
        return False
    return True
