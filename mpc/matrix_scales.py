"""Scales of the information matrix H, of its inverse V and of their product, that leave room for rounding.

H is X^T S X and the damping, over 2**mean_bits, S <= 1/4. The trace's bound T makes 1/T a safe start of Newton and
Schulz's iteration; V <= 1/damping bounds the inverse. What is rounded must stay far below what it would spoil: V's
rounding below 1/T, H's below the damping, and that of H V, in the norm that H gives, below the root of damping / T.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Self

from mpc.derivation import rejection
from mpc.errors import ProgramError
from mpc.scales import INFORMATION_BITS
from mpc.specification import Spec, strengths
from mpc.symmetric import packed_size

CURVATURE = Decimal("0.2625")  # the trace's bound for one standardised column, 5% more than a quarter
LEAST_DAMPING = Decimal("0.0001")  # times CURVATURE
MOST_DAMPING = Decimal("0.02")
INTERCEPT_DAMPING = Decimal("0.02")  # at most, of the mean: it bears no penalty, and a strong one would hold it back
SURE_STEPS = 3  # after the weakest direction of the inverse has grown to its size
INVERSE_MARGIN, INFORMATION_MARGIN, PRODUCT_MARGIN = 2, 4, 8  # how far below
FACTOR_BITS = 5  # entries of H V stay below 2**5
REJECTED = Fraction(1, 32)  # a rejected step costs its rounds and no more
WINDOW = 62  # what is rounded lies below 2**WINDOW


@dataclass(frozen=True)
class Scales:
    """For one damping beside the penalties; bits are fractional ones, those that the neediest model needs."""

    width: int
    dampings: tuple[int, ...]  # of each model, at scale 2**INFORMATION_BITS, of the sum over the rows
    intercept_dampings: tuple[int, ...]  # the same of the intercept
    traces: tuple[Decimal, ...]  # at most
    greatest: Decimal  # of any V, at most
    rounded: bool  # V is rounded before each step, so that only H V is opened truncated
    models: int

    @classmethod
    def of(cls, spec: Spec, width: int, mean_bits: int, relative: Decimal, *, rounded: bool) -> Self:
        added = [1 / C + relative * CURVATURE * (1 << mean_bits) for C in strengths(spec)]
        intercepts = [min(each, INTERCEPT_DAMPING * (1 << mean_bits)) for each in added]
        least = [each / (1 << mean_bits) for each in (intercepts if spec.fit_intercept else added)]
        return cls(
            width,
            tuple(int(each * (1 << INFORMATION_BITS)) for each in added),
            tuple(int(each * (1 << INFORMATION_BITS)) for each in intercepts),
            tuple(CURVATURE * width + each / (1 << mean_bits) for each in added),
            1 / min(least),
            rounded,
            len(spec.trained),
        )

    @property
    def trace(self) -> Decimal:
        """Of any H, at most."""
        return max(self.traces)

    @property
    def information_bits(self) -> int:
        return self._bits(INFORMATION_MARGIN * self.greatest)

    @property
    def inverse_bits(self) -> int:
        return self._bits(INVERSE_MARGIN * self.trace)

    @property
    def product_bits(self) -> int:
        return self._bits(PRODUCT_MARGIN * (self.trace * self.greatest).sqrt())

    @property
    def product_window(self) -> int:
        return 1 + FACTOR_BITS + self.information_bits + self.inverse_bits

    @property
    def inverse_window(self) -> int:
        """One bit more than a product has: the matrix and its transpose are added."""
        return 2 + _whole_bits(self.greatest) + self.inverse_bits + self.product_bits

    @property
    def rejected(self) -> Fraction:
        """How probably a step is, at most."""
        product = rejection(self.models * self.width**2, self.product_window)
        if self.rounded:
            return product
        return product + rejection(self.models * packed_size(self.width), self.inverse_window)

    @property
    def starts(self) -> tuple[int, ...]:
        return tuple(int((1 << (self.inverse_bits + self.product_bits + 1)) / trace) for trace in self.traces)

    @property
    def first_steps(self) -> int:
        """Each doubles the weakest direction."""
        return _whole_bits(self.trace * self.greatest) + SURE_STEPS

    def _bits(self, factor: Decimal) -> int:
        """Rounding errors of a matrix add up to the root of its width."""
        return _whole_bits(Decimal(self.width).sqrt() * factor)


def _whole_bits(value: Decimal) -> int:
    """2 to this power is above the value."""
    return int(value).bit_length()


def scales(spec: Spec, width: int, mean_bits: int) -> Scales:
    """The least damping that leaves room, at first by steps that round nothing. Raises: ProgramError if none does."""
    relative = LEAST_DAMPING
    while relative <= MOST_DAMPING:
        for rounded in (False, True):
            found = Scales.of(spec, width, mean_bits, relative, rounded=rounded)
            if found.rejected <= REJECTED and found.inverse_window <= WINDOW:
                return found
        relative *= 2
    raise ProgramError(
        f"{width} columns leave too few bits for the inverse of their information matrix",
        action="choose solver = nesterov",
    )
