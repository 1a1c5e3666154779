"""The evaluation's correlations, each defined once for the parties' side and the dealer's (see mpc.layouts).

It has two parts, because a party takes all tuples of a part before it asks for those of CrypTen's comparisons: the
scores, which are then clamped; histograms of them and what figures are made of, which a division follows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mpc.bins import mask_bins, one_hot, ranks
from mpc.errors import EngineError
from mpc.layouts import Arrays, Kind, Layout
from mpc.program import Evaluation, Fused
from mpc.ring import WORD_BITS, Words, dot, product, shifted

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
    return ("held-out",), (*chunks, "figures")


def phase_of(program: Fused, part: int) -> int:
    """The number of a part's phase: training has at most `program.phases` before."""
    return program.phases + 1 + part


def layout(program: Fused, kind: Kind) -> Layout:
    evaluation = evaluation_of(program)
    if kind == "held-out":
        return Layout({"mask": (program.width,)}, {"table_mask": (evaluation.rows,)})
    if kind == "bins":
        table = (evaluation.chunk_rows, evaluation.bins)
        return Layout({"turn": (evaluation.chunk_rows,)}, {"bins": table, "labelled": table})
    masks, found = {}, {}
    if "auc" in evaluation.figures:
        masks = {"positives": (evaluation.bins,), "negatives": (evaluation.bins,)}
        found = {"pairs": (1,), "classes": (1,)}
    if evaluation.sums:
        count = (len(evaluation.sums),)
        masks["sums"], found["low"], found["top"] = count, count, count
    return Layout(masks, found)


@dataclass(frozen=True)
class HeldOutMasks:
    """What the dealer holds of the held-out rows. Redacted in print."""

    table: Words = field(repr=False)  # A, (rows, width)
    labels: Words = field(repr=False)  # A_y, (rows,)


def values(program: Fused, kind: Kind, place: int, masks: Arrays, held_out: HeldOutMasks) -> Arrays:
    """A tuple's values from the sums of its parts and its place in its phase. The dealer alone does this."""
    evaluation = evaluation_of(program)
    if kind == "held-out":
        return {"table_mask": product(held_out.table, masks["mask"])}
    if kind == "bins":
        bins = one_hot(evaluation, mask_bins(evaluation, masks["turn"]))
        labels = np.zeros(evaluation.chunk_rows, dtype=np.int64)  # the last chunk may have fewer rows
        chunk = held_out.labels[place * evaluation.chunk_rows :][: evaluation.chunk_rows]
        labels[: chunk.size] = chunk
        return {"bins": bins, "labelled": labels[:, None] * bins}
    found = {}
    if "auc" in evaluation.figures:
        found["pairs"] = dot(masks["positives"], ranks(masks["negatives"]))
        found["classes"] = masks["positives"].sum(keepdims=True) * masks["negatives"].sum(keepdims=True)
    if evaluation.sums:
        found["low"] = shifted(masks["sums"], evaluation.figure_shift)
        found["top"] = shifted(masks["sums"], WORD_BITS - 1)
    return found
