"""One consistent image of a log's file, taken without writing to it, also while its daemon runs or after a kill.

The image is bytes; all reading afterwards is from memory, so that what was checked is what is shown. A file from a
stranger is never opened for writing, and its journal is replayed only on a copy.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parties.audit.entries import Entry, decode
from parties.audit.layout import APPLICATION_ID, FORMAT, SCHEMA
from parties.audit.log import FILE_NAME
from parties.errors import AuditError

READ_TIMEOUT_S: Final = 30.0
# What reading a damaged file raises; the second where SQLite's own message quotes the damage.
UNREADABLE: Final = (sqlite3.Error, UnicodeDecodeError)
# A journal that ends so names another file, which SQLite would open and might delete.
_SUPER_JOURNAL_MAGIC: Final = bytes.fromhex("d9d505f920a163d7")


@dataclass(frozen=True)
class Snapshot:
    """The file's bytes at one moment; `interrupted` if an unfinished append had to be undone first."""

    content: bytes
    interrupted: bool = False

    @contextmanager
    def connect(self) -> Iterator[sqlite3.Connection]:
        """The image as a database in memory.

        Raises: AuditError if it is not a log of a known format, or its schema is not that of a log.
        """
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            try:
                connection.deserialize(self.content)
                _prepare(connection)
            except UNREADABLE as exc:
                raise AuditError(f"it is not a readable SQLite file ({error_name(exc)})") from exc
            yield connection

    def entries(self) -> Iterator[Entry]:
        """All entries, unverified. Raises: AuditError as `connect`, and where the file or an entry is damaged."""
        with self.connect() as connection:
            try:
                for number, content in connection.execute("SELECT number, content FROM entries ORDER BY number"):
                    yield _decode(number, content)
            except UNREADABLE as exc:
                raise AuditError(f"its pages are damaged ({error_name(exc)})") from exc


def locate(path: Path) -> Path:
    """The log's file, given itself or the directory that holds it."""
    return path / FILE_NAME if path.is_dir() else path


def take(path: Path) -> Snapshot:
    """Raises: AuditError if the file is missing, busy for too long, or no SQLite file."""
    _require_file(path)
    try:
        return Snapshot(_read(path))
    except UNREADABLE as exc:
        if getattr(exc, "sqlite_errorcode", 0) != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise AuditError(f"it is not a readable SQLite file ({error_name(exc)})") from exc
    except OSError as exc:
        raise AuditError(f"it can't be read: {exc.strerror}") from exc
    return _undo_copy(path)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The log's file itself, for a few look-ups: nothing is copied, and nothing is written while it is open.

    Raises: AuditError as `take` and `Snapshot.connect`.
    """
    _require_file(path)
    with closing(_open(path)) as connection:
        try:
            connection.execute("BEGIN")
            _prepare(connection)
            ready = True
        except UNREADABLE as exc:
            if getattr(exc, "sqlite_errorcode", 0) != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise AuditError(f"it is not a readable SQLite file ({error_name(exc)})") from exc
            ready = False
        if ready:
            yield connection
            return
    with _undo_copy(path).connect() as copy:
        yield copy


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise AuditError("there is no such file", action="give the path of a log, or of the directory that holds it")


def _open(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=READ_TIMEOUT_S)


def _read(path: Path) -> bytes:
    """Through SQLite: under its shared lock no commit changes the file, and no descriptor of ours drops that lock."""
    with closing(_open(path)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
        content = bytes(connection.serialize())
        size = path.stat().st_size
    # SQLite reads as many pages as the header says: what lies beyond them must not hide.
    if size != len(content):
        raise AuditError(f"it has {size} bytes where its header says {len(content)}")
    return content


def _undo_copy(path: Path) -> Snapshot:
    """Undo, on a copy, what a killed writer left half done; nobody holds the file now."""
    journal = path.with_name(f"{path.name}-journal")
    if journal.read_bytes()[-len(_SUPER_JOURNAL_MAGIC) :] == _SUPER_JOURNAL_MAGIC:
        raise AuditError("the journal beside it is not one that a log's daemon writes")
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, FILE_NAME)
        shutil.copyfile(path, copy)
        shutil.copyfile(journal, copy.with_name(f"{copy.name}-journal"))
        try:
            with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
                connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
            return Snapshot(_read(copy), interrupted=True)
        except UNREADABLE as exc:
            raise AuditError(f"it is not a readable SQLite file ({error_name(exc)})") from exc


def _prepare(connection: sqlite3.Connection) -> None:
    # Damaged text is to be read and judged, not to raise: what is genuine is valid UTF-8.
    connection.text_factory = lambda content: content.decode("utf-8", "replace")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    _check_schema(connection)


def _check_schema(connection: sqlite3.Connection) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise AuditError("it is an SQLite file, but not an audit log")
    if version != FORMAT:
        raise AuditError(
            f"it is a log of format {version}; this release knows format {FORMAT}",
            action="verify with the release of Privity that wrote it, or a later one",
        )
    found = dict(connection.execute("SELECT name, sql FROM sqlite_schema LIMIT 100").fetchall())
    wrong = sorted(str(name) for name in SCHEMA.keys() | found.keys() if SCHEMA.get(name) != found.get(name))
    if wrong:
        raise AuditError(f"its schema was altered, first at {wrong[0]!r}")


def _decode(number: int, content: bytes) -> Entry:
    try:
        return decode(content)
    except AuditError as exc:
        raise AuditError(f"entry {number} {exc.what}", action=exc.action) from exc


def error_name(error: Exception) -> str:
    """SQLite's name for an error."""
    return str(getattr(error, "sqlite_errorname", type(error).__name__))
