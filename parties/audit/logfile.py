"""A log's file as its writer holds it: locked, opened, and errors about it in our words."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from parties.audit import layout
from parties.errors import AuditError

BUSY_TIMEOUT_S: Final = 60.0  # how long a reader may hold up a commit
MAKE_ROOM: Final = "make room on the disk"
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def lock(path: Path) -> int:
    """The writer's lock, held until its descriptor is closed; it dies with the process.

    It is a file of its own: closing any descriptor of the log would drop the locks that SQLite has on it.
    """
    beside = path.with_name(f"{path.name}.lock")
    try:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise AuditError(
            f"the audit log {path} can't be opened: {exc.strerror}",
            action=MAKE_ROOM if exc.errno in _NO_ROOM else "check that its directory exists and is yours",
        ) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise AuditError(
            f"the audit log {path} is open in another process",
            action="stop the daemon that writes it, or use another --home",
        ) from None
    return descriptor


def connect(path: Path) -> sqlite3.Connection:
    """A connection that writes, durably, to a file that exists. Raises: sqlite3.Error if it can't be opened."""
    # mode=rw: a file that vanished must not come back empty.
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT_S,
    )
    layout.configure(connection)
    connection.execute("PRAGMA synchronous = EXTRA")
    return connection


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors as ours."""
    try:
        yield
    except sqlite3.Error as exc:
        name = getattr(exc, "sqlite_errorname", type(exc).__name__)
        if name == "SQLITE_READONLY_DBMOVED":
            raise unusable(path, "was moved or replaced while it was open") from exc
        full = primary_code(exc) == sqlite3.SQLITE_FULL
        raise AuditError(
            f"the audit log {path} could not be read or written ({name})",
            action=MAKE_ROOM
            if full
            else f"{MAKE_ROOM} if it is full, or check it, then `privity audit verify` the log",
        ) from exc
    except OSError as exc:
        raise AuditError(
            f"the audit log {path} could not be read or written: {exc.strerror}",
            action=MAKE_ROOM if exc.errno in _NO_ROOM else "check the disk",
        ) from exc


def primary_code(error: BaseException) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def unusable(path: Path, what: str) -> AuditError:
    return AuditError(f"the audit log {path} {what}", action="keep the file, and run `privity audit verify` on it")
