"""A participant's own append-only log: one SQLite file that only grows, with a signed head at every commit.

Guarantees: when `append` returns, the event and a signed head over it are on the disk; a failed or interrupted append
leaves nothing behind, or all of it if it broke off after its commit; there is one writer, and the log never forks.
Trusts: the disk does not lie about `fsync`, and the identity key is not used elsewhere under this log's origin.
Somebody who holds that key and the file can write another history; only a head that was handed out before reveals it.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, Self

from parties.audit import layout, notes
from parties.audit.batch import Batch
from parties.audit.entries import ORIGIN_PATTERN, Entry
from parties.audit.events import Event, IdentityCreated, IdentityRotated, LibraryChanged, LogCreated
from parties.audit.logfile import MAKE_ROOM, connect, lock, primary_code, reported, unusable
from parties.audit.merkle import Frontier, consistency_proof
from parties.audit.notes import Checkpoint
from parties.audit.tail import read_tail
from parties.durable import sync_directory
from parties.errors import AuditError
from parties.keys.identity import Identity

FILE_NAME: Final = "audit.sqlite"
GATHER_S: Final = 0.001  # who shared a commit is about to append again: waiting for them is less than a commit takes
CHANGED: Final = "was changed by something else than this process"
MAX_BATCHES: Final = 512  # of as many callers, in one commit

# After these SQLite has rolled back cleanly and the file is as before; any other failure leaves doubt.
_CLEAN_FAILURES: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY})
# These may pass, as a full disk does: the file is read again before the next append. After others it is not touched.
_PASSING_FAILURES: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})


def utc_now() -> datetime:
    return datetime.now(UTC)


class AuditLog:
    """The one writer of a log; safe to call from several threads. `append` blocks until the disk has it."""

    def __init__(
        self, path: Path, identity: Identity, origin: str, clock: Callable[[], datetime], lock_descriptor: int
    ) -> None:
        """Use `open`."""
        self.path = path
        self.origin = origin
        self._identity = identity
        self._clock = clock
        self._lock_descriptor = lock_descriptor
        self._mutex = threading.Lock()
        self._turn = threading.Condition()  # guards the two below: whoever commits takes along all that waits
        self._waiting: deque[Batch] = deque()
        self._committing = False
        self._shared = False  # whether the last commit took others along
        self._may_return = False  # whether what made the file doubtful may have passed
        self._connection: sqlite3.Connection | None = None
        self._frontier = Frontier()
        self._head = ""

    @classmethod
    def open(
        cls,
        path: Path,
        identity: Identity,
        origin: str,
        *,
        clock: Callable[[], datetime] = utc_now,
        must_exist: bool = False,
    ) -> Self:
        """Open the log for appending; begin it if there is none and `must_exist` is false.

        Raises: AuditError if another process has it open, it is not this identity's log of this origin, its end does
        not agree with its signed head, or it is missing and must exist.
        """
        if not re.fullmatch(ORIGIN_PATTERN, origin):
            raise AuditError(f"{origin!r} can't name a log", action="use lower-case letters, digits and . _ / -")
        path = path.absolute()  # the daemon may change its directory
        log = cls(path, identity, origin, clock, lock(path))
        try:
            with reported(path):
                log._begin(must_exist)
        except BaseException:
            log.close()
            raise
        return log

    @property
    def size(self) -> int:
        return self._frontier.size

    def head(self) -> str:
        """The newest signed head, a C2SP checkpoint: what partners keep."""
        return self._head

    def root(self, size: int) -> bytes:
        """The Merkle root over the first `size` entries. Raises: AuditError if the log has not so many."""
        with self._mutex, reported(self.path):
            if size > self.size:
                raise AuditError(f"the audit log {self.path} has {self.size} entries, not {size}")
            return Frontier.at(size, self._subtree).root()

    def head_since(self, old: int) -> tuple[str, list[bytes]]:
        """The newest head, and the hashes that show that it continues the one over `old` entries; none from 0.

        Raises: AuditError if the log has not so many entries.
        """
        with self._mutex, reported(self.path):
            if old > self.size:
                raise AuditError(f"the audit log {self.path} has {self.size} entries, not {old}")
            return self._head, consistency_proof(old, self.size, self._subtree) if old else []

    def append(self, event: Event) -> int:
        """Write one event; its index, once it is durable.

        Raises: AuditError if it could not be written; the act must not go on then. Nothing of it was written, unless
        the disk failed after the very commit: then it stands, of an act that did not happen.
        """
        return self.append_all([event])[0]

    def rotate(self, successor: Identity) -> None:
        """Hand the log over: the old key signs a last head, over the entry that names the new one.

        Raises: AuditError as `append`; the old key signs on then.
        """
        rotated = IdentityRotated(
            fingerprint=successor.fingerprint,
            public_key=successor.public.hex(),
            predecessor=self._identity.public.hex(),
        )
        with self._mutex:
            with reported(self.path):
                self._append([Batch([rotated])])
            self._identity = successor
        # So that the newest head is again one of the key that signs.
        self.append(IdentityCreated(fingerprint=successor.fingerprint))

    def append_all(self, events: Sequence[Event]) -> range:
        """Write events together, in this order, all or none; their indices, once they are durable.

        What several threads append at a time is committed together: one signature and one wait for the disk.
        Raises: AuditError as `append`.
        """
        if not events:
            return range(0)
        own = Batch(events)
        with self._turn:
            self._waiting.append(own)
            while self._committing and not own.is_settled:
                self._turn.wait()
            if own.is_settled:  # another thread's commit took it along
                return own.indices()
            self._committing = True
        try:
            if self._shared:
                time.sleep(GATHER_S)
            with self._mutex:
                while not own.is_settled:
                    self._commit_waiting()
        finally:
            with self._turn:
                self._committing = False
                self._turn.notify_all()
        return own.indices()

    def close(self) -> None:
        """Let go of the file; a closed log refuses to append."""
        with self._mutex:
            self._may_return = False
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if self._lock_descriptor >= 0:
                os.close(self._lock_descriptor)
                self._lock_descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, must_exist: bool) -> None:
        if not self.path.exists():
            if must_exist:
                raise AuditError(
                    f"there is no audit log at {self.path}",
                    action="restore it from a backup, or run the matching `init` for a new participant",
                )
            self._create()
        self._connection = connect(self.path)
        self._resume(self._connection)
        # After the first read, by which SQLite has undone what a killed writer left.
        with self.path.open("rb") as file:
            header = layout.Header.of(file.read(layout.Header.BYTES))
        if header.sqlite != layout.version_number(sqlite3.sqlite_version):
            changed = Batch([LibraryChanged(sqlite=sqlite3.sqlite_version)])
            self._append([changed])
            changed.indices()

    def _create(self) -> None:
        """Write a whole log of one entry under another name, then let it appear."""
        draft = self.path.with_name(f"{self.path.name}.new")
        _discard(draft)
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            with closing(connect(draft)) as connection:
                layout.create(connection, self.origin, self._identity.public)
                created = LogCreated(fingerprint=self._identity.fingerprint, sqlite=sqlite3.sqlite_version)
                frontier, first = Frontier(), Batch([created])
                self._write(connection, frontier, self._rows(frontier, first))
                connection.execute("COMMIT")
        except BaseException:
            _discard(draft)  # on a full disk even this much is room
            raise
        # Its content is on the disk before its name is, or a crash could leave a log that does not verify.
        draft.rename(self.path)
        sync_directory(self.path.parent)

    def _resume(self, connection: sqlite3.Connection) -> None:
        """Take up the log at its end, if its end is what this identity signed. All of it is checked by `verify`."""
        tail = read_tail(connection, self.path, self.origin, self._identity.public)
        # Whoever wrote the end may have died, or failed, before it was durable: a head that is handed out must be.
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        sync_directory(self.path.parent)
        self._frontier, self._head = tail.frontier, tail.head

    def _commit_waiting(self) -> None:
        """Write all that waits in one transaction; an error is that of every batch in it."""
        with self._turn:
            batches = [self._waiting.popleft() for _ in range(min(MAX_BATCHES, len(self._waiting)))]
        self._shared = len(batches) > 1
        try:
            with reported(self.path):
                self._append(batches)
        except AuditError as exc:
            for batch in batches:
                batch.fail(exc)
        except BaseException:
            for batch in batches:
                batch.fail(AuditError(f"an append to the audit log {self.path} was broken off", action="append again"))
            raise

    def _append(self, batches: Sequence[Batch]) -> None:
        """Write what fits the format, and let the rest fail by itself."""
        connection = self._writable()
        frontier = self._frontier.copy()
        rows = [row for batch in batches for row in self._rows(frontier, batch)]
        if not rows:
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._check_unchanged(connection)
            head = self._write(connection, frontier, rows)
            # Order of durability: SQLite syncs the rollback journal (the pages as they were), then writes and syncs
            # the pages, then deletes the journal, which is the moment of commit, and syncs the directory
            # (synchronous=EXTRA), or the journal could come back after a power cut and undo the entry.
            connection.execute("COMMIT")
        except BaseException as exc:
            self._undo(connection, exc)
            raise
        # Only now: a frontier ahead of the disk would sign heads over entries that do not exist.
        self._frontier, self._head = frontier, head
        for batch in batches:
            batch.succeed()

    def _writable(self) -> sqlite3.Connection:
        """Raises: AuditError if the log is closed, or what made it doubtful has not passed."""
        if self._connection is None and self._may_return:
            connection = connect(self.path)
            try:
                self._check_continues(connection)
                self._resume(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._opened()

    def _check_continues(self, connection: sqlite3.Connection) -> None:
        """What this process had written, and handed out heads over, must still be there. Raises: AuditError."""
        tail = read_tail(connection, self.path, self.origin, self._identity.public)
        known = Frontier.at(self.size, partial(layout.subtree, connection)) if self.size <= tail.frontier.size else None
        if known is None or known.root() != self._frontier.root():
            self._may_return = False
            raise unusable(self.path, CHANGED)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise AuditError(
                f"the audit log {self.path} is closed",
                action=f"{MAKE_ROOM}: the next append opens it" if self._may_return else "start the daemon again",
            )
        return self._connection

    def _subtree(self, last: int, level: int) -> bytes:
        return layout.subtree(self._opened(), last, level)

    def _rows(self, frontier: Frontier, batch: Batch) -> list[layout.Row]:
        """A batch's rows, behind those that `frontier` has gone through; none of one that does not fit the format."""
        now, first = self._clock(), frontier.size
        try:
            contents = [Entry(at, self.origin, now, event).encode() for at, event in enumerate(batch.events, first)]
        except AuditError as exc:
            batch.fail(exc)
            return []
        batch.place(first)
        return layout.rows_of(frontier, contents)

    def _write(self, connection: sqlite3.Connection, frontier: Frontier, rows: Sequence[layout.Row]) -> str:
        layout.insert_entries(connection, rows)
        # The head is in the same transaction as its entries: no crash can part them.
        head = notes.sign(self._checkpoint(frontier).render(), self.origin, self._identity).render()
        layout.insert_head(connection, frontier.size, head)
        return head

    def _undo(self, connection: sqlite3.Connection, cause: BaseException) -> None:
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        clean = isinstance(cause, AuditError) or primary_code(cause) in _CLEAN_FAILURES
        if not clean or connection.in_transaction:
            self._may_return = primary_code(cause) in _PASSING_FAILURES
            self._abandon()

    def _abandon(self) -> None:
        """What the disk holds is in doubt: nothing more is written before the log is read, and so checked, again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _check_unchanged(self, connection: sqlite3.Connection) -> None:
        """Compare and swap: on top of anything that this process did not write, the log would fork."""
        if layout.last_head(connection) != (self.size, self._head):
            raise unusable(self.path, CHANGED)

    def _checkpoint(self, frontier: Frontier) -> Checkpoint:
        return Checkpoint(self.origin, frontier.size, frontier.root())


def _discard(draft: Path) -> None:
    for leftover in (draft, draft.with_name(f"{draft.name}-journal")):
        leftover.unlink(missing_ok=True)
