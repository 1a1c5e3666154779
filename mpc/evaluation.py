"""How good the model is on rows that it was not trained on: figures for the session, and nobody sees a score.

Shared scores are clamped under MPC, so that none leaves its period, and opened modulo the period under fresh masks.
The dealer has shared a one-hot table of each mask's bin, and the same times the mask of the row's label. Turned by what
was opened and added up, these are shares of the histograms of all rows and of the positive ones. Log-loss and Brier
score are linear in them; the area under the ROC curve is a product of them and a division; tables are counts, held
against marks (mpc/counting.py). Only the figures are opened.

Figures are those of the disclosed weights' scores, clamped to +-31, but for bins of width h, 1/64 to 1/16: each row's
bin is one of two at random, which adds noise of h / 2 times its term's slope at most, evened out over the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mpc import evaluation_layouts
from mpc.amounts import figure_of
from mpc.bins import coefficients, histogram, offsets, ranks
from mpc.counting import curves
from mpc.curves import Points
from mpc.disclosure import Disclosure
from mpc.errors import EngineError
from mpc.evaluation_derivation import COARSE, DIGITS, FINE
from mpc.evaluation_layouts import evaluation_of, phase_of
from mpc.evaluation_program import FIGURES, Evaluation, Figure, Told
from mpc.fused_program import Fused
from mpc.guard import negative
from mpc.held_out import HeldOutTable
from mpc.layouts import Arrays, Kind, tuple_number
from mpc.matrices import shared_product
from mpc.openings import Masked, Slot
from mpc.ring import Words, dot, signed
from mpc.runtime import Runtime
from mpc.scales import SCORE_BITS
from mpc.shares import shared, words
from mpc.shim import ArithmeticSharedTensor

Figures = dict[Told, float | Points | None]
_ByModel = dict[Told, Sequence[float | Points | None]]


@dataclass(frozen=True)
class Histograms:
    """This party's shares of how many rows have scores in each bin, lowest first, by model."""

    rows: Words = field(repr=False)  # (models, bins)
    positives: Words = field(repr=False)


@dataclass
class Part:
    """The tuples of one part, in order. To make one tells the dealer that the part begins."""

    program: Fused
    runtime: Runtime
    number: int
    place: int = 0

    def __post_init__(self) -> None:
        self.runtime.provider.announce_evaluation()

    def take(self, kind: Kind) -> tuple[Arrays, Arrays]:
        number = tuple_number(phase_of(self.program, self.number), self.place)
        self.place += 1
        return self.runtime.provider.ahead(number, evaluation_layouts.layout(self.program, kind))


def evaluate(program: Fused, table: HeldOutTable, weights: Words, runtime: Runtime) -> list[Figures]:
    """The program's figures of the held-out rows, for each model.

    Shapes: weights (d, models), scale 2**ITERATE_BITS -> (models,).

    Reveals: the figures, rounded, and tables in steps of cells, to the session; an AUC of None: that all held-out rows
    are of one class.
    """
    evaluation, rank = evaluation_of(program), runtime.rank
    z = clamped(evaluation.bound, rank, scores(Part(program, runtime, 0), table, weights))
    part = Part(program, runtime, 1)
    histograms = histograms_of(part, evaluation, table, z)
    found = _numbers(part, evaluation, histograms, runtime) if evaluation.numbers else {}
    tables = curves(evaluation, histograms.positives, histograms.rows - histograms.positives, runtime)
    for curve, points in tables.items():
        found[curve] = points
    return [{figure: told[model] for figure, told in found.items()} for model in range(evaluation.models)]


def _numbers(part: Part, evaluation: Evaluation, histograms: Histograms, runtime: Runtime) -> _ByModel:
    """The figures that are one number each, for each model."""
    parts, values = part.take("figures")
    opened: dict[Figure, ArithmeticSharedTensor] = {}
    if evaluation.sums:
        opened |= _sums(evaluation, histograms, parts, values)
    if "auc" in evaluation.figures:
        opened["auc"] = area(runtime.rank, *_pairs(histograms, parts, values))
    return {figure: _disclosed(evaluation, figure, opened[figure], runtime) for figure in FIGURES if figure in opened}


def scores(part: Part, table: HeldOutTable, weights: Words) -> ArithmeticSharedTensor:
    """Scores of the held-out rows. Shapes: weights (d, models) -> (m, models), scale 2**SCORE_BITS.

    Cost: 1 round, 8 d bytes a model to each peer; never rejected.  Reveals: nothing (masked).
    """
    parts, values = part.take("held-out")
    return table.scores(Slot().whole("held-out weights", shared(weights), parts["mask"]), values["table_mask"])


def clamped(bound: int, rank: int, z: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
    """Scores within the bound; those beyond it become the bound. Shapes: z any, scale 2**SCORE_BITS.

    Exact.  Requires: |z| < 2**62.  Cost: a comparison of 2 words a score and a product of as many as there are.
    Reveals: nothing (masked).
    """
    limit, own = signed(bound << SCORE_BITS), words(z).reshape(-1)
    bits = words(negative(shared(np.concatenate([_plus(rank, -own, limit), _plus(rank, own, limit)]))))
    above, below = bits[: own.size], bits[own.size :]
    found = own - words(times(shared(above + below), shared(own))) + (above - below) * limit
    return shared(found.reshape(words(z).shape))


def histograms_of(part: Part, evaluation: Evaluation, table: HeldOutTable, z: ArithmeticSharedTensor) -> Histograms:
    """Each row's bin, counted: the one of its score or a neighbour, right on average.

    Shapes: z (m, models) -> (models, bins) each.
    Requires: scores within the evaluation's bound.
    Cost: a round a chunk of rows, 4 bytes a score to each peer in all.  Reveals: nothing (masked).
    """
    rows, positives = np.zeros((2, evaluation.models, evaluation.bins), dtype=np.int64)
    for start in range(0, evaluation.rows, evaluation.chunk_rows):
        chunk = words(z)[start : start + evaluation.chunk_rows] + 0
        parts, values = part.take("bins")
        theta = Slot().period("held-out scores", shared(chunk), parts["turn"][: len(chunk)], evaluation.modulus_bits)
        offset, bins = offsets(evaluation, theta), values["bins"][: len(chunk)]
        rows += histogram(evaluation, bins, offset)
        labelled = table.labelled(start, bins, values["labelled"][: len(chunk)])
        positives += histogram(evaluation, labelled, offset)
    return Histograms(rows, positives)


def _sums(
    evaluation: Evaluation, histograms: Histograms, parts: Arrays, values: Arrays
) -> dict[Figure, ArithmeticSharedTensor]:
    """Log-loss and Brier score: the rows' sum, rounded to 2**-DIGITS of the mean or less.

    Error: h**2 / 48 and the rounding, below 1 in the last place.  Cost: 1 round.  Reveals: nothing (masked).
    """
    sums = np.stack([_sum(evaluation, figure, histograms) for figure in evaluation.sums])
    rounded = words(
        Slot().rounded("figures", shared(sums), parts["sums"], values["low"], values["top"], evaluation.figure_shift)
    )
    return {figure: shared(rounded[place] + 0) for place, figure in enumerate(evaluation.sums)}


def _sum(evaluation: Evaluation, figure: Figure, histograms: Histograms) -> Words:
    each, positive = coefficients(evaluation.period, evaluation.bins, figure)
    return dot(each, histograms.rows.T) + dot(positive, histograms.positives.T)


def _pairs(
    histograms: Histograms, parts: Arrays, values: Arrays
) -> tuple[ArithmeticSharedTensor, ArithmeticSharedTensor]:
    """Of all pairs of a positive and a negative row: twice those in the right order, and how many pairs there are.

    Shapes: -> (models,) each, scale 0. Rows of one bin are in order by half.  Exact.
    Cost: 1 round, 16 bins bytes a model to each peer.  Reveals: nothing (masked).
    """
    shares = np.concatenate([histograms.positives, histograms.rows - histograms.positives])
    opened = Slot().whole("histograms", shared(shares), np.concatenate([parts["positives"], parts["negatives"]]))
    models = len(histograms.rows)
    P = Masked(opened.public[:models, None, :], opened.rest[:models, None, :])
    N = Masked(opened.public[models:, :, None], opened.rest[models:, :, None])
    ranked = Masked(*(ranks(part[:, :, 0])[:, :, None] for part in (N.public, N.rest)))
    P_total = Masked(*(part.sum(axis=2, keepdims=True) for part in (P.public, P.rest)))
    N_total = Masked(*(part.sum(axis=1, keepdims=True) for part in (N.public, N.rest)))
    ordered = shared_product(P, ranked, values["pairs"])
    pairs = shared_product(P_total, N_total, values["classes"])
    return shared(words(ordered).reshape(-1)), shared(words(pairs).reshape(-1))


def area(rank: int, ordered: ArithmeticSharedTensor, pairs: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
    """Quotients ordered / (2 pairs) at scale 2**DIGITS, rounded to the nearest; more than 1 if there is no pair.

    Shapes: (models,), (models,), scale 0 -> (models,). A digit is how many multiples of the divisor it holds.
    Exact.  Requires: 0 <= ordered <= 2 pairs < 2**(61 - DIGITS).
    Cost: comparisons of COARSE and of FINE - 1 words a model, a product of one.  Reveals: nothing (masked).
    """
    divisor = 2 * words(pairs)
    dividend = (words(ordered) << DIGITS) + words(pairs)  # half a unit more: cut off, it is rounded
    high = _multiples(rank, dividend, FINE * divisor, COARSE)
    rest = dividend - words(times(shared(high), shared(FINE * divisor)))
    return shared(FINE * high + _multiples(rank, rest, divisor, FINE - 1))


def _multiples(rank: int, dividend: Words, divisor: Words, most: int) -> Words:
    """How many of 1 .. most times the divisor are no more than the dividend."""
    steps = np.arange(1, most + 1, dtype=np.int64)[:, None]
    short = words(negative(shared(dividend - steps * divisor)))
    return _plus(rank, -short.sum(axis=0), np.int64(most))


def times(x: ArithmeticSharedTensor, y: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
    """The products of x and y, word by word, by a triple.

    Exact.  Cost: 1 round, 16 bytes a word to each peer.  Reveals: nothing (masked).
    """
    found: Any = x.mul(y)
    return found


def _plus(rank: int, share: Words, public: np.int64) -> Words:
    return share + public if rank == 0 else share


def _disclosed(
    evaluation: Evaluation, figure: Figure, share: ArithmeticSharedTensor, runtime: Runtime
) -> list[float | None]:
    opened = runtime.discloser.open(Disclosure(figure, "session", evaluation.models), words(share))
    if opened is None:
        raise EngineError("a disclosure to the session was not opened here")
    return [figure_of(evaluation, figure, int(each)) for each in opened]
