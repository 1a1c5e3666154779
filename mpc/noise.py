"""Normal noise on told weights: each party adds its own to its share, so that nobody knows all of what was added.

Integers of a discrete Gaussian, drawn exactly by integers alone: no rounding of a floating-point logarithm shows in
the last places of what is told, and a replay draws the same everywhere.
Source: Canonne, Kamath, Steinke 2020, algorithms 1 to 3.
"""

from __future__ import annotations

import numpy as np

from mpc.fused_program import Fused
from mpc.randomness import Entropy, Secret, Stream
from mpc.ring import Words


def noised(program: Fused, share: Words, entropy: Entropy) -> Words:
    """This party's share with its noise in each weight, or as it is if the program adds none.

    Shapes: share (width, models), scale 2**ITERATE_BITS -> the same.
    Whoever is told a sum of all shares can take its own noise off it: that of one honest party stays, at least.
    Cost: no round; 0.2 ms of computing a weight, which does not depend on the share.  Reveals: nothing.
    """
    if not program.noise:
        return share
    drawn = Sampler(Stream(Secret(entropy.fresh("noise"))))
    found = [drawn.normal(program.noise) for _ in range(share.size)]
    return share + np.array(found, dtype=np.int64).reshape(share.shape)


class Sampler:
    """Draws from one stream, in order."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def normal(self, deviation: int) -> int:
        """An integer x, in proportion to exp(-x**2 / (2 deviation**2)). Requires: deviation >= 1."""
        square, scale = deviation * deviation, deviation + 1
        while True:
            x = self._two_sided(scale)
            if self._survives((abs(x) * scale - square) ** 2, 2 * square * scale * scale):
                return x

    def _two_sided(self, scale: int) -> int:
        """An integer x, in proportion to exp(-|x| / scale)."""
        while True:
            x = self._below(scale)
            if not self._survives(x, scale):
                continue
            while self._survives(1, 1):
                x += scale
            if self._below(2):
                return x
            if x:  # zero has one sign
                return -x

    def _survives(self, above: int, below: int) -> bool:
        """True with the probability exp(-above / below)."""
        while above > below:
            if not self._survives(1, 1):
                return False
            above -= below
        tries = 1
        while self._below(below * tries) < above:
            tries += 1
        return tries % 2 == 1

    def _below(self, limit: int) -> int:
        """Uniform in 0 .. limit - 1."""
        bits = (limit - 1).bit_length()
        size = (bits + 7) // 8
        while True:
            drawn = int.from_bytes(self._stream.bytes(size), "little") & ((1 << bits) - 1)
            if drawn < limit:
                return drawn
