"""The keys that signed a log in turn: the one that it began with, and those that each handed it over to."""

from __future__ import annotations

import sqlite3

from parties.audit.entries import decode
from parties.audit.events import IdentityRotated
from parties.audit.tail import ROTATED
from parties.errors import AuditError


def claimed_keys(connection: sqlite3.Connection, first: bytes) -> list[bytes]:
    """All of them, oldest first, as the entries say: whether these hold, only the walk through the log shows.

    Cost: one look at every entry.
    """
    keys = [first]
    rows = connection.execute("SELECT content FROM entries WHERE instr(content, ?) ORDER BY number", (ROTATED,))
    for (content,) in rows:
        try:
            event = decode(content).event
        except AuditError:
            continue
        if isinstance(event, IdentityRotated):
            keys.append(bytes.fromhex(event.public_key))
    return keys
