"""The openings that every kernel is made of: truncating, and modulo a period.

To the parties every opened word is uniform, whatever is under it. To the dealer, who knows the masks, it would not be
if it learned which openings were rejected: so a slot with a rejection goes on with random words of the same sizes, and
nothing that a party sends to the dealer, to the gateway or to a log depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mpc import kernels
from mpc.communicator import ChannelCommunicator
from mpc.errors import EngineError
from mpc.frames import Array
from mpc.ring import WORD_BITS, Words, shifted, signed
from mpc.shares import shared, words
from mpc.shim import ArithmeticSharedTensor

HALF_BITS = 62  # what is rounded lies below 2**HALF_BITS either way


@dataclass(frozen=True)
class Masked:
    """An opened value: a part that is public among the parties, and the shared rest that hides it."""

    public: Words = field(repr=False)
    rest: Words = field(repr=False)  # this party's share

    def tensor(self) -> ArithmeticSharedTensor:
        """The value, shared."""
        return shared(self.rest + self.public if ChannelCommunicator.get().channel.rank == 0 else self.rest + 0)


@dataclass(frozen=True)
class Truncated:
    """What a truncating opening gives: delta, public among the parties, minus the shared upper bits of the mask."""

    delta: Words = field(repr=False)
    low: Words = field(repr=False)  # this party's share

    def masked(self) -> Masked:
        return Masked(self.delta, -self.low)

    def tensor(self) -> ArithmeticSharedTensor:
        """The truncated value, shared."""
        return shared(self.delta - self.low if ChannelCommunicator.get().channel.rank == 0 else -self.low)


class Slot:
    """One slot's openings. Once one is rejected the slot is void: what follows is sent as fresh random words."""

    def __init__(self, *, void: bool = False) -> None:
        self.void = void
        self._communicator = ChannelCommunicator.get()

    def truncating(
        self, name: str, x: ArithmeticSharedTensor, mask: Words, low: Words, window: int, shift: int
    ) -> Truncated:
        """Open x >> shift without showing its low bits.

        Shapes: x (d,) ring, scale 2**f -> (d,), scale 2**(f - shift).
        Requires: |x| < 2**(window - 1), 1 <= shift < window.  Error: below 1 in the last place, unbiased.
        Cost: 1 round, 8 d bytes to each peer.  Reveals: nothing (masked).
        The slot is void afterwards if a word fell below 2**window, with probability d * 2**(window - 64) at most;
        the result is then of no use.
        """
        opened = self._open(name, words(x) + mask)
        delta, below = kernels.truncated(opened, window, shift)
        self.void |= below
        return Truncated(delta, low)

    def whole(self, name: str, x: ArithmeticSharedTensor, mask: Words) -> Masked:
        """Open x as it is, under a mask that fills the ring: never rejected.

        Shapes: any.  Cost: 1 round, 8 bytes a word to each peer.  Reveals: nothing (masked).
        """
        return Masked(self._open(name, words(x) - mask), mask)

    def rounded(
        self, name: str, x: ArithmeticSharedTensor, mask: Words, low: Words, top: Words, shift: int
    ) -> ArithmeticSharedTensor:
        """Shift x, shared, to the right: never rejected, but of no use as a factor without another opening.

        Shapes: any.  Requires: |x| < 2**62, 1 <= shift <= 62.  Error: below 1 in the last place, unbiased.
        Cost: 1 round, 8 bytes a word to each peer.  Reveals: nothing (masked).
        With 0 <= x + 2**62 < 2**63, adding the mask wraps just where the mask's top bit is set and the sum's is not:
        `low` and `top` are shares of the mask's upper bits and of its top bit.
        """
        opened = self._open(name, words(x) + mask) + np.int64(1 << HALF_BITS)
        share = (opened >= 0) * top * signed(1 << (WORD_BITS - shift)) - low
        if self._communicator.channel.rank == 0:
            share += shifted(opened, shift) - np.int64(1 << (HALF_BITS - shift))
        return shared(share)

    def period(self, name: str, x: ArithmeticSharedTensor, turn: Words, modulus_bits: int) -> Words:
        """Open x - turn modulo 2**modulus_bits as a 32-bit fraction of it.

        Shapes: x (m,) -> (m,) in 0 .. 2**32 - 1.  Error: n / 2 in the last of the 32 bits.
        Cost: 1 round, 4 m bytes to each peer.  Reveals: nothing (masked: `turn` is uniform).
        """
        opened = self._opened(name, kernels.angles(words(x), turn, modulus_bits)).view(np.uint32)
        # Each party dropped half a unit on average.
        return (opened + np.uint32(self._communicator.channel.world // 2)).astype(np.int64)

    def _open(self, name: str, share: Words) -> Words:
        return self._opened(name, share).view(np.int64)

    def _opened(self, name: str, share: Array) -> Array:
        communicator = self._communicator
        drawn = communicator.fresh(share)
        with communicator.masked():
            # Drawn in either case: a void slot takes as long.
            return communicator.open_sum(name, drawn if self.void else share)


def first_accepted(
    name: str, x: ArithmeticSharedTensor, masks: Words, lows: Words, window: int, shift: int
) -> tuple[int, Truncated]:
    """A truncating opening whose rejection must not matter: several copies at once, the first accepted one is used.

    Shapes: x (d,), masks and lows (copies, d).  Cost: 1 round, 8 * copies * d bytes to each peer.
    Returns which copy it is. Raises: EngineError if all were rejected, which the program makes improbable.
    """
    repeated = shared(np.broadcast_to(words(x), masks.shape) + 0)
    opened = Slot()._open(name, words(repeated) + masks)  # noqa: SLF001 - same module
    for copy, each in enumerate(opened):
        delta, below = kernels.truncated(each, window, shift)
        if not below:
            return copy, Truncated(delta, lows[copy])
    raise EngineError("every copy of an opening was rejected", action="propose the session again")
