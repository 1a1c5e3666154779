"""Signed notes and checkpoints in the C2SP forms, with Ed25519 keys: what a log says of itself, in a few lines of text.

A note is text, an empty line, and signature lines; a checkpoint is a note's text: origin, size, root. A log's key has
the log's origin as its name. A partner that saw a head continue the one before adds its cosignature, `cosignature/v1`,
under its own name, with the time. Lines under names that nobody asked for are kept and not judged here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from parties.audit.entries import ORIGIN_PATTERN
from parties.audit.merkle import HASH_BYTES
from parties.errors import AuditError
from parties.keys.identity import KEY_BYTES, Identity, verify

ED25519: Final = 0x01  # signs a note's text
COSIGNATURE: Final = 0x04  # signs a time and a note's text
KEY_ID_BYTES: Final = 4
TIME_BYTES: Final = 8
MAX_NOTE_CHARACTERS: Final = 100_000
MAX_SIGNATURES: Final = 100
MAX_SECONDS: Final = 253_402_300_799  # the year 9999: later, no clock says it

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

    def cosigned_by(self, name: str, public_key: bytes) -> datetime | None:
        """When this key cosigned the text under this name; None if it did not."""
        wanted = (name, key_id(name, public_key, COSIGNATURE))
        for signature in self.signatures:
            moment, proper = signature.blob[KEY_ID_BYTES:][:TIME_BYTES], signature.blob[KEY_ID_BYTES + TIME_BYTES :]
            seconds = int.from_bytes(moment)
            if (signature.name, signature.key_id) != wanted or seconds > MAX_SECONDS:
                continue
            if verify(public_key, proper, _with_time(self.text, seconds)):
                return datetime.fromtimestamp(seconds, UTC)
        return None

    def with_signatures(self, *more: Signature) -> Note:
        """The same text with these signatures too."""
        return Note(self.text, tuple(dict.fromkeys((*self.signatures, *more))))


def key_id(name: str, public_key: bytes, kind: int = ED25519) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public_key).digest()[:KEY_ID_BYTES]


def verifier_key(name: str, public_key: bytes) -> str:
    """A log's name and key on one line, as C2SP writes them."""
    encoded = base64.b64encode(bytes([ED25519]) + public_key).decode()
    return f"{name}+{key_id(name, public_key).hex()}+{encoded}"


def parse_verifier_key(line: str) -> tuple[str, bytes]:
    """Name and public key. Raises: ValueError if that is not the one way to write a log's name and key."""
    name, _, encoded = line.split("+", 2)
    public_key = decode_base64(encoded)[1:]
    if len(public_key) != KEY_BYTES or verifier_key(name, public_key) != line:
        raise ValueError("not a verifier key")
    return name, public_key


def sign(text: str, name: str, identity: Identity) -> Note:
    """The text, which must end in a newline, signed under a key name."""
    blob = key_id(name, identity.public) + identity.sign(text.encode())
    return Note(text, (Signature(name, blob),))


def cosign(text: str, name: str, identity: Identity, now: datetime) -> Signature:
    """The line that says: at this time this text, a head, continued what its signer had seen of that log."""
    seconds = int(now.timestamp())
    proper = identity.sign(_with_time(text, seconds))
    return Signature(name, key_id(name, identity.public, COSIGNATURE) + seconds.to_bytes(TIME_BYTES) + proper)


def _with_time(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def parse_note(content: str) -> Note:
    """Raises: AuditError if it is not a note that would be written the same way again."""
    text, separator, lines = content.rpartition("\n\n")
    signatures = [_SIGNATURE_LINE.fullmatch(line) for line in lines.removesuffix("\n").split("\n")]
    if len(content) > MAX_NOTE_CHARACTERS or len(signatures) > MAX_SIGNATURES or not separator:
        raise _not_a_note()
    try:
        content.encode()
        note = Note(text + "\n", tuple(Signature(found[1], decode_base64(found[2])) for found in signatures if found))
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
        checkpoint = Checkpoint(origin, int(size), decode_base64(root))
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


def decode_base64(text: str) -> bytes:
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
