"""The mini-batch program's scales: the learning rate is met to twelve bits, the penalty as far as a run can tell.

A model that leaves a fold out has that part of every batch's rows fewer, on average: a residual of its counts as much
more, and its penalty is that of its own rows. So it takes the steps of a run on these alone.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from mpc.evidence_program import fold_period
from mpc.fused_program import DescentModel, MiniBatch, Segment
from mpc.scales import DATA_BITS, ITERATE_BITS
from mpc.specification import Spec, learning_rate, strengths

LADDER = ((64, 16), (128, 32), (256, 64))  # periods and harmonics; short ones first, which cost the dealer less
UNIT_BITS = 36  # of a residual of 1 before truncation
LEAST_UNIT = 1 << 5  # of a residual of 1 once truncated; rounding is unbiased and averages over a batch
PRECISE_UNIT = 1 << 12
HEADROOMS = (  # window + log2(entries), bits of the weights' bound, and what a truncated residual of 1 must be at least
    *((headroom, WEIGHT_BITS[0], PRECISE_UNIT) for headroom in (46, 48, 50, 52, 54)),
    *((STATE_HEADROOM, bits, LEAST_UNIT) for bits in WEIGHT_BITS),
)
PENALTY_ERROR = Decimal(1) / (1 << 12)  # of the weights at the end, relative, from rounding the penalty's integer
PENALTY_LAG = Decimal(1) / (1 << 7)  # of the weights, relative, that several steps' penalty at once may take
GUARDS = 2  # of the whole table, which is many batches: the first comes halfway
LOT = 16  # slots dealt at once, at most
LOT_WORDS = 1 << 16  # of tables, that a lot of several slots has at most


def mini_batch(spec: Spec, max_iter: int) -> MiniBatch:
    """Raises: ProgramError if the bits of the ring do not suffice."""
    rows = spec.batch_rows or 0
    width = spec.columns + spec.fit_intercept
    entries, scores = width * len(spec.trained), rows * len(spec.trained)
    with localcontext(CONTEXT):
        counts = [_training_rows(spec, each.fold) for each in spec.trained]
        per_row = [learning_rate(spec) * spec.rows / (rows * count) for count in counts]
        state_bits, weight_bits, ridges = _state(spec, entries, min(per_row), counts, max_iter)
        units, shift = residuals([each * (1 << (state_bits - DATA_BITS)) for each in per_row], scores, UNIT_BITS)
    state_window, residual_window = 1 + state_bits + weight_bits, max(units).bit_length() + 2
    rejected = rejection(entries, state_window) + rejection(scores, residual_window)
    with localcontext(CONTEXT):
        cut = segments(max_iter, 0, rejected, GUARDS)
    slots, window = max(each.slots for each in cut), loss_window(spec.rows * spec.classes)
    lots = -(-slots // max(1, min(LOT, LOT_WORDS // (2 * LADDER[0][1] * scores))))
    lot = -(-slots // lots)  # as even as can be: what a last lot has too many are void slots
    return MiniBatch(
        **shared_fields(spec, max_iter) | {"loss_every": cut[0].iterations if spec.loss_every else 0},
        models=tuple(
            DescentModel(**each._asdict(), residual_unit=unit, ridge=ridge, ridge_every=every)
            for each, unit, (ridge, every) in zip(spec.trained, units, ridges, strict=True)
        ),
        state_bits=state_bits,
        state_window=state_window,
        residual_window=residual_window,
        residual_shift=shift,
        loss_window=window,
        loss_shift=loss_shift(spec.rows),
        copies=copies(max(rejection(entries, state_window), rejection(len(spec.trained), window))),
        strip_rows=strip_rows(spec.rows, len(spec.trained)),
        segments=tuple(Segment(iterations=each.iterations, slots=-(-each.slots // lot) * lot) for each in cut),
        ladder=tuple(rung(*shape) for shape in LADDER),
        batch_rows=rows,
        lot=lot,
    )


def _training_rows(spec: Spec, fold: int | None) -> int:
    """Rows that train a model which leaves this fold out."""
    left_out = () if fold is None else range(fold, spec.rows, fold_period(spec.folds, spec.evidence))
    return spec.rows - len(left_out)


def _state(
    spec: Spec, entries: int, per_row: Decimal, counts: Sequence[int], max_iter: int
) -> tuple[int, int, list[tuple[int, int]]]:
    """Fractional bits of the iterate, bits of the weights' bound, and of each model the penalty (see `_ridge`).

    Few bits, so that hardly a slot is rejected, if they leave a residual precise and meet the penalties; else more,
    while the ring has them. `counts`: rows that train each model.
    """
    refused = ProgramError(
        f"learning_rate={spec.learning_rate} over {spec.batch_rows} rows and {entries} weights leaves too few bits",
        action="choose a greater learning_rate, smaller batches, fewer columns or fewer models",
    )
    for headroom, weight_bits, least in HEADROOMS:
        state_bits = headroom - log2(entries) - 1 - weight_bits
        if per_row * (1 << (state_bits - DATA_BITS)) >= least:
            asked = zip(strengths(spec), counts, strict=True)
            try:
                return state_bits, weight_bits, [_ridge(spec, *each, max_iter, state_bits) for each in asked]
            except ProgramError as exc:
                refused = exc
    raise refused


def _ridge(spec: Spec, C: Decimal, rows: int, max_iter: int, state_bits: int) -> tuple[int, int]:
    """The penalty's part of a step and how often it is taken: an integer that meets it as far as a run can tell.

    `rows`: those that train the model. The weights forget a step after 1 / shrinks others, and its error with it.
    """
    shrinks = learning_rate(spec) / (C * rows)  # the weights, in each step
    each, every = shrinks * (1 << (state_bits - ITERATE_BITS)), 1
    while _missed(each * every) * min(shrinks * max_iter, Decimal(1)) > PENALTY_ERROR:
        every *= 2
        if every * 16 > max_iter or shrinks * every > PENALTY_LAG:
            raise ProgramError(
                f"the penalty of C={C} can't be met over {rows} rows in {max_iter} iterations",
                action="choose fewer models, another C or learning_rate, or more iterations",
            )
    return int((each * every).to_integral_value()), every


def _missed(value: Decimal) -> Decimal:
    """How much of a value rounding takes or adds."""
    return abs(value.to_integral_value() - value) / value
