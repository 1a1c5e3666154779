"""The mini-batch program's scales: the learning rate is met to twelve bits, the penalty as far as a run can tell."""

from __future__ import annotations

from decimal import Decimal, localcontext

from mpc.derivation import (
    CONTEXT,
    STATE_HEADROOM,
    WEIGHT_BITS,
    copies,
    log2,
    loss_shift,
    loss_window,
    rejection,
    residuals,
    rung,
    segments,
    shared_fields,
    strip_rows,
)
from mpc.errors import ProgramError
from mpc.program import DATA_BITS, ITERATE_BITS, DescentModel, MiniBatch, Segment, Spec, learning_rate, strengths

LADDER = ((64, 16), (128, 32), (256, 64))  # periods and harmonics; short ones first, which cost the dealer less
UNIT_BITS = 36  # of a residual of 1 before truncation
LEAST_UNIT = 1 << 5  # of a residual of 1 once truncated; rounding is unbiased and averages over a batch
PRECISE_UNIT = 1 << 12
HEADROOMS = (  # window + log2(entries), bits of the weights' bound, and what a truncated residual of 1 must be at least
    *((headroom, WEIGHT_BITS[0], PRECISE_UNIT) for headroom in (46, 48, 50, 52, 54)),
    *((STATE_HEADROOM, bits, LEAST_UNIT) for bits in WEIGHT_BITS),
)
PENALTY_ERROR = Decimal(1) / (1 << 12)  # of the weights at the end, relative, from rounding the penalty's integer
GUARDS = 2  # of the whole table, which is many batches: the first comes halfway
LOT = 16  # slots dealt at once, at most
LOT_WORDS = 1 << 16  # of tables, that a lot of several slots has at most


def mini_batch(spec: Spec, max_iter: int) -> MiniBatch:
    """Raises: ProgramError if the bits of the ring do not suffice."""
    rows = spec.batch_rows or 0
    width = spec.columns + spec.fit_intercept
    entries, scores = width * len(spec.trained), rows * len(spec.trained)
    with localcontext(CONTEXT):
        per_row = learning_rate(spec) / rows
        state_bits, weight_bits = _state(spec, entries, per_row)
        ridges = [_ridge(spec, C, max_iter, state_bits) for C in strengths(spec)]
        (unit,), shift = residuals([per_row * (1 << (state_bits - DATA_BITS))], scores, UNIT_BITS)
    state_window, residual_window = 1 + state_bits + weight_bits, unit.bit_length() + 2
    rejected = rejection(entries, state_window) + rejection(scores, residual_window)
    with localcontext(CONTEXT):
        cut = segments(max_iter, 0, rejected, GUARDS)
    slots = max(each.slots for each in cut)
    lots = -(-slots // max(1, min(LOT, LOT_WORDS // (2 * LADDER[0][1] * scores))))
    lot = -(-slots // lots)  # as even as can be: what a last lot has too many are void slots
    return MiniBatch(
        **shared_fields(spec, max_iter) | {"loss_every": cut[0].iterations if spec.loss_every else 0},
        models=tuple(
            DescentModel(**each._asdict(), residual_unit=unit, ridge=ridge, ridge_every=every)
            for each, (ridge, every) in zip(spec.trained, ridges, strict=True)
        ),
        state_bits=state_bits,
        state_window=state_window,
        residual_window=residual_window,
        residual_shift=shift,
        loss_window=loss_window(spec.rows),
        loss_shift=loss_shift(spec.rows),
        copies=copies(max(rejection(entries, state_window), rejection(len(spec.trained), loss_window(spec.rows)))),
        strip_rows=strip_rows(spec.rows, len(spec.trained)),
        segments=tuple(Segment(iterations=each.iterations, slots=-(-each.slots // lot) * lot) for each in cut),
        ladder=tuple(rung(*shape) for shape in LADDER),
        batch_rows=rows,
        lot=lot,
    )


def _state(spec: Spec, entries: int, per_row: Decimal) -> tuple[int, int]:
    """Fractional bits of the iterate, and bits of the weights' bound.

    Few, so that hardly a slot is rejected, if that leaves a residual precise; else the widest that leaves it enough.
    """
    for headroom, weight_bits, least in HEADROOMS:
        state_bits = headroom - log2(entries) - 1 - weight_bits
        if per_row * (1 << (state_bits - DATA_BITS)) >= least:
            return state_bits, weight_bits
    raise ProgramError(
        f"learning_rate={spec.learning_rate} over {spec.batch_rows} rows and {entries} weights leaves too few bits",
        action="choose a greater learning_rate, smaller batches, fewer columns or fewer models",
    )


def _ridge(spec: Spec, C: Decimal, max_iter: int, state_bits: int) -> tuple[int, int]:
    """The penalty's part of a step and how often it is taken: an integer that meets it as far as a run can tell."""
    shrinks = learning_rate(spec) / (C * spec.rows)  # the weights, in each step
    each, every = shrinks * (1 << (state_bits - ITERATE_BITS)), 1
    while _missed(each * every) * shrinks * max_iter > PENALTY_ERROR:
        every *= 2
        if every * 16 > max_iter:
            raise ProgramError(
                f"C={C} is too weak a penalty for {spec.rows} rows in {max_iter} iterations",
                action="choose a smaller C or more iterations",
            )
    return int((each * every).to_integral_value()), every


def _missed(value: Decimal) -> Decimal:
    """How much of a value rounding takes or adds."""
    return abs(value.to_integral_value() - value) / value
