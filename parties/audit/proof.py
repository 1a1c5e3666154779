"""One entry with the proof that it stands in a log: a small file, checked offline, that shows no other entry.

The form is C2SP's `tlog-proof`: index, hashes from leaf to root, the log's head. Its `extra` line holds what a verifier
needs besides: the log's name and key, and the entry itself. Both are judged like everything else: the key by its
fingerprint, the entry by its hash.
"""

from __future__ import annotations

import base64
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from parties.audit import layout
from parties.audit.entries import MAX_ENTRY_BYTES, Entry, decode
from parties.audit.heads import KnownHead
from parties.audit.keychain import claimed_keys
from parties.audit.merkle import HASH_BYTES, includes, inclusion_proof, leaf_hash
from parties.audit.notes import (
    MAX_NOTE_CHARACTERS,
    Note,
    decode_base64,
    parse_checkpoint,
    parse_note,
    parse_verifier_key,
    verifier_key,
)
from parties.audit.snapshot import UNREADABLE, error_name, reading
from parties.audit.verdict import Failure, Found, Verdict
from parties.errors import AuditError
from parties.keys.identity import fingerprint

FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"
MAX_HASHES: Final = 63
MAX_BYTES: Final = 2 * MAX_ENTRY_BYTES + 2 * MAX_NOTE_CHARACTERS

_FORM: Final = re.compile(
    rf"{re.escape(FIRST_LINE)}\nextra (?P<extra>\S+)\nindex (?P<index>0|[1-9][0-9]{{0,15}})\n"
    rf"(?P<hashes>(?:\S+\n){{0,{MAX_HASHES}}})\n(?P<note>.*)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Proof:
    """Nothing in it is checked yet."""

    origin: str
    public_key: bytes
    content: bytes  # the entry's bytes, as they were hashed
    index: int
    hashes: tuple[bytes, ...]  # from leaf to root
    note: Note  # the head that they lead to

    def render(self) -> str:
        """The file's text."""
        extra = verifier_key(self.origin, self.public_key).encode() + b"\n" + self.content
        hashes = "".join(f"{base64.b64encode(item).decode()}\n" for item in self.hashes)
        shown = base64.b64encode(extra).decode()
        return f"{FIRST_LINE}\nextra {shown}\nindex {self.index}\n{hashes}\n{self.note.render()}"

    def entry(self) -> Entry:
        """Raises: AuditError, fit to follow "entry N", if its bytes are not an entry's."""
        return decode(self.content)

    def check(self, known: Sequence[KnownHead] = ()) -> bool:
        """Follow it from the entry to the signed head; whether that head is among those known.

        Raises: Found with the first thing that does not hold.
        """
        if not self.note.signed_by(self.origin, self.public_key):
            raise Found("head", "its head is not signed by the log's key")
        head = parse_checkpoint(self.note.text)
        if head.origin != self.origin:
            raise Found("head", f"its head is of {head.origin}, its key of {self.origin}")
        for other in known:
            other.accept(self.origin, self.public_key)
            if other.checkpoint.size == head.size and other.checkpoint.root != head.root:
                raise Found("fork", f"its head is not the head given: they differ within the first {head.size} entries")
        try:
            entry = self.entry()
        except AuditError as exc:
            raise Found("entry", f"entry {self.index} {exc.what}", self.index, exc.action) from exc
        if (entry.index, entry.origin) != (self.index, self.origin):
            what = f"entry {self.index} was written as entry {entry.index} of {entry.origin}"
            raise Found("moved", what, self.index)
        if not includes(head.root, head.size, leaf_hash(self.content), self.index, self.hashes):
            what = f"entry {self.index} is not in the log of its head: the hashes do not lead there"
            raise Found("proof", what, self.index)
        return any(other.checkpoint == head for other in known)


def is_one(path: Path) -> bool:
    """Whether a file begins as a proof does."""
    try:
        with path.open("rb") as file:
            return file.read(len(FIRST_LINE)) == FIRST_LINE.encode()
    except OSError:
        return False


def read(path: Path) -> Proof:
    """Raises: AuditError if it can't be read, or is not written as a proof is."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        return parse(content.decode())
    except (OSError, UnicodeDecodeError) as exc:
        raise AuditError("it can't be read") from exc


def parse(text: str) -> Proof:
    """Raises: AuditError if the text would not be written this way."""
    found = _FORM.fullmatch(text)
    if found is None or len(text) > MAX_BYTES:
        raise _not_a_proof()
    try:
        key, _, content = decode_base64(found["extra"]).partition(b"\n")
        origin, public_key = parse_verifier_key(key.decode())
        hashes = tuple(decode_base64(line) for line in found["hashes"].splitlines())
        note = parse_note(found["note"])
        parse_checkpoint(note.text)
    except (ValueError, AuditError) as exc:
        raise _not_a_proof() from exc
    if any(len(item) != HASH_BYTES for item in hashes):
        raise _not_a_proof()
    return Proof(origin, public_key, content, int(found["index"]), hashes, note)


def examine(path: Path, key: str | None, known: Sequence[KnownHead]) -> Verdict:
    """The verdict on a proof's file; `key` is the signer's fingerprint in canonical form."""
    verdict = Verdict(str(path), kind="proof")
    try:
        found = read(path)
        signer = fingerprint(found.public_key)
        verdict = replace(verdict, origin=found.origin, fingerprint=signer, index=found.index, entries=1)
        if key not in {None, signer}:
            raise Found("key", f"it is signed by {signer}, not by {key}")
        verdict = replace(verdict, signer_confirmed=key is not None, head_checked=found.check(known))
    except Found as exc:
        return replace(verdict, failure=exc.failure)
    except AuditError as exc:
        return replace(verdict, failure=Failure("file", exc.what, action=exc.action))
    return replace(verdict, remarks=_remarks(verdict, known))


def _remarks(verdict: Verdict, known: Sequence[KnownHead]) -> tuple[str, ...]:
    remarks = []
    if not verdict.signer_confirmed:
        remarks.append(f"the signer is not confirmed: ask {verdict.origin} for its fingerprint, then give it by --key")
    if known and not verdict.head_checked:
        remarks.append("the heads given are of other sizes than the proof's: only the whole log shows that they agree")
    return tuple(remarks)


def prove(path: Path, index: int) -> Proof:
    """The proof of one entry of the log at `path`, by its newest head, from a few look-ups.

    Raises: AuditError if there is no such entry, or the log is damaged where it was looked up.
    """
    with reading(path) as connection:
        try:
            made = _look_up(connection, index)
        except UNREADABLE as exc:
            raise _damaged(f"its pages are damaged ({error_name(exc)})") from exc
    try:
        made.check()
    except Found as exc:
        raise _damaged(exc.failure.what) from exc
    return made


def _look_up(connection: sqlite3.Connection, index: int) -> Proof:
    owner = connection.execute("SELECT origin, public_key FROM log").fetchone()
    newest = layout.last_head(connection)
    if owner is None or newest is None:
        raise _damaged("it has no signed head")
    size, note = newest
    row = connection.execute("SELECT content FROM entries WHERE number = ?", (index,)).fetchone()
    if index >= size or row is None:
        raise AuditError(f"there is no entry {index}: the log has {size}", action="run `privity audit list`")
    hashes = inclusion_proof(index, size, lambda last, level: layout.subtree(connection, last, level))
    origin, first = owner
    head = parse_note(note)
    # A look at every entry only where the log was handed over.
    signer = first if head.signed_by(origin, first) else claimed_keys(connection, first)[-1]
    return Proof(origin, signer, row[0], index, tuple(hashes), head)


def _damaged(what: str) -> AuditError:
    return AuditError(f"nothing can be proven from this log: {what}", action="run `privity audit verify` on it")


def _not_a_proof() -> AuditError:
    return AuditError("it is not a proof", action="use a file that `privity audit prove` wrote, unchanged")
