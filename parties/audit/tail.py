"""The end of a log: whether its newest signed head is this participant's, over just the entries that are there.

What a daemon asks before it goes on with a log, and what can be asked of one at any time, whatever its length. Whether
the whole log is genuine, `verify` says.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from parties.audit import layout, notes
from parties.audit.entries import decode
from parties.audit.events import IdentityRotated
from parties.audit.logfile import BUSY_TIMEOUT_S, reported, unusable
from parties.audit.merkle import Frontier
from parties.audit.notes import Checkpoint
from parties.errors import AuditError, ForeignLog
from parties.keys.identity import fingerprint

ROTATED: Final = f'"type":"{IdentityRotated.type}"'.encode()  # stands in each entry that hands the log over

_MARKS: Final = {"application_id": layout.APPLICATION_ID, "user_version": layout.FORMAT, "journal_mode": "delete"}


@dataclass(frozen=True)
class Tail:
    """Where the next entry goes, and the newest head."""

    frontier: Frontier
    head: str


def read_tail(connection: sqlite3.Connection, path: Path, origin: str, public_key: bytes) -> Tail:
    """Cost: the same for every length. Raises: AuditError if the end is not what the key signed as this origin's."""
    # Not WAL, whose commits lie in a second file: this one must be complete by itself. Nothing is set before the
    # file is known to be ours.
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _MARKS]
    if found != list(_MARKS.values()):
        raise unusable(path, "is not an audit log of a format that this release knows")
    last = layout.last_head(connection)
    entries = connection.execute("SELECT coalesce(max(number) + 1, 0) FROM entries").fetchone()[0]
    if last is None or last[0] != entries:
        raise unusable(path, "has no signed head over its last entry")
    frontier = Frontier.at(entries, lambda number, level: layout.subtree(connection, number, level))
    note = notes.parse_note(last[1])
    owner = connection.execute("SELECT origin FROM log").fetchall()
    if owner != [(origin,)] or not note.signed_by(origin, _signer(connection, path, entries - 1, public_key)):
        raise ForeignLog(
            f"the audit log {path} is not the log of {origin} under the key {fingerprint(public_key)}",
            action="keep the file, and run `privity audit verify` on it",
        )
    if note.text != Checkpoint(origin, frontier.size, frontier.root()).render():
        raise unusable(path, "does not agree with its own signed head")
    return Tail(frontier, last[1])


def _signer(connection: sqlite3.Connection, path: Path, last: int, public_key: bytes) -> bytes:
    """The key that signed the newest head, if this one is to sign the next."""
    (content,) = connection.execute("SELECT content FROM entries WHERE number = ?", (last,)).fetchone()
    if ROTATED not in content:
        return public_key
    event = decode(content).event
    if not isinstance(event, IdentityRotated):
        return public_key
    if event.public_key != public_key.hex():
        raise AuditError(
            f"the audit log {path} was handed over to the key {event.fingerprint}",
            action="run `privity key rotate` again, which finishes what was broken off",
        )
    return bytes.fromhex(event.predecessor)


def look_at(path: Path, origin: str, public_key: bytes) -> tuple[int, datetime]:
    """Entries of a log, also of one that a daemon writes, and the newest one's time; nothing is written.

    Raises: AuditError as `read_tail`, if the newest entry is damaged, or the file can't be read.
    """
    path = path.absolute()
    with reported(path), closing(_reader(path)) as connection:
        connection.execute("BEGIN")  # one moment for all that is read
        size = read_tail(connection, path, origin, public_key).frontier.size
        (content,) = connection.execute("SELECT content FROM entries WHERE number = ?", (size - 1,)).fetchone()
        return size, decode(content).time


def _reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S)
