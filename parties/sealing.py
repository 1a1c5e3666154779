"""Streams sealed chunk by chunk under a key of their own, and the classes that keep keys out of sight.

AES-256-GCM over chunks of one size; the stream's name, the chunk's number and whether it is the last are
authenticated with each, so that chunks can be neither altered, moved, dropped, appended nor taken from
another stream.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Generator, Iterator
from typing import BinaryIO, Final, NamedTuple, NoReturn, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from parties.errors import VaultError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
CHUNK_BYTES: Final = 1 << 20


class Secret:
    """Key bytes. Redacted in print, not comparable, not picklable; `reveal` is where they leave."""

    def __init__(self, value: bytes) -> None:
        if len(value) != KEY_BYTES:
            raise VaultError(f"a key has {KEY_BYTES} bytes, this one {len(value)}", action="restore it from a backup")
        self._value = value

    @classmethod
    def generate(cls) -> Self:
        return cls(secrets.token_bytes(KEY_BYTES))

    def reveal(self) -> bytes:
        """The bytes themselves, for the one place that must have them."""
        return self._value

    def derive(self, purpose: bytes) -> bytes:
        """A key for one purpose only; purposes never share keys."""
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"privity vault 1 " + purpose).derive(self._value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(redacted)"

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("keys are not compared")

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not serialised")


class DataKey(Secret):
    """Opens one data set; handed to the worker of a session that uses it."""


class Digests(NamedTuple):
    """What a sealed stream is known by: a keyed digest of its content, telling none of it, and its bytes."""

    version: str
    ciphertext: str


class Sealer:
    """A write-only file object that seals what is written to it; nothing is complete before `finish`.

    Requires: a data key that never sealed anything, since the nonce is the chunk's number.
    """

    closed = False  # what Arrow asks of a file

    def __init__(self, file: BinaryIO, name: str, data_key: DataKey) -> None:
        self._file = file
        self._name = name
        self._cipher = AESGCM(data_key.derive(b"seal"))
        self._version = hmac.new(data_key.derive(b"version"), digestmod="sha256")
        self._ciphertext = hashlib.sha256()
        self._pending = bytearray()
        self._number = 0

    def write(self, content: bytes) -> int:
        self._version.update(content)
        self._pending += content
        while len(self._pending) > CHUNK_BYTES:  # the last chunk is marked as such, so one is kept back
            self._seal(bytes(self._pending[:CHUNK_BYTES]), last=False)
            del self._pending[:CHUNK_BYTES]
        return len(content)

    def flush(self) -> None:
        """Chunks are written when full; `finish` writes the rest."""

    def finish(self) -> Digests:
        """Seal the last chunk; the file is for the caller to sync and close."""
        self._seal(bytes(self._pending), last=True)
        return Digests(self._version.hexdigest(), self._ciphertext.hexdigest())

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        context = _context(self._name, self._number, last=last)
        sealed = self._cipher.encrypt(_nonce(self._number), chunk, context)
        self._ciphertext.update(sealed)
        self._file.write(sealed)
        self._number += 1


def unseal(file: BinaryIO, name: str, data_key: DataKey, expected: Digests) -> Generator[bytes]:
    """The plaintext chunk by chunk, each once it is authentic; who takes them to the end knows that none was missing.

    A data key seals one stream only, so what is authentic here can't be another stream's.
    Raises: VaultError, naming the data set, if any byte differs from what was sealed.
    """
    cipher = AESGCM(data_key.derive(b"seal"))
    version, ciphertext = hmac.new(data_key.derive(b"version"), digestmod="sha256"), hashlib.sha256()
    remaining = os.fstat(file.fileno()).st_size
    number = 0
    while remaining > 0:
        sealed = file.read(CHUNK_BYTES + TAG_BYTES)
        remaining -= len(sealed)
        ciphertext.update(sealed)
        try:
            chunk = cipher.decrypt(_nonce(number), sealed, _context(name, number, last=remaining <= 0))
        except InvalidTag:
            raise altered(name, f"chunk {number} of its file does not verify") from None
        version.update(chunk)
        yield chunk
        number += 1
    if Digests(version.hexdigest(), ciphertext.hexdigest()) != expected:
        raise altered(name, "its file is not the one of its manifest")


class Unsealed:
    """What `unseal` gives as a read-only file object, for parsers that ask for bytes."""

    closed = False  # what Arrow asks of a file

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def read(self, size: int) -> bytes:
        parts: list[memoryview] = []
        while size > 0:
            if not self._left:
                self._left = memoryview(next(self._chunks, b""))
                if not self._left:
                    break
            parts.append(self._left[:size])
            self._left = self._left[size:]
            size -= len(parts[-1])
        return b"".join(parts)

    def finish(self) -> None:
        """Read the rest. Raises: VaultError if the stream is not whole."""
        for _ in self._chunks:
            pass


def altered(name: str, what: str) -> VaultError:
    """The error for a data set of which some byte, or the key, is not what it was."""
    return VaultError(
        f"data set {name} was altered or belongs to another vault key: {what}",
        action="restore the vault and its key from one backup, or delete the data set and add it again",
        outward=f"data set {name} does not verify",
    )


def _nonce(number: int) -> bytes:
    return number.to_bytes(NONCE_BYTES, "big")


def _context(name: str, number: int, *, last: bool) -> bytes:
    return b"privity vault 1 chunk\n%s\n%d %d" % (name.encode(), number, last)
