"""Is this the log that its owner's key signed, every byte of it? Offline, from the file alone.

Three things are checked, in this order. The content: each entry against its schema, its place, the Merkle hashes and
the signed head of its commit. What the caller knows: the signer's fingerprint, and a head seen earlier. The file: the
same appends are made again by the same code, and the result must be the same bytes, so that nothing hides in headers,
slack or free space.

Only an earlier head reveals that the owner of the key rolled the log back or wrote another one.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from parties.audit import layout, notes
from parties.audit.entries import ORIGIN_PATTERN, decode
from parties.audit.events import LibraryChanged, LogCreated
from parties.audit.layout import Header
from parties.audit.merkle import HASH_BYTES, Frontier, leaf_hash
from parties.audit.notes import Checkpoint
from parties.audit.snapshot import UNREADABLE, Snapshot, error_name, locate, take
from parties.errors import AuditError
from parties.identity import fingerprint, parse_fingerprint

Fault = Literal["file", "schema", "entry", "head", "key", "rollback", "fork", "layout"]

KEEP: Final = "keep the file as it is, and compare the heads that its owner and the partners hold"


@dataclass(frozen=True)
class Failure:
    """The first bad thing; `entry` is its index where it is, or is about, one entry."""

    fault: Fault
    what: str
    entry: int | None = None
    action: str = KEEP


@dataclass(frozen=True)
class Verdict:
    """What verification found; `remarks` are the limits of what it says."""

    path: str
    failure: Failure | None = None
    origin: str = ""
    fingerprint: str = ""
    entries: int = 0
    signer_confirmed: bool = False
    head_checked: bool = False
    layout_checked: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.failure is None

    def line(self) -> str:
        """The verdict in one line, for people."""
        if self.failure is not None:
            return f"NOT VERIFIED: {self.path}: {self.failure.what}"
        return f"verified: {self.path}: {self.entries} entries of {self.origin}, signed by {self.fingerprint}"

    def as_dict(self) -> dict[str, Any]:
        return {"verified": self.ok, **asdict(self)}


class _Found(Exception):
    """Carries a failure out of the checks."""

    def __init__(self, fault: Fault, what: str, entry: int | None = None, action: str | None = None) -> None:
        super().__init__(what)
        self.failure = Failure(fault, what, entry, action or KEEP)


def verify(path: Path, key: str | None = None, head: Path | None = None) -> Verdict:
    """Check the log at `path`, a file or a directory that holds one.

    `key` is the signer's fingerprint as confirmed out of band; `head` a file with a head of this log seen earlier.

    Raises: PartnerError if `key` is not a fingerprint; AuditError if `head` can't be read. Everything else about the
    log is in the verdict.
    """
    path = locate(path)
    expected = parse_fingerprint(key) if key is not None else None
    earlier = _read_head(head) if head is not None else None
    try:
        snapshot = take(path)
    except AuditError as exc:
        return _failed(Verdict(str(path)), "file", exc)
    return examine(snapshot, str(path), expected, earlier)


def examine(snapshot: Snapshot, path: str = "", key: str | None = None, earlier: notes.Note | None = None) -> Verdict:
    """As `verify`, for an image that is already at hand; `key` in canonical form."""
    examination = _Examination(Verdict(path), snapshot, earlier)
    try:
        with snapshot.connect() as connection:
            return examination.run(connection, key)
    except _Found as found:
        return replace(examination.verdict, failure=found.failure)
    except UNREADABLE as exc:
        return replace(examination.verdict, failure=Failure("file", f"its pages are damaged ({error_name(exc)})"))
    except AuditError as exc:
        return _failed(examination.verdict, "schema", exc)


def _failed(verdict: Verdict, fault: Fault, error: AuditError) -> Verdict:
    return replace(verdict, failure=Failure(fault, error.what, None, error.action or KEEP))


def _read_head(path: Path) -> notes.Note:
    try:
        note = notes.parse_note(path.read_bytes().decode())
        notes.parse_checkpoint(note.text)
    except (OSError, UnicodeDecodeError) as exc:
        raise AuditError(f"the head {path} can't be read", action="give a file with a signed head") from exc
    except AuditError as exc:
        raise AuditError(f"{path}: {exc.what}", action=exc.action) from exc
    return note


class _Examination:
    """One pass over one image; `verdict` holds what is established so far."""

    def __init__(self, verdict: Verdict, snapshot: Snapshot, earlier: notes.Note | None) -> None:
        self.verdict = verdict
        self._snapshot = snapshot
        self._note = earlier
        self._earlier: Checkpoint | None = None
        self._key = b""
        self._frontier = Frontier()
        self._libraries: list[str] = []

    def run(self, connection: sqlite3.Connection, key: str | None) -> Verdict:
        self._identify(connection, key)
        self._accept_head()
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as scratch:
            layout.configure(scratch)
            layout.create(scratch, self.verdict.origin, self._key)
            commits = self._walk(connection, scratch)
            scratch.execute("COMMIT")
            self._compare(scratch.serialize(), commits)
        if self._snapshot.interrupted:
            self._remark("an append that was cut off before it was durable was undone first, on a copy")
        return self.verdict

    def _remark(self, text: str) -> None:
        self.verdict = replace(self.verdict, remarks=(*self.verdict.remarks, text))

    def _identify(self, connection: sqlite3.Connection, key: str | None) -> None:
        match connection.execute("SELECT origin, public_key FROM log LIMIT 2").fetchall():
            case [(str(origin), bytes(key_bytes))] if re.fullmatch(ORIGIN_PATTERN, origin):
                self._key = key_bytes
            case _:
                raise _Found("schema", "it does not say whose log it is")
        signer = fingerprint(self._key)
        self.verdict = replace(self.verdict, origin=origin, fingerprint=signer)
        if key is None:
            self._remark(f"the signer is not confirmed: ask {origin} for its fingerprint, then give it by --key")
        elif key != signer:
            raise _Found("key", f"it is signed by {signer}, not by {key}")
        else:
            self.verdict = replace(self.verdict, signer_confirmed=True)

    def _accept_head(self) -> None:
        """Take the head given as this log's own, or fail."""
        if self._note is None:
            self._remark("only a head seen earlier, given by --head, could reveal a rollback or a rewritten log")
            return
        self._earlier = notes.parse_checkpoint(self._note.text)
        if self._earlier.origin != self.verdict.origin:
            raise _Found("head", f"the head given is of {self._earlier.origin}, the log of {self.verdict.origin}")
        if not self._note.signed_by(self.verdict.origin, self._key):
            raise _Found("head", "the head given is not signed by this log's key")

    def _walk(self, connection: sqlite3.Connection, scratch: sqlite3.Connection) -> int:
        """Follow the log commit by commit, each from its entries to its head, and make each again in `scratch`."""
        rows = connection.execute("SELECT number, content, hashes FROM entries ORDER BY number")
        commits = 0
        for size, note in connection.execute("SELECT size, note FROM heads ORDER BY size"):
            first = self._frontier.size
            if not isinstance(note, str) or size <= first:
                raise _Found("head", f"the head over {size} entries is damaged")
            commit = list(islice(rows, size - first))
            for row in commit:
                self._check_entry(*row)
            if self._frontier.size < size:
                raise _missing(self._frontier.size)
            self._check_head(first, note)
            layout.insert_entries(scratch, commit)
            layout.insert_head(scratch, size, note)
            commits += 1
            self.verdict = replace(self.verdict, entries=size)
        self._check_end(rows.fetchone())
        return commits

    def _check_entry(self, number: object, content: object, hashes: object) -> None:
        index = self._frontier.size
        if number != index:
            raise _missing(index)
        if not isinstance(content, bytes) or not isinstance(hashes, bytes):
            raise _Found("entry", f"entry {index} is damaged", index)
        leaf = leaf_hash(content)
        if hashes[:HASH_BYTES] != leaf:
            raise _Found("entry", f"entry {index} was altered: its content is not what was hashed", index)
        self._check_event(index, content)
        if b"".join(self._frontier.append(leaf)) != hashes:
            raise _Found("entry", f"entry {index} was altered: its hashes do not follow from the entries before", index)
        self._match_earlier()

    def _check_event(self, index: int, content: bytes) -> None:
        try:
            entry = decode(content)
        except AuditError as exc:
            raise _Found("entry", f"entry {index} {exc.what}", index, exc.action) from exc
        if (entry.index, entry.origin) != (index, self.verdict.origin):
            raise _Found("entry", f"entry {index} was written as entry {entry.index} of {entry.origin}", index)
        event = entry.event
        if isinstance(event, LogCreated) != (index == 0):
            raise _Found(
                "entry", f"entry {index} is not in its place: a log begins with {LogCreated.type} alone", index
            )
        if isinstance(event, LogCreated) and event.fingerprint != self.verdict.fingerprint:
            raise _Found("entry", f"entry {index} names another key than the log's", index)
        if isinstance(event, LogCreated | LibraryChanged):
            self._libraries.append(event.sqlite)

    def _check_head(self, first: int, content: str) -> None:
        """Whether the head of a commit is what its entries and the log's key make."""
        size = self._frontier.size
        try:
            note = notes.parse_note(content)
        except AuditError as exc:
            raise _Found("head", f"the head over {size} entries is damaged") from exc
        if not note.signed_by(self.verdict.origin, self._key) or len(note.signatures) != 1:
            raise _Found("head", f"the head over {size} entries is not signed by the log's key")
        if note.text != Checkpoint(self.verdict.origin, size, self._frontier.root()).render():
            span = f"entry {first} was" if size == first + 1 else f"entries {first} to {size - 1} were"
            raise _Found("entry", f"{span} altered: the signed head over {size} entries does not agree", first)

    def _match_earlier(self) -> None:
        earlier = self._earlier
        if earlier is None or earlier.size != self._frontier.size:
            return
        if earlier.root != self._frontier.root():
            raise _Found(
                "fork",
                f"it is not the log of the head given: they differ within the first {earlier.size} entries",
            )
        self.verdict = replace(self.verdict, head_checked=True)

    def _check_end(self, beyond: object) -> None:
        size = self._frontier.size
        if beyond is not None or not size:
            raise _Found("entry", f"entry {size} is not under any signed head", size)
        if self._earlier is not None and not self.verdict.head_checked:
            raise _Found(
                "rollback",
                f"entry {size} is missing: the head given is over {self._earlier.size} entries, the log has {size}",
                size,
            )

    def _compare(self, blank: bytes, commits: int) -> None:
        """Compare the file with the same log made anew, byte for byte."""
        content, library = self._snapshot.content, self._libraries[-1]
        # One transaction a head, from the first: so the header's fields are known and need not be left out.
        made = Header(commits, commits, layout.version_number(library)).stamp(blank)
        if made == content:
            self.verdict = replace(self.verdict, layout_checked=True)
            return
        found = Header.of(content)
        if found != Header.of(made):
            raise _Found("layout", "its file header counts other transactions, or another SQLite, than the log itself")
        here = sqlite3.sqlite_version
        if set(self._libraries) != {here}:
            self._remark(
                f"its unused bytes could not be compared: the file is laid out by SQLite {', '.join(self._libraries)},"
                f" this is {here}; all entries and heads were checked"
            )
            return
        offset = _first_difference(made, content)
        page = offset // layout.PAGE_BYTES + 1
        raise _Found("layout", f"byte {offset} of the file (in page {page}) is not what these entries make")


def _missing(index: int) -> _Found:
    return _Found("entry", f"entry {index} is missing", index)


def _first_difference(made: bytes, found: bytes) -> int:
    """Where two byte strings that are not equal part, by bisection."""
    low, high = 0, min(len(made), len(found))
    while low < high:
        middle = (low + high) // 2
        if made[low : middle + 1] == found[low : middle + 1]:
            low = middle + 1
        else:
            high = middle
    return low
