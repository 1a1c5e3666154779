"""Is this the log that its owner's key signed, every byte of it? Offline, from the file alone.

Three things are checked, in this order. The content: each entry against its schema, its place, the Merkle hashes and
the signed head of its commit. What the caller knows: the signer's fingerprint, and a head seen earlier. The file: the
same appends are made again by the same code, and the result must be the same bytes, so that nothing hides in headers,
slack or free space.

Only an earlier head reveals that the owner of the key rolled the log back or wrote another one: one that a partner
cosigned, or that somebody kept.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from parties.audit import bundle, bundle_check, layout, notes, proof
from parties.audit.entries import ORIGIN_PATTERN, decode
from parties.audit.events import IdentityRotated, LibraryChanged, LogCreated
from parties.audit.heads import KnownHead
from parties.audit.keychain import claimed_keys
from parties.audit.layout import Header
from parties.audit.merkle import HASH_BYTES, Frontier, leaf_hash
from parties.audit.notes import Checkpoint
from parties.audit.snapshot import UNREADABLE, Snapshot, error_name, locate, take
from parties.audit.verdict import KEEP, Failure, Fault, Found, Verdict
from parties.audit.witnesses import cosigned_of
from parties.errors import AuditError
from parties.keys.identity import fingerprint, parse_fingerprint


def verify(path: Path, key: str | None = None, *heads: Path) -> Verdict:
    """Check what lies at `path`: a log, a directory that holds one, a proof, or a bundle.

    `key` is the signer's fingerprint as confirmed out of band; `heads` are files with heads of this log seen earlier.
    Of a directory, the heads that partners cosigned, which lie beside the log, are taken for true as well.

    Raises: PartnerError if `key` is not a fingerprint; AuditError if a head can't be read. Everything else is in the
    verdict.
    """
    cosigned = cosigned_of(path)
    path = locate(path)
    expected = parse_fingerprint(key) if key is not None else None
    known = [KnownHead.read(head) for head in heads]
    if proof.is_one(path):
        return proof.examine(path, expected, known)
    if bundle.is_one(path):
        return bundle_check.examine(path, expected, known)[0]
    try:
        snapshot = take(path)
    except AuditError as exc:
        return _failed(Verdict(str(path)), "file", exc)
    return examine(snapshot, str(path), expected, [*known, *cosigned])


def examine(snapshot: Snapshot, path: str = "", key: str | None = None, known: Sequence[KnownHead] = ()) -> Verdict:
    """As `verify`, for an image of a log that is already at hand; `key` in canonical form."""
    examination = _Examination(Verdict(path), snapshot, known)
    try:
        with snapshot.connect() as connection:
            return examination.run(connection, key)
    except Found as found:
        return replace(examination.verdict, failure=found.failure)
    except UNREADABLE as exc:
        return replace(examination.verdict, failure=Failure("file", f"its pages are damaged ({error_name(exc)})"))
    except AuditError as exc:
        return _failed(examination.verdict, "schema", exc)


def _failed(verdict: Verdict, fault: Fault, error: AuditError) -> Verdict:
    return replace(verdict, failure=Failure(fault, error.what, None, error.action or KEEP))


class _Examination:
    """One pass over one image; `verdict` holds what is established so far."""

    def __init__(self, verdict: Verdict, snapshot: Snapshot, known: Sequence[KnownHead]) -> None:
        self.verdict = verdict
        self._snapshot = snapshot
        self._known = known
        self._expected: dict[int, set[bytes]] = {}  # roots of the heads known, by size
        self._keys: list[bytes] = []  # all that the log claims; `_signing` counts those that handed it over so far
        self._signing = 0
        self._handed_over: int | None = None  # the entry that does so, until the head over it is checked
        self._frontier = Frontier()
        self._libraries: list[str] = []

    def run(self, connection: sqlite3.Connection, key: str | None) -> Verdict:
        self._identify(connection, key)
        self._accept_heads()
        first = self._keys[0]
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as scratch:
            layout.configure(scratch)
            layout.create(scratch, self.verdict.origin, first)
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
                self._keys = claimed_keys(connection, key_bytes)
            case _:
                raise Found("schema", "it does not say whose log it is")
        signers = [fingerprint(one) for one in self._keys]
        self.verdict = replace(self.verdict, origin=origin, fingerprint=signers[-1])
        if key is None:
            self._remark(f"the signer is not confirmed: ask {origin} for its fingerprint, then give it by --key")
        elif key not in signers:
            raise Found("key", f"it is signed by {signers[-1]}, not by {key}")
        else:
            self.verdict = replace(self.verdict, signer_confirmed=True)
            if key != signers[-1]:
                self._remark(f"the key {key} handed it over to {signers[-1]}, which signs it by now: confirm that one")

    def _accept_heads(self) -> None:
        """Take the heads known as this log's own, or fail."""
        if not self._known:
            self._remark(
                "only a head seen earlier, cosigned by a partner or given by --head, could reveal a rollback or a "
                "rewritten log"
            )
        for head in self._known:
            if cosigned := head.accept(self.verdict.origin, *self._keys):
                self.verdict = replace(self.verdict, cosigned=(*self.verdict.cosigned, cosigned))
            self._expected.setdefault(head.checkpoint.size, set()).add(head.checkpoint.root)

    def _walk(self, connection: sqlite3.Connection, scratch: sqlite3.Connection) -> int:
        """Follow the log commit by commit, each from its entries to its head, and make each again in `scratch`."""
        rows = connection.execute("SELECT number, content, hashes FROM entries ORDER BY number")
        commits = 0
        for size, note in connection.execute("SELECT size, note FROM heads ORDER BY size"):
            first = self._frontier.size
            if not isinstance(note, str) or size <= first:
                raise Found("head", f"the head over {size} entries is damaged")
            commit = list(islice(rows, size - first))
            for row in commit:
                self._check_entry(*row)
            if (found := self._frontier.size) < size:
                raise Found("truncated", f"entry {found} is missing, and so is all that followed", found)
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
            raise Found("altered", f"entry {index} is damaged", index)
        leaf = leaf_hash(content)
        if hashes[:HASH_BYTES] != leaf:
            raise Found("altered", f"entry {index} was altered: its content is not what was hashed", index)
        self._check_event(index, content)
        if b"".join(self._frontier.append(leaf)) != hashes:
            raise Found(
                "altered", f"entry {index} was altered: its hashes do not follow from the entries before", index
            )
        self._match_heads()

    def _check_event(self, index: int, content: bytes) -> None:
        try:
            entry = decode(content)
        except AuditError as exc:
            raise Found("entry", f"entry {index} {exc.what}", index, exc.action) from exc
        if (entry.index, entry.origin) != (index, self.verdict.origin):
            raise Found("moved", f"entry {index} was written as entry {entry.index} of {entry.origin}", index)
        event = entry.event
        if isinstance(event, LogCreated) != (index == 0):
            raise Found("entry", f"entry {index} is not in its place: a log begins with {LogCreated.type} alone", index)
        if isinstance(event, LogCreated) and event.fingerprint != fingerprint(self._keys[0]):
            raise Found("entry", f"entry {index} names another key than the log's", index)
        if isinstance(event, IdentityRotated):
            self._hand_over(index, event)
        if isinstance(event, LogCreated | LibraryChanged):
            self._libraries.append(event.sqlite)

    def _hand_over(self, index: int, event: IdentityRotated) -> None:
        """The old key signs the head over this entry, the new one every later head."""
        pair = [key.hex() for key in self._keys[self._signing : self._signing + 2]]
        named = [event.predecessor, event.public_key]
        if self._handed_over is not None or pair != named or event.fingerprint != fingerprint(bytes.fromhex(named[1])):
            raise Found("entry", f"entry {index} hands the log over from another key than the one that signs it", index)
        self._handed_over = index

    def _check_head(self, first: int, content: str) -> None:
        """Whether the head of a commit is what its entries and the log's key make."""
        size = self._frontier.size
        try:
            note = notes.parse_note(content)
        except AuditError as exc:
            raise Found("head", f"the head over {size} entries is damaged") from exc
        if not note.signed_by(self.verdict.origin, self._keys[self._signing]) or len(note.signatures) != 1:
            raise Found("head", f"the head over {size} entries is not signed by the log's key")
        if note.text != Checkpoint(self.verdict.origin, size, self._frontier.root()).render():
            span = f"entry {first} was" if size == first + 1 else f"entries {first} to {size - 1} were"
            raise Found("altered", f"{span} altered: the signed head over {size} entries does not agree", first)
        if self._handed_over is not None:
            if self._handed_over != size - 1:
                raise Found(
                    "entry", f"entry {self._handed_over} hands the log over, and is not the last under its head"
                )
            self._signing, self._handed_over = self._signing + 1, None

    def _match_heads(self) -> None:
        size = self._frontier.size
        expected = self._expected.pop(size, None)
        if expected is not None and expected != {self._frontier.root()}:  # the root of each size costs time
            raise Found(
                "fork",
                f"it is not the log of the head {self._whose(size)}: they differ within the first {size} entries",
            )

    def _whose(self, size: int) -> str:
        """Where a head of this size is from."""
        heads = [head.cosigner for head in self._known if head.checkpoint.size == size]
        names = sorted({cosigner.name for cosigner in heads if cosigner is not None})
        return f"that {', '.join(names)} cosigned" if names and None not in heads else "given"

    def _check_end(self, beyond: object) -> None:
        size = self._frontier.size
        if beyond is not None or not size:
            raise Found("unsigned", f"entry {size} is not under any signed head", size)
        if self._expected:
            most = max(self._expected)
            raise Found(
                "rollback",
                f"entry {size} is missing: the head {self._whose(most)} is over {most} entries, the log has {size}",
                size,
            )
        self.verdict = replace(self.verdict, head_checked=bool(self._known))

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
            raise Found("layout", "its file header counts other transactions, or another SQLite, than the log itself")
        here = sqlite3.sqlite_version
        if set(self._libraries) != {here}:
            self._remark(
                f"its unused bytes could not be compared: the file is laid out by SQLite {', '.join(self._libraries)},"
                f" this is {here}; all entries and heads were checked"
            )
            return
        offset = _first_difference(made, content)
        page = offset // layout.PAGE_BYTES + 1
        raise Found("layout", f"byte {offset} of the file (in page {page}) is not what these entries make")


def _missing(index: int) -> Found:
    return Found("missing", f"entry {index} is missing", index)


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
