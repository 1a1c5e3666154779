"""Scales, windows and slots that follow from a specification: the headroom rules, in one place.

A truncating opening of N words below 2**(k - 1) is rejected with probability N * 2**(k - 64) at most. The windows here
give the iterate 2**-8 and the residual 2**-9, under one per cent a slot together.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from fractions import Fraction
from typing import Any

from mpc import fourier
from mpc.design import Common
from mpc.errors import ProgramError
from mpc.fused_program import DescentModel, FirstOrder, Rung, Segment
from mpc.reference_program import Reference
from mpc.scales import DATA_BITS, FRACTION_BITS, ITERATE_BITS, LOSS_BITS, LOSS_DIGITS, LOSS_LIMIT_BITS, MOMENTUM_BITS
from mpc.specification import Spec, strengths

STATE_HEADROOM = 56  # window + log2(entries)
RESIDUAL_HEADROOM = 55
RING_BITS = 64
UNIT_BITS = 46  # of a residual of 1: what multiplies the dealer's tables then fits 32 bits
WEIGHT_BITS = (6, 5, 4, 3)  # weights stay below 2**bits; the first for which enough precision is left is taken
RESIDUAL_DIGITS = 8  # bits that a rounded residual has, and half of log2(rows) by which rounding averages out
STRIP_WORDS = 1 << 15  # scores whose tables are dealt and used at once
SHORTFALL_BITS = 40  # what must not happen, happens with less than 2**-this
SPARES_BITS = 20  # too few slots cost an iteration, no more
LADDER = ((128, 32), (256, 64), (512, 128))  # period and harmonics
GUARDED_ITERATIONS = 30  # fewer are one segment
GUARDS = 3

FINE_BITS = 6  # the reference engine's weights have more fractional bits, so that small steps count
MULTIPLIER_BITS = 12  # significant bits of the integers that multiply its gradient

CONTEXT = Context(prec=40, rounding=ROUND_HALF_EVEN)


def log2(number: int) -> int:
    """The logarithm, rounded up."""
    return (number - 1).bit_length()


def _step_per_row(spec: Spec, C: Decimal) -> Decimal:
    """1 / (curvature * rows): the mean loss of standardised columns bends by no more than the trace over four."""
    curvature = (Decimal(spec.columns) * Decimal("1.05") + 1) / 4 + 1 / (C * spec.rows)
    return 1 / (curvature * spec.rows)


def reference(spec: Spec, max_iter: int) -> Reference:
    with localcontext(CONTEXT):
        (C,) = strengths(spec)
        per_row = _step_per_row(spec, C)
        gradient_weight, gradient_shift = _multiplier(per_row * (1 << FINE_BITS))
        ridge_weight, ridge_shift = _multiplier(per_row / C)
    return Reference(
        **shared_fields(spec, max_iter),
        C=spec.grid[0],
        fraction_bits=FRACTION_BITS,
        fine_bits=FINE_BITS,
        gradient_weight=gradient_weight,
        gradient_shift=gradient_shift,
        ridge_weight=ridge_weight,
        ridge_shift=ridge_shift,
    )


def shared_fields(spec: Spec, max_iter: int) -> dict[str, Any]:
    """What a program takes over from its specification."""
    return spec.model_dump(include=set(Common.model_fields)) | {"max_iter": max_iter}


def _multiplier(value: Decimal) -> tuple[int, int]:
    """An integer of MULTIPLIER_BITS bits and the shift that makes it the value."""
    shift = 0
    while value * (1 << shift) < 1 << (MULTIPLIER_BITS - 1):
        shift += 1
    return int((value * (1 << shift)).to_integral_value()), shift


def first_order(spec: Spec, max_iter: int) -> FirstOrder:
    width = spec.columns + spec.fit_intercept
    entries, scores, grid = width * len(spec.trained), spec.rows * len(spec.trained), strengths(spec)
    with localcontext(CONTEXT):
        per_row, weight_bits = [_step_per_row(spec, C) for C in grid], 0
        for weight_bits in WEIGHT_BITS:
            state_bits = STATE_HEADROOM - log2(entries) - 1 - weight_bits
            if _enough_digits(min(per_row), state_bits, spec.rows):
                break
        else:
            raise ProgramError(
                f"{spec.rows} rows and {width} columns leave too few bits for a residual",
                action="use fewer columns or rows, or fewer models",
            )
        lift = 1 << (state_bits - ITERATE_BITS - MOMENTUM_BITS)
        ridges = [_ridge(spec, C, max_iter, step / C * lift) for C, step in zip(grid, per_row, strict=True)]
        # The penalty is an exact integer; the step follows from it, so that C is met to the residual's precision.
        exact = [C * ridge / every / lift for C, (ridge, every) in zip(grid, ridges, strict=True)]
        units, shift = residuals([each * (1 << (state_bits - MOMENTUM_BITS - DATA_BITS)) for each in exact], scores)
    state_window = 1 + state_bits + weight_bits
    residual_window = max(units).bit_length() + 2
    rejected = rejection(entries, state_window) + rejection(scores, residual_window)
    alone = max(rejection(entries, state_window), rejection(len(grid), loss_window(spec.rows * spec.classes)))
    with localcontext(CONTEXT):
        cut = segments(max_iter, spec.loss_every, rejected)
    return FirstOrder(
        **shared_fields(spec, max_iter),
        models=tuple(
            DescentModel(**each._asdict(), residual_unit=unit, ridge=ridge, ridge_every=every)
            for each, unit, (ridge, every) in zip(spec.trained, units, ridges, strict=True)
        ),
        state_bits=state_bits,
        state_window=state_window,
        residual_window=residual_window,
        residual_shift=shift,
        loss_window=loss_window(spec.rows * spec.classes),
        loss_shift=loss_shift(spec.rows),
        copies=copies(alone),
        strip_rows=strip_rows(spec.rows, len(spec.trained)),
        segments=cut,
        ladder=tuple(rung(*shape) for shape in LADDER),
    )


def _enough_digits(per_row: Decimal, state_bits: int, rows: int) -> bool:
    unit = per_row * (1 << (state_bits - MOMENTUM_BITS - DATA_BITS))
    return unit >= 2 and unit * unit * rows >= 1 << (2 * RESIDUAL_DIGITS)


def _ridge(spec: Spec, C: Decimal, max_iter: int, each: Decimal) -> tuple[int, int]:
    every = 1
    while each * every < 4 and every * 16 <= max_iter:
        every *= 2
    if each * every < 1:
        raise ProgramError(
            f"C={C} is too weak a penalty for {spec.rows} rows in {max_iter} iterations",
            action="choose a smaller C or more iterations",
        )
    return int(each * every), every


def residuals(truncated: Sequence[Decimal], entries: int, unit_bits: int = UNIT_BITS) -> tuple[tuple[int, ...], int]:
    """What a residual of 1 is before truncation, for each, and the bits that truncation drops to leave `truncated`."""
    shift = 1
    most = min(RESIDUAL_HEADROOM - 2 - log2(entries), unit_bits)
    while int(max(truncated) * (1 << (shift + 1))).bit_length() <= most:
        shift += 1
    return tuple(int((each * (1 << shift)).to_integral_value()) for each in truncated), shift


def loss_window(rows: int) -> int:
    return 1 + LOSS_BITS + LOSS_LIMIT_BITS + log2(rows)


def loss_shift(rows: int) -> int:
    return LOSS_BITS - LOSS_DIGITS + rows.bit_length() - 1


def strip_rows(rows: int, models: int) -> int:
    """Strips of equal size but for the last one, which lacks fewer rows than there are strips."""
    strips = -(-rows * models // STRIP_WORDS)
    return -(-rows // strips)


def rejection(entries: int, window: int) -> Fraction:
    """How probably a truncating opening is rejected, at most."""
    return Fraction(entries << window, 1 << RING_BITS)


def copies(rejected: Fraction) -> int:
    """How often an opening is sent at once, so that all are never rejected together."""
    count = 1
    while rejected**count > Fraction(1, 1 << SHORTFALL_BITS):
        count += 1
    return count


def segments(iterations: int, loss_every: int, rejected: Fraction, guards: int = GUARDS) -> tuple[Segment, ...]:
    """A segment is made of whole intervals between loss reports, so that these fall on multiples from the beginning."""
    parts = guards if iterations >= GUARDED_ITERATIONS else 1
    unit = loss_every if 0 < loss_every <= iterations else 1
    each = -(-iterations // (parts * unit)) * unit
    counts = [min(each, iterations - begin) for begin in range(0, iterations, each)]
    return tuple(Segment(iterations=count, slots=count + spares(count, rejected)) for count in counts)


def spares(iterations: int, rejected: Fraction) -> int:
    """The fewest slots beside the iterations' that do not suffice with probability 2**-20 (Poisson's tail)."""
    mean = Decimal(iterations * rejected.numerator) / rejected.denominator
    term, count = (-mean).exp(), 0
    left = 1 - term
    while left > Decimal(1) / (1 << SPARES_BITS):
        count += 1
        term = term * mean / count
        left -= term
    return count


def rung(period: int, harmonics: int) -> Rung:
    constant, softplus = fourier.softplus_coefficients(period, harmonics)
    return Rung(
        period=period,
        harmonics=harmonics,
        sigmoid=fourier.sigmoid_coefficients(period, harmonics),
        softplus_constant=constant,
        softplus=softplus,
    )
