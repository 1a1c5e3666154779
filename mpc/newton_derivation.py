"""Scales, windows and steps of the Newton program: nothing overflows, and nothing drowns in rounding.

With H = (X^T S X + damping) / 2**mean_bits, S <= 1/4: T bounds its trace, and so 1/T starts Newton and Schulz's
iteration safely; V <= 1/damping bounds the inverse. Rounding must stay far below what is rounded in the norm that H
gives: V's against 1/T, H's against the damping, H V's against the root of T/damping.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Self

from mpc import fourier
from mpc.derivation import (
    CONTEXT,
    LADDER,
    RESIDUAL_HEADROOM,
    STATE_HEADROOM,
    UNIT_BITS,
    copies,
    log2,
    loss_shift,
    loss_window,
    rejection,
    rung,
    shared_fields,
    spares,
)
from mpc.errors import ProgramError
from mpc.program import (
    DATA_BITS,
    DENSITY_BITS,
    INFORMATION_BITS,
    ITERATE_BITS,
    MOMENTUM_BITS,
    Newton,
    Rung,
    Segment,
    Spec,
    inverse_strength,
)
from mpc.symmetric import packed_size

MAX_COLUMNS = 256  # more are left to first-order descent
MAX_ROWS_BITS = 22  # sums of X^T S X stay below the 2**62 that rounding takes
MAX_TABLE = 1 << 27  # entries: a refresh opens them all, and the dealer deals as many
WEIGHT_BITS = 6  # weights stay below 2**6
RESIDUAL_BITS = 26  # of a truncated residual, or fewer
RIDGE_LEAST = 16
ITERATIONS = 15
ITERATIONS_A_DECADE = 10  # weaker penalties let the optimum lie farther away
MOST_ITERATIONS = 100
REFRESH_EVERY = 3
REFRESHES = 5  # the first so many intervals; then the information matrix has settled
REFRESH_STEPS = 7
SURE_STEPS = 3  # after the weakest direction of the inverse has grown to its size
CURVATURE = Decimal("0.2625")  # the trace's bound for one standardised column, 5% more than a quarter
LEAST_DAMPING = Decimal("0.0001")  # times CURVATURE
MOST_DAMPING = Decimal("0.02")
MARGIN = 8  # how far rounding stays below what it would spoil
FACTOR_BITS = 6  # entries of H V stay below 2**6
STEP_REJECTED = Fraction(1, 32)  # a rejected step costs two rounds and no more


def suits(spec: Spec) -> bool:
    """Whether Newton's method is to be used. Raises: ProgramError if it is asked for and impossible.

    Unless the solver is named, more iterations than it ever needs ask for first-order descent.
    """
    if spec.solver == "nesterov":
        return False
    try:
        newton(spec, spec.max_iter or 1)
    except ProgramError:
        if spec.solver == "newton":
            raise
        return False
    return True


def iterations(spec: Spec) -> int:
    """How many iterations come within 5e-3 of the optimum's coefficients on ordinary tables."""
    decades = max(0, inverse_strength(spec).adjusted())
    return ITERATIONS + ITERATIONS_A_DECADE * decades


@dataclass(frozen=True)
class Matrices:
    """Scales of the information matrix H, its inverse V and their product, for one damping."""

    damping: int  # at scale 2**INFORMATION_BITS, of the sum over the rows
    trace: Decimal
    greatest: Decimal  # of V
    information_bits: int
    inverse_bits: int
    product_bits: int

    @classmethod
    def of(cls, spec: Spec, width: int, mean_bits: int, relative: Decimal) -> Self:
        added = 1 / inverse_strength(spec) + relative * CURVATURE * (1 << mean_bits)
        least = added / (1 << mean_bits)
        trace, greatest = CURVATURE * width + least, 1 / least
        root = Decimal(width).sqrt() * MARGIN
        return cls(
            damping=int(added * (1 << INFORMATION_BITS)),
            trace=trace,
            greatest=greatest,
            information_bits=_bits(root * greatest),
            inverse_bits=_bits(root * trace),
            product_bits=_bits(root * 2 * (trace * greatest).sqrt()),
        )

    @property
    def product_window(self) -> int:
        return 1 + FACTOR_BITS + self.information_bits + self.inverse_bits

    @property
    def inverse_window(self) -> int:
        """One bit more than a product has: the matrix and its transpose are added."""
        return 2 + _bits(self.greatest) + self.inverse_bits + self.product_bits

    def rejected(self, width: int) -> Fraction:
        """How probably a step is, at most."""
        return rejection(width * width, self.product_window) + rejection(packed_size(width), self.inverse_window)

    @property
    def start(self) -> int:
        return int((1 << (self.inverse_bits + self.product_bits + 1)) / self.trace)

    @property
    def first_steps(self) -> int:
        return _bits(self.trace * self.greatest) + SURE_STEPS


def newton(spec: Spec, max_iter: int) -> Newton:
    """Raises: ProgramError if the bits of the ring do not suffice."""
    columns = sum(block.columns for block in spec.blocks)
    width, mean_bits = columns + spec.fit_intercept, log2(spec.rows)
    if max_iter > MOST_ITERATIONS:
        raise ProgramError(
            f"max_iter={max_iter} is more than the {MOST_ITERATIONS} that Newton's method may take",
            action="choose fewer, or solver = nesterov",
        )
    if columns > MAX_COLUMNS or mean_bits > MAX_ROWS_BITS or spec.rows * width > MAX_TABLE:
        raise ProgramError(
            f"{spec.rows} rows x {columns} columns are more than Newton's method takes",
            action="choose solver = nesterov",
        )
    with localcontext(CONTEXT):
        matrices = _matrices(spec, width, mean_bits)
        reach = mean_bits + 1 + log2(1 + int(64 / inverse_strength(spec)) // spec.rows)
        ridge, unit, shift, residual_bits = _residual(spec, width, reach)
        rejected_step = matrices.rejected(width)
        first = matrices.first_steps
        first_steps, refresh_steps = (steps + spares(steps, rejected_step) for steps in (first, REFRESH_STEPS))
        start = matrices.start
    state_bits = STATE_HEADROOM - log2(width) - 1 - WEIGHT_BITS
    state_window, residual_window = 1 + state_bits + WEIGHT_BITS, unit.bit_length() + 2
    gradient_window = 1 + DATA_BITS + residual_bits + reach
    rejected = rejection(width, state_window) + rejection(width, gradient_window)
    rejected += rejection(spec.rows, residual_window)
    alone = max(rejection(width, state_window), rejection(1, loss_window(spec.rows)))
    with localcontext(CONTEXT):
        slots = max_iter + spares(max_iter, rejected)
    return Newton(
        **shared_fields(spec, max_iter),
        state_bits=state_bits,
        state_window=state_window,
        residual_unit=unit,
        residual_window=residual_window,
        residual_shift=shift,
        ridge=ridge,
        loss_window=loss_window(spec.rows),
        loss_shift=loss_shift(spec.rows),
        copies=copies(alone),
        segments=(Segment(iterations=max_iter, slots=slots),),
        ladder=tuple(_rung(*shape) for shape in LADDER),
        mean_bits=mean_bits,
        gradient_window=gradient_window,
        gradient_shift=DATA_BITS + residual_bits + mean_bits + MOMENTUM_BITS + matrices.inverse_bits - state_bits,
        density_window=DENSITY_BITS,
        damping=matrices.damping,
        information_bits=matrices.information_bits,
        inverse_bits=matrices.inverse_bits,
        inverse_window=matrices.inverse_window,
        product_bits=matrices.product_bits,
        product_window=matrices.product_window,
        start=start,
        first_steps=first_steps,
        refresh_steps=refresh_steps,
        refresh_every=REFRESH_EVERY,
        refresh_until=min(REFRESHES * REFRESH_EVERY + 1, max_iter - REFRESH_EVERY + 1),
    )


def _bits(value: Decimal) -> int:
    """Of the whole part: 2 to this power is above the value."""
    return int(value).bit_length()


def _matrices(spec: Spec, width: int, mean_bits: int) -> Matrices:
    """The least damping that leaves room for all roundings."""
    relative = LEAST_DAMPING
    while relative <= MOST_DAMPING:
        found = Matrices.of(spec, width, mean_bits, relative)
        if found.rejected(width) <= STEP_REJECTED:
            return found
        relative *= 2
    raise ProgramError(
        f"{width} columns leave too few bits for the inverse of their information matrix",
        action="choose solver = nesterov",
    )


def _residual(spec: Spec, width: int, reach: int) -> tuple[int, int, int, int]:
    """Multiplier of the penalty, unit and shift of a residual, and its bits once truncated.

    The multiplier is an exact integer; the unit follows from it, so that C is met to the unit's precision.
    """
    bits = min(RESIDUAL_BITS, STATE_HEADROOM - log2(width) - 1 - DATA_BITS - reach)
    truncated = ITERATE_BITS - DATA_BITS  # the penalty's scale against the residual's
    ridge = int((1 << max(bits, 0)) / (inverse_strength(spec) * (1 << truncated)))
    if ridge < RIDGE_LEAST:
        raise ProgramError(
            f"C={spec.C} is too weak a penalty for {spec.rows} rows",
            action="choose a smaller C, fewer rows or solver = nesterov",
        )
    shift = min(RESIDUAL_HEADROOM - 2 - log2(spec.rows), UNIT_BITS) - bits
    unit = inverse_strength(spec) * ridge * (1 << (truncated + shift))
    return ridge, int(unit.to_integral_value()), shift, bits


def _rung(period: int, harmonics: int) -> Rung:
    return rung(period, harmonics).model_copy(
        update={
            "density": fourier.density_coefficients(period, harmonics),
            "density_floor": fourier.density_floor(period, harmonics),
        }
    )
