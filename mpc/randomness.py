"""ChaCha20 streams: the engine's only source of randomness.

A stream's key is bound to session, epoch and purpose, its nonce to a slot; a position is consumed once because a stream
only moves forward and `Streams` opens each slot once.
"""

from __future__ import annotations

import secrets
import struct
from math import prod
from typing import NoReturn

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from mpc.errors import MaskReuse

KEY_BYTES = 32
_ZEROS = memoryview(bytes(1 << 20))
Words = NDArray[np.int64]


class Secret:
    """Bytes that are not printed, compared, hashed or pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def derive(self, purpose: str) -> Secret:
        """HKDF-SHA256 under a label."""
        info = b"privity " + purpose.encode()
        return Secret(HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(self._value))

    def reveal(self) -> bytes:
        """The bytes, for the one line that hands them to a cipher."""
        return self._value

    def __repr__(self) -> str:
        return f"{type(self).__name__}(redacted)"

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("secrets are not compared")

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not serialised")


class Stream:
    """One ChaCha20 keystream, read forward."""

    def __init__(self, key: Secret, slot: int = 0) -> None:
        nonce = struct.pack("<QQ", 0, slot)
        self._cipher = Cipher(algorithms.ChaCha20(key.reveal(), nonce), mode=None).encryptor()

    def words(self, shape: tuple[int, ...], bits: int = 64) -> Words:
        """The next words, uniform in 0 .. 2**bits - 1 (as int64: all 64 bits used whole). Shapes may be empty."""
        drawn = np.frombuffer(self.bytes(8 * prod(shape)), dtype="<i8").reshape(shape)
        return drawn if bits == 64 else drawn & ((1 << bits) - 1)

    def bytes(self, count: int) -> bytearray:
        """The next bytes. The cipher holds the interpreter, so other threads get their turns between pieces."""
        drawn = bytearray(count)
        view = memoryview(drawn)
        for start in range(0, count, len(_ZEROS)):
            piece = view[start : start + len(_ZEROS)]
            self._cipher.update_into(_ZEROS[: len(piece)], piece)
        return drawn


class Entropy:
    """Where a party's fresh secrets come from: the system, or one seed, from which a run can be made again.

    From a seed they come in the order in which the program asks, each once, under the name of what it is for.
    """

    def __init__(self, seed: Secret | None = None) -> None:
        self._seed, self._drawn = seed, 0

    def fresh(self, purpose: str, count: int = KEY_BYTES) -> bytes:
        """So many bytes that nobody else can know."""
        if self._seed is None:
            return secrets.token_bytes(count)
        self._drawn += 1
        return bytes(Stream(self._seed.derive(f"fresh {self._drawn} {purpose}")).bytes(count))

    def __repr__(self) -> str:
        return "Entropy(redacted)"


class Streams:
    """A key's slots, each opened once."""

    def __init__(self, key: Secret) -> None:
        self._key = key
        self._opened: set[int] = set()

    def open(self, slot: int) -> Stream:
        """Raises: MaskReuse if this slot was opened before."""
        if slot in self._opened:
            raise MaskReuse(
                f"slot {slot} of a stream was asked for twice", action="the session must end; propose it anew"
            )
        self._opened.add(slot)
        return Stream(self._key, slot)


class SumStream:
    """What several streams give together: added for arithmetic words, exclusive-ored for bits.

    The two sides of pairwise zero sharings are such sums: over the peers before a party, and over those after it.
    """

    def __init__(self, streams: list[Stream]) -> None:
        self._streams = streams

    def words(self, shape: tuple[int, ...], bits: int = 64, *, xor: bool = False) -> Words:
        total: Words = np.zeros(shape, dtype=np.int64)
        for stream in self._streams:
            drawn = stream.words(shape, bits)
            total = total ^ drawn if xor else total + drawn
        return total
