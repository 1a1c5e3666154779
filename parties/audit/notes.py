"""Signed notes and checkpoints in the C2SP forms, with Ed25519 keys: what a log says of itself, in a few lines of text.

A note is text, an empty line, and signature lines; a checkpoint is a note's text: origin, size, root. A log's key has
the log's origin as its name. Notes may carry signatures of others, which are kept and not judged here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from parties.audit.entries import ORIGIN_PATTERN
from parties.audit.merkle import HASH_BYTES
from parties.errors import AuditError
from parties.identity import Identity, verify

ED25519: Final = 0x01
KEY_ID_BYTES: Final = 4
MAX_NOTE_CHARACTERS: Final = 100_000
MAX_SIGNATURES: Final = 100

_SIGNATURE_LINE: Final = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True)
class Signature:
    """One signature line: whose it claims to be, and key id and signature proper."""

    name: str
    blob: bytes

    @property
    def key_id(self) -> bytes:
        return self.blob[:KEY_ID_BYTES]

    def line(self) -> str:
        return f"— {self.name} {base64.b64encode(self.blob).decode()}\n"


@dataclass(frozen=True)
class Note:
    """A text and the signatures below it, none of which is checked yet."""

    text: str
    signatures: tuple[Signature, ...]

    def render(self) -> str:
        return self.text + "\n" + "".join(signature.line() for signature in self.signatures)

    def signed_by(self, name: str, public_key: bytes) -> bool:
        """Whether this Ed25519 key signed the text under this name; other lines are passed over."""
        wanted = (name, key_id(name, public_key))
        return any(
            verify(public_key, signature.blob[KEY_ID_BYTES:], self.text.encode())
            for signature in self.signatures
            if (signature.name, signature.key_id) == wanted
        )


def key_id(name: str, public_key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([ED25519]) + public_key).digest()[:KEY_ID_BYTES]


def sign(text: str, name: str, identity: Identity) -> Note:
    """The text, which must end in a newline, signed under a key name."""
    blob = key_id(name, identity.public) + identity.sign(text.encode())
    return Note(text, (Signature(name, blob),))


def parse_note(content: str) -> Note:
    """Raises: AuditError if it is not a note that would be written the same way again."""
    text, separator, lines = content.rpartition("\n\n")
    signatures = [_SIGNATURE_LINE.fullmatch(line) for line in lines.removesuffix("\n").split("\n")]
    if len(content) > MAX_NOTE_CHARACTERS or len(signatures) > MAX_SIGNATURES or not separator:
        raise _not_a_note()
    try:
        content.encode()
        note = Note(text + "\n", tuple(Signature(found[1], _base64(found[2])) for found in signatures if found))
    except ValueError as exc:
        raise _not_a_note() from exc
    if not note.signatures or note.render() != content or not _is_plain(content):
        raise _not_a_note()
    return note


@dataclass(frozen=True)
class Checkpoint:
    """A log's head: so many entries, with this root."""

    origin: str
    size: int
    root: bytes

    def render(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """A checkpoint of a log of ours: three lines and no extension.

    Raises: AuditError if it is anything else.
    """
    try:
        origin, size, root, rest = text.split("\n")
        checkpoint = Checkpoint(origin, int(size), _base64(root))
    except ValueError as exc:
        raise _not_a_checkpoint() from exc
    if (
        rest
        or not re.fullmatch(ORIGIN_PATTERN, origin)
        or not _SIZE.fullmatch(size)
        or len(checkpoint.root) != HASH_BYTES
    ):
        raise _not_a_checkpoint()
    return checkpoint


def _base64(text: str) -> bytes:
    """Raises: ValueError unless it is the one way to write these bytes."""
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise ValueError("not base64") from exc
    if base64.b64encode(content).decode() != text:
        raise ValueError("not canonical base64")
    return content


def _is_plain(content: str) -> bool:
    return not any(character < " " and character != "\n" for character in content)


def _not_a_note() -> AuditError:
    return AuditError("this is not a signed note", action="use a head as the log's owner or a partner wrote it")


def _not_a_checkpoint() -> AuditError:
    return AuditError(
        "this note is not the head of a log of Privity", action="use a head as the log's owner or a partner wrote it"
    )
