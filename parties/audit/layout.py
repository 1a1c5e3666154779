"""How a log lies in its SQLite file; the only code that writes one.

The same appends by the same code give the same bytes, which is what verification relies on: it writes the log anew
and compares. So everything here is deterministic, and every setting that shapes the file is pinned.

Tables: `log` names the log and its key; `entries` holds each event's bytes and the Merkle hashes that it completed;
`heads` holds a signed checkpoint for each commit. A head's size is the number of entries when it was signed.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from parties.audit.merkle import HASH_BYTES, Frontier, leaf_hash

APPLICATION_ID: Final = 0x50524C47  # "PRLG"
FORMAT: Final = 1
PAGE_BYTES: Final = 4096

Row = tuple[int, bytes, bytes]  # an entry's number, content, and hashes joined


def _guard(name: str, when: str) -> str:
    return f"CREATE TRIGGER {name} BEFORE {when} BEGIN SELECT RAISE(ABORT, 'the log only grows'); END"


_TABLES: Final = {
    "log": "CREATE TABLE log (origin TEXT NOT NULL, public_key BLOB NOT NULL) STRICT",
    "entries": "CREATE TABLE entries (number INTEGER PRIMARY KEY, content BLOB NOT NULL, hashes BLOB NOT NULL) STRICT",
    "heads": "CREATE TABLE heads (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT",
}
_GUARDS: Final = {
    "log_once": "INSERT ON log WHEN EXISTS (SELECT 1 FROM log)",
    "log_update": "UPDATE ON log",
    "log_delete": "DELETE ON log",
    "entries_next": "INSERT ON entries WHEN NEW.number IS NOT (SELECT coalesce(max(number) + 1, 0) FROM entries)",
    "entries_update": "UPDATE ON entries",
    "entries_delete": "DELETE ON entries",
    "heads_next": "INSERT ON heads WHEN NEW.size IS NOT (SELECT max(number) + 1 FROM entries)"
    " OR NEW.size <= (SELECT max(size) FROM heads)",
    "heads_update": "UPDATE ON heads",
    "heads_delete": "DELETE ON heads",
}
SCHEMA: Final = {**_TABLES, **{name: _guard(name, when) for name, when in _GUARDS.items()}}


@dataclass(frozen=True)
class Header:
    """Those fields of SQLite's file header that count transactions and name the version that wrote last."""

    BYTES: ClassVar[int] = 100

    change_counter: int
    valid_for: int
    sqlite: int

    @classmethod
    def of(cls, content: bytes) -> Header:
        (counter,) = struct.unpack_from(">I", content, 24)
        return cls(counter, *struct.unpack_from(">II", content, 92))

    def stamp(self, content: bytes) -> bytes:
        """The file with these fields instead of its own."""
        stamped = bytearray(content)
        struct.pack_into(">I", stamped, 24, self.change_counter)
        struct.pack_into(">II", stamped, 92, self.valid_for, self.sqlite)
        return bytes(stamped)


def version_number(version: str) -> int:
    """SQLite's number for its version, as file headers have it: 3040001 for 3.40.1."""
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    return major * 1_000_000 + minor * 1_000 + patch


def configure(connection: sqlite3.Connection) -> None:
    """Settings of a connection that shape the file or keep its promises; for each connection that writes."""
    # Zeroing what was freed depends on how SQLite was built; unused bytes must not.
    connection.execute("PRAGMA secure_delete = ON")
    # Without it INSERT OR REPLACE deletes rows past the triggers.
    connection.execute("PRAGMA recursive_triggers = ON")
    connection.execute("PRAGMA trusted_schema = OFF")


def create(connection: sqlite3.Connection, origin: str, public_key: bytes) -> None:
    """Lay out an empty log, inside a transaction that this begins; the caller appends the first entry and commits."""
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA encoding = 'UTF-8'")
    connection.execute("PRAGMA auto_vacuum = NONE")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    for statement in SCHEMA.values():
        connection.execute(statement)
    connection.execute("INSERT INTO log VALUES (?, ?)", (origin, public_key))


def rows_of(frontier: Frontier, contents: Sequence[bytes]) -> list[Row]:
    """The rows of new entries, with the hashes that they complete; `frontier` moves along."""
    return [
        (number, content, b"".join(frontier.append(leaf_hash(content))))
        for number, content in enumerate(contents, frontier.size)
    ]


def insert_entries(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    connection.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)


def insert_head(connection: sqlite3.Connection, size: int, note: str) -> None:
    connection.execute("INSERT INTO heads VALUES (?, ?)", (size, note))


def subtree(connection: sqlite3.Connection, last: int, level: int) -> bytes:
    """The stored hash of the 2**level entries that end with `last`; empty if the file does not hold it."""
    row = connection.execute(
        "SELECT substr(hashes, ?, ?) FROM entries WHERE number = ?", (level * HASH_BYTES + 1, HASH_BYTES, last)
    ).fetchone()
    return bytes(row[0]) if row else b""


def last_head(connection: sqlite3.Connection) -> tuple[int, str] | None:
    """Size and note of the newest head."""
    row: tuple[int, str] | None = connection.execute(
        "SELECT size, note FROM heads ORDER BY size DESC LIMIT 1"
    ).fetchone()
    return row
