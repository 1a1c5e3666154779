"""Bins of scores: which one, how rows fall into them on shares, and what a row of each adds to a figure.

A score's bin is that of its opened angle plus that of its mask, modulo their number: one of the two bins whose centres
are next to the score, at random and right on average. So the mean of a function f over the rows is, but for noise, that
of f interpolated between centres; a curved f comes out too high by f'' width**2 / 12 on average, which is taken off.
"""

from __future__ import annotations

from decimal import Context, Decimal, localcontext
from functools import cache

import numpy as np

from mpc.errors import EngineError
from mpc.evaluation_program import Evaluation, Figure
from mpc.fourier import TURN_BITS
from mpc.ring import Words, top32

FIGURE_BITS = 30  # scale of what a row adds to a figure
_CONTEXT = Context(prec=40)
_Coefficients = tuple[Words, Words]


def bin_bits(evaluation: Evaluation) -> int:
    return evaluation.bins.bit_length() - 1


def mask_bins(evaluation: Evaluation, turn: Words) -> Words:
    """The bins of masks; the dealer's. Shapes: turn (...) -> the same in 0 .. bins - 1."""
    angle = top32(turn, evaluation.modulus_bits).view(np.uint32).astype(np.int64)
    return np.asarray(angle >> (TURN_BITS - bin_bits(evaluation)))


def offsets(evaluation: Evaluation, theta: Words) -> Words:
    """What opened angles add to their masks' bins. Shapes: theta (...) -> the same in 0 .. bins - 1.

    All 32 bits are opened and half a bin is added before they are cut: each party cutting its own would be biased.
    """
    shift = TURN_BITS - bin_bits(evaluation)
    return np.asarray((theta + (1 << (shift - 1)) >> shift) & (evaluation.bins - 1))


def one_hot(evaluation: Evaluation, bins: Words) -> Words:
    """Shapes: (...) -> (..., bins)."""
    found = np.zeros((*bins.shape, evaluation.bins), dtype=np.int64)
    np.put_along_axis(found, bins[..., None], 1, axis=-1)
    return found


def histogram(evaluation: Evaluation, tables: Words, offset: Words) -> Words:
    """Turn each score's table by its offset and add up those of all rows, lowest score first.

    Shapes: (m, ..., bins), (m, ...) -> (..., bins).
    """
    half = evaluation.bins // 2
    places = (np.arange(evaluation.bins) - half - offset[..., None]) & (evaluation.bins - 1)
    return np.asarray(np.take_along_axis(tables, places, axis=-1).sum(axis=0))


def ranks(counts: Words) -> Words:
    """Twice the rows in lower bins, and those of the same bin once. Shapes: (..., bins) -> the same."""
    return 2 * np.cumsum(counts, axis=-1) - counts


@cache
def coefficients(period: int, bins: int, figure: Figure) -> _Coefficients:
    """What a row of each bin adds to a figure's sum, and what a positive row adds beyond that, lowest score first.

    Shapes: twice (bins,), scale 2**FIGURE_BITS. Decimal arithmetic: the same integers everywhere.
    """
    with localcontext(_CONTEXT):
        width = Decimal(period) / bins
        centres = [(place + Decimal("0.5")) * width - period // 2 for place in range(bins)]
        pairs = [_of_row(figure, z, width * width / 12) for z in centres]
        scaled = [[int((each * (1 << FIGURE_BITS)).to_integral_value()) for each in pair] for pair in pairs]
    found = np.array(scaled, dtype=np.int64)
    return np.ascontiguousarray(found[:, 0]), np.ascontiguousarray(found[:, 1])


def _of_row(figure: Figure, z: Decimal, excess: Decimal) -> tuple[Decimal, Decimal]:
    """The figure's term of a negative row, and a positive row's beyond it; each less `excess` times its curvature."""
    p = 1 / (1 + (-z).exp())
    slope = p * (1 - p)
    bend = slope * (1 - 2 * p)
    if figure == "log-loss":
        return (1 + z.exp()).ln() - excess * slope, -z
    if figure == "brier":
        return p * p - 2 * excess * (slope * slope + p * bend), 1 - 2 * p + 2 * excess * bend
    raise EngineError(f"'{figure}' is no sum over rows")
