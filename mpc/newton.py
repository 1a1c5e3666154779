"""The shared inverse of the information matrix: X^T S X / m from one opened S, inverted by Newton and Schulz.

Once an opening is rejected the rest is sent as fresh random words, and the inverse that was there before stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpc.blocks import Table
from mpc.communicator import ChannelCommunicator
from mpc.errors import EngineError
from mpc.fused_program import Newton
from mpc.layouts import Arrays
from mpc.matrices import shared_product
from mpc.openings import Masked, Slot
from mpc.ring import Words, signed
from mpc.scales import ROW_BITS
from mpc.shares import shared, words
from mpc.shim import ArithmeticSharedTensor
from mpc.solvers import Inverse
from mpc.symmetric import packed, unpacked


class Refresh:
    """One inverse in the making: `information`, `step` as often as the program says, `inverse`.

    Where steps are rounded, each is an `inverse` and a `product` instead.
    """

    def __init__(self, program: Newton, total: ArithmeticSharedTensor, slot: Slot, before: Inverse | None) -> None:
        """`total` is each X^T S X, side by side, at scale 2**INFORMATION_BITS.

        `before` are the inverses to start from, None for the first ones.
        """
        self._program, self._total, self._slot, self._before = program, total, slot, before
        self._information: Masked | None = None
        self._inverse: Inverse | None = None
        self._estimate = _start(program) if before is None else before.packed << program.product_bits

    @classmethod
    def from_gram(cls, program: Newton, table: Table, values: Arrays) -> Refresh:
        """At weights zero, where p (1 - p) is a quarter. No round."""
        gram = words(table.gram(values["table_table"])) << (ROW_BITS - 2)
        return cls(program, shared(np.tile(gram, len(program.models))), Slot(), None)

    @classmethod
    def of_strips(cls, program: Newton, before: Inverse | None, *, void: bool) -> Refresh:
        """At weights whose p (1 - p) comes strip by strip. No round."""
        nothing = np.zeros((program.width, len(program.models) * program.width), dtype=np.int64)
        return cls(program, shared(nothing), Slot(void=void), before)

    def density(self, strip: Table, density: ArithmeticSharedTensor, parts: Arrays, values: Arrays) -> None:
        """Add a strip's X^T S X, at p (1 - p) = density, for each of M models.

        Shapes: strip (m, d), density (m, M).  Error: below 1 in the last place of each density, unbiased.
        Cost: 2 rounds, 8 m M and 8 m d M bytes to each peer.  Reveals: nothing (masked).
        """
        program, slot = self._program, self._slot
        s = slot.truncating(
            "density", density, parts["mask"], values["low"], program.density_window, program.density_shift
        )
        rows = slot.whole("rows", strip.scaled(s, values["low_table"]), parts["scaled"])
        self._total = shared(words(self._total) + words(strip.transposed_matrix(rows, values["table_scaled"])))

    def information(self, mask: Words, parts: Arrays, values: Arrays) -> None:
        """Damp, round and open each H.

        Error: below 1 in the last place, unbiased.  Cost: 2 rounds, 4 d (d + 1) M bytes to each peer in each.
        Reveals: nothing (masked).
        """
        program, d = self._program, self._program.width
        share = words(self._total).reshape(d, len(program.models), d).transpose(1, 0, 2).copy()
        if ChannelCommunicator.get().get_rank() == 0:
            share[:, range(d), range(d)] += _dampings(program)
        self._information = _unpacked(
            self._opened("information", packed(share), mask, parts, values, program.information_shift)[1]
        )

    def step(self, parts: Arrays, values: Arrays) -> None:
        """V becomes V (2 - H V), and symmetric again.

        Error: V and the product are rounded, below 1 in the last place, unbiased.
        Cost: 2 rounds, 4 d (d + 1) M and 8 d d M bytes to each peer.  Reveals: nothing (masked).
        A rejected step leaves every V as it is.
        """
        program, slot = self._program, Slot(void=self._slot.void)
        V = slot.truncating(
            "inverse",
            shared(self._estimate),
            parts["inverse"],
            values["inverse_low"],
            program.inverse_window,
            program.inverse_shift,
        )
        self._improve(slot, _unpacked(V.masked()), parts, values)

    def product(self, parts: Arrays, values: Arrays) -> None:
        """The same from the inverse that was opened last.

        Error: the product is rounded.  Cost: 1 round, 8 d d M bytes to each peer.  Reveals: nothing (masked).
        """
        if self._inverse is None:
            raise EngineError("a product came before its inverse")
        self._improve(Slot(void=self._slot.void), self._inverse.opened, parts, values)

    def inverse(self, mask: Words, parts: Arrays, values: Arrays) -> Inverse:
        """Round and open each V.

        Error: below 1 in the last place, unbiased.  Cost: 2 rounds, 4 d (d + 1) M bytes to each peer in each.
        Reveals: nothing (masked).
        """
        share, opened = self._opened("inverse", self._estimate, mask, parts, values, self._program.inverse_shift)
        self._inverse = Inverse(share, _unpacked(opened))
        return self._inverse

    def _improve(self, slot: Slot, V: Masked, parts: Arrays, values: Arrays) -> None:
        if self._information is None:
            raise EngineError("a step came before its information matrix")
        program = self._program
        HV = shared_product(self._information, V, values["information_inverse"])
        T = slot.truncating(
            "product", HV, parts["product"], values["low"], program.product_window, program.product_shift
        )
        VHV = shared_product(V, T.masked(), values["inverse_product"])
        following = (words(V.tensor()) << (program.product_bits + 1)) - words(VHV)
        improved = packed(following + following.transpose(0, 2, 1))  # in either case: a rejected step takes as long
        self._estimate = self._estimate if slot.void else improved

    def _opened(
        self, name: str, share: Words, mask: Words, parts: Arrays, values: Arrays, shift: int
    ) -> tuple[Words, Masked]:
        rounded = words(self._slot.rounded(name, shared(share), parts["mask"], values["low"], values["top"], shift))
        if self._slot.void and self._before is not None:
            rounded = self._before.packed
        return rounded, Slot().whole(name, shared(rounded), mask)


def _start(program: Newton) -> Words:
    """The identity over a bound on the trace: public, so the lowest rank holds it."""
    d = program.width
    found = np.zeros((len(program.models), d, d), dtype=np.int64)
    if ChannelCommunicator.get().get_rank() == 0:
        found[:, range(d), range(d)] = _column([model.start for model in program.models])
    return packed(found)


def _dampings(program: Newton) -> Words:
    """What is added to each H's diagonal. Shapes: -> (models, d)."""
    found = np.repeat(_column([model.damping for model in program.models]), program.width, axis=1)
    if program.fit_intercept:
        found[:, -1:] = _column([model.intercept_damping for model in program.models])
    return found


def _column(numbers: Sequence[int]) -> Words:
    """Public integers as ring words, one a matrix."""
    return np.array([[signed(number)] for number in numbers])


def _unpacked(opened: Masked) -> Masked:
    return Masked(unpacked(opened.public), unpacked(opened.rest))
