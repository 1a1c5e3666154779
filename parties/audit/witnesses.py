"""The heads that lie in a home: of its log as partners cosigned them, and of partners' logs as it cosigned them.

Only read, and never written: a home may be somebody's copy.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from parties.audit.agreements import STATE_FILE
from parties.audit.heads import Cosigner, KnownHead
from parties.errors import AuditError

READ_TIMEOUT_S = 30.0


def cosigned_of(home: Path) -> list[KnownHead]:
    """Heads of its log that must be cosigned; none where the directory is no node's or dealer's.

    Raises: AuditError if the state can't be read, or one is no head.
    """
    rows = _read(home, "heads_cosigned", "name, public_key, note")
    return [KnownHead.parse(note, Cosigner(name, bytes.fromhex(key))) for name, key, note in rows]


def witnessed_of(home: Path) -> dict[str, KnownHead]:
    """The last head of each partner's log that was cosigned in this home. Raises: AuditError as `cosigned_of`."""
    return {name: KnownHead.parse(note) for name, note in _read(home, "heads_witnessed", "name, note")}


def _read(home: Path, table: str, columns: str) -> list[tuple[Any, ...]]:
    path = home / STATE_FILE
    if not path.is_file():
        return []
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=READ_TIMEOUT_S)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone():
                return []
            return connection.execute(f"SELECT {columns} FROM {table} ORDER BY name").fetchall()  # noqa: S608 - ours
    except sqlite3.Error as exc:
        raise AuditError(
            f"the cosigned heads in {path} can't be read ({type(exc).__name__})",
            action="verify audit.sqlite alone, with heads that partners give you by --head",
        ) from exc
