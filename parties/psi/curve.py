"""Commutative encryption of elements: points of P-256 to the power of a party's secret, by openmined-psi.

H(x)^a^b = H(x)^b^a, and nobody who lacks a or b can tell which x that is. Of the library only hashing to the curve,
exponentiation and its checks of points are used. Threads share the work, since it holds no lock while it computes; each
has objects of the library of its own, as these write to scratch memory that they share with nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc.errors import ProtocolError
from mpc.randomness import Entropy
from parties.errors import SettingsError

POINT_BYTES = 33  # compressed
CHUNK = 2048  # points that a thread takes at a time
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256's group

Points = NDArray[np.uint8]  # (n, POINT_BYTES)


def check_library() -> None:
    """Raises: SettingsError if openmined-psi is not installed; nothing is loaded."""
    if find_spec("private_set_intersection") is None:
        raise SettingsError("records can't be matched here", action="pip install 'privity[matching]'")


class Cipher:
    """A party's secret exponent of one session; never printed, gone with the object.

    The library would draw one itself: from entropy it can be drawn again, where the contract keeps the seed.
    """

    def __init__(self, workers: int, entropy: Entropy) -> None:
        """Raises: SettingsError if the library is not installed."""
        check_library()
        import private_set_intersection.python as psi

        self._psi = psi
        self._key = _exponent(entropy)
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(workers)

    def __repr__(self) -> str:
        return "Cipher(redacted)"

    @property
    def _hashing(self) -> Any:
        """The calling thread's own."""
        if not hasattr(self._own, "hashing"):
            self._own.hashing = self._psi.client.CreateFromKey(self._key, True)
        return self._own.hashing

    @property
    def _raising(self) -> Any:
        if not hasattr(self._own, "raising"):
            self._own.raising = self._psi.server.CreateFromKey(self._key, True)
        return self._own.raising

    def encrypt(self, elements: Sequence[bytes]) -> Points:
        """H(x)^a of each. Cost: 90 us each, over the workers."""

        def work(part: Sequence[bytes]) -> list[bytes]:
            return list(self._hashing.CreateRequest([element.hex() for element in part]).encrypted_elements)

        return self._spread(work, elements)

    def raise_points(self, points: Points, who: str) -> Points:
        """p^a of each point. Cost: 90 us each, over the workers. Raises: ProtocolError if one is no point."""

        def work(part: Sequence[bytes]) -> list[bytes]:
            request = self._psi.Request(reveal_intersection=True, encrypted_elements=part)
            return list(self._raising.ProcessRequest(request).encrypted_elements)

        try:
            return self._spread(work, [point.tobytes() for point in points])
        except RuntimeError:  # the library's word for bytes that are no point; its text goes nowhere
            bad = ProtocolError(f"{who} sent what is no point of the curve", action="compare versions of Privity")
        raise bad

    def _spread(self, work: Callable[[Sequence[bytes]], list[bytes]], items: Sequence[bytes]) -> Points:
        parts = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
        done = b"".join(point for part in self._pool.map(work, parts) for point in part)
        return np.frombuffer(done, dtype=np.uint8).reshape(-1, POINT_BYTES)

    def close(self) -> None:
        self._pool.shutdown()


def _exponent(entropy: Entropy) -> bytes:
    """Uniform in 1 .. ORDER - 1: what is none is drawn again, once in four thousand million times."""
    while not 0 < int.from_bytes(drawn := entropy.fresh("exponent"), "big") < ORDER:
        pass
    return drawn
