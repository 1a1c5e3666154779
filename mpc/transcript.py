"""A hash chain over every opened word, equal at all parties, keyed by a key that only parties hold.

The dealer knows the masks: with a plain hash it could test guesses of what was opened. Parties compare chains before
every disclosure, so one that told two peers different things is found before anything leaves.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

from mpc.channel import Channel
from mpc.errors import TranscriptsDiffer
from mpc.frames import Array, payload_of

DIGEST_BYTES = 32


@lru_cache(maxsize=1 << 10)
def _form(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> bytes:
    return f"{dtype.str} {shape!r}".encode()


class Transcript:
    """Absorbs opened words in order."""

    def __init__(self, key: bytes, digest: bytes) -> None:
        self._hash = hashlib.blake2b(digest, key=key, digest_size=DIGEST_BYTES)
        self.openings = 0
        self.words = 0

    def absorb(self, opened: Array) -> None:
        absorb = self._hash.update
        absorb(_form(opened.dtype, opened.shape))
        absorb(payload_of(opened))
        self.openings += 1
        self.words += opened.size

    def digest(self) -> bytes:
        return self._hash.digest()

    def compare(self, channel: Channel) -> None:
        """Every pair compares chains. Cost: 1 round, 32 bytes to each peer.

        Raises: TranscriptsDiffer if a peer's differs.
        """
        own = np.frombuffer(self.digest(), dtype="u1")
        peers = [rank for rank in range(channel.world) if rank != channel.rank]
        theirs = channel.exchange(
            "transcript", dict.fromkeys(peers, own), dict.fromkeys(peers, ("u1", (DIGEST_BYTES,)))
        )
        differing = [peer for peer in peers if theirs[peer].tobytes() != own.tobytes()]
        if differing:
            raise TranscriptsDiffer(tuple(differing), self.digest())
