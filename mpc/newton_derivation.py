"""The Newton program's scales, windows and schedule: nothing overflows, and nothing drowns in rounding."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

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
    strip_rows,
)
from mpc.errors import ProgramError
from mpc.fused_program import CurvedRung, Newton, NewtonModel, Segment
from mpc.matrix_scales import Scales, scales
from mpc.scales import DATA_BITS, DENSITY_BITS, ITERATE_BITS, MOMENTUM_BITS
from mpc.specification import Spec, strengths

MAX_COLUMNS = 256  # more are left to first-order descent
MAX_ROWS_BITS = 22  # sums of X^T S X stay below the 2**62 that rounding takes
MAX_TABLE = 1 << 27  # entries: a refresh opens them all, and the dealer deals as many
WEIGHT_BITS = 6  # weights stay below 2**6
FEW_SCORES = 1024  # wide tables cost so few rows less than a pass that is repeated, which small tables often need
ITERATE_HEADROOM = 53  # window + log2(entries): a rejected iterate may cost a refresh, and steps need no more bits
RESIDUAL_BITS = 26  # of a truncated residual, or fewer
RIDGE_LEAST = 16
ITERATIONS = 15
ITERATIONS_A_DECADE = 13  # weaker penalties let the optimum lie farther away
MOST_ITERATIONS = 100
REFRESH_EVERY = 3
REFRESHES = 5  # the first so many intervals; then the information matrix has settled
REFRESH_STEPS = 7


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
    """How many iterations come within 5e-3 of each optimum's coefficients on ordinary tables."""
    decades = max(0, max(strengths(spec)).adjusted())
    return ITERATIONS + ITERATIONS_A_DECADE * decades


def newton(spec: Spec, max_iter: int) -> Newton:
    """Raises: ProgramError if the bits of the ring do not suffice."""
    columns = spec.columns
    width, mean_bits = columns + spec.fit_intercept, log2(spec.rows)
    entries, scores, grid = width * len(spec.trained), spec.rows * len(spec.trained), strengths(spec)
    if max_iter > MOST_ITERATIONS:
        raise ProgramError(
            f"max_iter={max_iter} is more than the {MOST_ITERATIONS} that Newton's method may take",
            action="choose fewer, or solver = nesterov",
        )
    if columns > MAX_COLUMNS or mean_bits > MAX_ROWS_BITS or scores * width > MAX_TABLE:
        raise ProgramError(
            f"{spec.rows} rows x {columns} columns, {len(spec.trained)} times, are more than Newton's method takes",
            action="choose solver = nesterov",
        )
    with localcontext(CONTEXT):
        reach = mean_bits + 1 + log2(1 + int(64 / min(grid)) // spec.rows)
        residual_bits = min(RESIDUAL_BITS, STATE_HEADROOM - log2(entries) - 1 - DATA_BITS - reach)
        shift = min(RESIDUAL_HEADROOM - 2 - log2(scores), UNIT_BITS) - residual_bits
        penalties = [_penalty(spec, C, residual_bits, shift) for C in grid]
        found = scales(spec, width, mean_bits)
        of_matrices, of_models = _of_matrices(found), _of_models(found)
    state_bits = ITERATE_HEADROOM - log2(entries) - 1 - WEIGHT_BITS
    state_window = 1 + state_bits + WEIGHT_BITS
    residual_window = max(unit for _, unit in penalties).bit_length() + 2
    gradient_window = 1 + DATA_BITS + residual_bits + reach
    rejected = rejection(entries, state_window) + rejection(entries, gradient_window)
    rejected += rejection(scores, residual_window)
    alone = max(rejection(entries, state_window), rejection(len(grid), loss_window(spec.rows * spec.classes)))
    with localcontext(CONTEXT):
        slots = max_iter + spares(max_iter, rejected)
    # Refreshes go by slots: a loss on the way would tell of rejections. The last one has converged and tells nothing.
    last_loss = max_iter if spec.loss_every else 0
    return Newton(
        **shared_fields(spec, max_iter) | {"loss_every": last_loss},
        models=tuple(
            NewtonModel(**trained._asdict(), residual_unit=unit, ridge=ridge, **matrices)
            for trained, (ridge, unit), matrices in zip(spec.trained, penalties, of_models, strict=True)
        ),
        state_bits=state_bits,
        state_window=state_window,
        residual_window=residual_window,
        residual_shift=shift,
        loss_window=loss_window(spec.rows * spec.classes),
        loss_shift=loss_shift(spec.rows),
        copies=copies(alone),
        strip_rows=strip_rows(spec.rows, len(spec.trained)),
        segments=(Segment(iterations=max_iter, slots=slots),),
        ladder=tuple(_rung(*shape) for shape in (LADDER if scores > FEW_SCORES else LADDER[1:])),
        mean_bits=mean_bits,
        gradient_window=gradient_window,
        gradient_shift=DATA_BITS + residual_bits + mean_bits + MOMENTUM_BITS + of_matrices["inverse_bits"] - state_bits,
        density_window=DENSITY_BITS,
        **of_matrices,
        refresh_every=REFRESH_EVERY,
        refresh_until=min(REFRESHES * REFRESH_EVERY + 1, max_iter - REFRESH_EVERY + 1),
    )


def _of_matrices(found: Scales) -> dict[str, Any]:
    """What the program says of matrices."""
    return {
        "information_bits": found.information_bits,
        "inverse_bits": found.inverse_bits,
        "inverse_window": found.inverse_window,
        "product_bits": found.product_bits,
        "product_window": found.product_window,
        "rounded_steps": found.rounded,
        "first_steps": found.first_steps + spares(found.first_steps, found.rejected),
        "refresh_steps": REFRESH_STEPS + spares(REFRESH_STEPS, found.rejected),
    }


def _of_models(found: Scales) -> list[dict[str, int]]:
    """What each model has of its own of matrices."""
    each = zip(found.dampings, found.intercept_dampings, found.starts, strict=True)
    return [
        {"damping": damping, "intercept_damping": of_intercept, "start": start} for damping, of_intercept, start in each
    ]


def _penalty(spec: Spec, C: Decimal, bits: int, shift: int) -> tuple[int, int]:
    """Multiplier of the penalty, and unit of a residual that has so many bits once so many are truncated.

    The multiplier is an exact integer; the unit follows from it, so that C is met to the unit's precision.
    """
    truncated = ITERATE_BITS - DATA_BITS  # the penalty's scale against the residual's
    ridge = int((1 << max(bits, 0)) / (C * (1 << truncated)))
    if ridge < RIDGE_LEAST:
        raise ProgramError(
            f"C={C} is too weak a penalty for {spec.rows} rows",
            action="choose a smaller C, fewer rows or solver = nesterov",
        )
    return ridge, int((C * ridge * (1 << (truncated + shift))).to_integral_value())


def _rung(period: int, harmonics: int) -> CurvedRung:
    return CurvedRung(
        **rung(period, harmonics).model_dump(),
        density=fourier.density_coefficients(period, harmonics),
        density_floor=fourier.density_floor(period, harmonics),
    )
