"""Counts of held-out rows above thresholds, held against marks on shares: only how many each reaches is opened."""

from __future__ import annotations

import numpy as np

from mpc.communicator import ChannelCommunicator
from mpc.curves import GRAIN, THRESHOLDS, Curve, Points, counts, marks, mirrored, points
from mpc.disclosure import Disclosure
from mpc.errors import EngineError
from mpc.evaluation_program import Evaluation
from mpc.guard import negative
from mpc.ring import Words
from mpc.runtime import Runtime
from mpc.scales import GUARD_SCORES
from mpc.shares import shared, words


def curves(evaluation: Evaluation, positives: Words, negatives: Words, runtime: Runtime) -> dict[Curve, list[Points]]:
    """The tables that the program names, for each model.

    Shapes: shares of histograms, lowest score first, (models, bins) twice.
    Exact.  Cost: comparisons of `evaluation.compared_words`, GUARD_SCORES at once, and each table's disclosure.
    Reveals: how many marks each count reaches, to the session.
    """
    asked = evaluation.curves
    if not asked:
        return {}
    above = np.stack([_above(evaluation, part) for part in (positives, negatives)], axis=1)
    facts = evaluation.rows, evaluation.cell
    against = np.array([marks(*facts), mirrored(*facts)], dtype=np.int64)
    told = reached(above[..., None] - against[:, None, :] * (runtime.rank == 0))
    found, start = {}, 0
    for curve in asked:
        here = np.ascontiguousarray(told[:, :, start : start + counts(curve)])
        found[curve] = _disclosed(evaluation, curve, here, runtime)
        start += counts(curve)
    return found


def _above(evaluation: Evaluation, histogram: Words) -> Words:
    """Rows with scores at or above each threshold, and all. Shapes: (models, bins) -> (models, all tables' counts)."""
    from_top = np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([from_top[:, edges(evaluation, curve)] for curve in evaluation.curves], axis=1)


def edges(evaluation: Evaluation, curve: Curve) -> list[int]:
    """The bins that begin at a table's thresholds; the lowest bin for all rows."""
    a_unit = evaluation.bins // (GRAIN * evaluation.period)
    return [(z + GRAIN * evaluation.period // 2) * a_unit for z in THRESHOLDS[curve]] + [0]


def reached(apart: Words) -> Words:
    """How many marks each count reaches, shared. Shapes: counts less each of their marks (..., marks) -> (...).

    Exact.  Requires: |count - mark| < 2**62.  Cost: a comparison of each word, GUARD_SCORES at once.
    Reveals: nothing (masked).
    """
    flat = np.ascontiguousarray(apart).reshape(-1)
    starts = range(0, flat.size, GUARD_SCORES)
    below = [words(negative(shared(flat[start : start + GUARD_SCORES] + 0))) for start in starts]
    missed = np.concatenate(below).reshape(apart.shape).sum(axis=-1)
    return np.asarray((apart.shape[-1] if ChannelCommunicator.get().get_rank() == 0 else 0) - missed)


def _disclosed(evaluation: Evaluation, curve: Curve, share: Words, runtime: Runtime) -> list[Points]:
    """Shapes: (models, classes, counts)."""
    opened = runtime.discloser.open(Disclosure(curve, "session", share.size), share)
    if opened is None:
        raise EngineError("a disclosure to the session was not opened here")
    facts = curve, evaluation.rows, evaluation.cell
    return [points(*facts, positives.tolist(), negatives.tolist()) for positives, negatives in opened]
