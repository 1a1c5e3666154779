"""The evaluation's correlations, each defined once for the parties' side and the dealer's (see mpc.layouts).

It has two parts, because a party takes all tuples of a part before it asks for those of CrypTen's comparisons: the
scores, which are then clamped; histograms of them and what figures are made of, which comparisons of a division and of
tables follow.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mpc.bins import mask_bins, one_hot, ranks
from mpc.errors import EngineError
from mpc.evaluation_program import Evaluation
from mpc.fused_program import Fused
from mpc.layouts import Arrays, Kind, Layout, Shape
from mpc.ring import WORD_BITS, Words, product, shifted

KINDS: tuple[Kind, ...] = ("held-out", "bins", "figures")


def evaluation_of(program: Fused) -> Evaluation:
    """Raises: EngineError if the program has none."""
    if program.evaluation is None:
        raise EngineError("this program evaluates nothing")
    return program.evaluation


def parts(program: Fused) -> tuple[tuple[Kind, ...], ...]:
    """Kinds of both parts, in order; none if nothing is evaluated."""
    if program.evaluation is None:
        return ()
    chunks: list[Kind] = ["bins"] * program.evaluation.chunks
    return ("held-out",), (*chunks, "figures") if program.evaluation.numbers else (*chunks,)


def phase_of(program: Fused, part: int) -> int:
    """The number of a part's phase: training has at most `program.phases` before."""
    return program.phases + 1 + part


def layout(program: Fused, kind: Kind) -> Layout:
    evaluation = evaluation_of(program)
    models = evaluation.models
    if kind == "held-out":
        return Layout({"mask": (program.width, models)}, {"table_mask": (evaluation.rows, models)})
    if kind == "bins":
        scores = (evaluation.chunk_rows, models)
        table = (*scores, evaluation.bins)
        return Layout({"turn": scores}, {"bins": table, "labelled": table})
    masks: dict[str, Shape] = {}
    found: dict[str, Shape] = {}
    if "auc" in evaluation.figures:
        masks = {"positives": (models, evaluation.bins), "negatives": (models, evaluation.bins)}
        found = {"pairs": (models, 1, 1), "classes": (models, 1, 1)}
    if evaluation.sums:
        count = (len(evaluation.sums), models)
        masks["sums"], found["low"], found["top"] = count, count, count
    return Layout(masks, found)


@dataclass(frozen=True)
class HeldOutMasks:
    """What the dealer holds of the held-out rows. Redacted in print."""

    table: Words = field(repr=False)  # A, (rows, width)
    labels: Words = field(repr=False)  # A_y of each model's labels, (rows, models)


def values(program: Fused, kind: Kind, place: int, masks: Arrays, held_out: HeldOutMasks) -> Arrays:
    """A tuple's values from the sums of its parts and its place in its phase. The dealer alone does this."""
    evaluation = evaluation_of(program)
    models = evaluation.models
    if kind == "held-out":
        return {"table_mask": product(held_out.table, masks["mask"])}
    if kind == "bins":
        bins = one_hot(evaluation, mask_bins(evaluation, masks["turn"]))
        labels = np.zeros((evaluation.chunk_rows, models), dtype=np.int64)  # the last chunk may have fewer rows
        chunk = held_out.labels[place * evaluation.chunk_rows :][: evaluation.chunk_rows]
        labels[: len(chunk)] = chunk
        return {"bins": bins, "labelled": labels[:, :, None] * bins}
    found = {}
    if "auc" in evaluation.figures:
        positives, negatives = masks["positives"][:, None, :], masks["negatives"][:, :, None]
        found["pairs"] = product(positives, ranks(masks["negatives"])[:, :, None])
        found["classes"] = positives.sum(axis=2, keepdims=True) * negatives.sum(axis=1, keepdims=True)
    if evaluation.sums:
        found["low"] = shifted(masks["sums"], evaluation.figure_shift)
        found["top"] = shifted(masks["sums"], WORD_BITS - 1)
    return found
