"""ROC and calibration tables: of which counts the session is told, and how coarsely.

A count is of held-out rows of one class with scores at or above a public threshold. Under MPC it is held against public
*marks*, and all that is told is how many of them it reaches. Marks lie a smallest cell of rows apart, or more. Those of
the negative rows mirror those of the positive ones: though everybody knows how many rows there are, what is told of one
class narrows nothing that is told of the other. So each count, above a threshold or between two, keeps as many possible
values as a cell has rows (mpc/EVALUATION.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from math import inf
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from mpc.partition import Frozen

Curve: TypeAlias = Literal["roc", "calibration"]
CURVES: tuple[Curve, ...] = ("roc", "calibration")
LEAST_CELL = 5  # rows
USUAL_CELL = 10
FINEST = 64  # of a greater count more would tell nobody anything: marks are no nearer than its 64th part
GRAIN = 16  # thresholds are multiples of 1 / GRAIN: edges of bins, however wide these are
MOST_POINTS = 256

_QUARTERS = tuple(range(0, 6 * GRAIN + 1, GRAIN // 4))
_FAR = tuple(GRAIN * z for z in (7, 8, 10, 12, 16, 24))
_TENTHS = (0, 6, 14, 22, 35)  # where probabilities are 0.5, 0.6, 0.7, 0.8 and 0.9, nearly


def _either_side(halves: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted({*halves, *(-z for z in halves)}, reverse=True))


THRESHOLDS: dict[Curve, tuple[int, ...]] = {  # scores, falling, in units of 1 / GRAIN
    "roc": _either_side((*_QUARTERS, *_FAR)),
    "calibration": _either_side(_TENTHS),
}


def counts(curve: Curve) -> int:
    """How many a table has of a class: one for each threshold, and one of all rows."""
    return len(THRESHOLDS[curve]) + 1


@cache
def marks(rows: int, cell: int) -> tuple[int, ...]:
    """What counts of positive rows are held against. Those of negative rows mirror them: `rows` + 1 less a mark.

    From 0 to `rows` + 1 each is a cell from the next, or a FINEST-th of the nearer end's distance if that is more.
    Requires: 2 * cell <= rows + 1.
    """
    low, mark = [], cell
    while 2 * mark <= rows + 1:
        low.append(mark)
        mark += max(cell, mark // FINEST)
    high = [rows + 1 - mark for mark in reversed(low)]
    return (*low, *(high if high[0] - low[-1] >= cell else high[1:]))


def mirrored(rows: int, cell: int) -> tuple[int, ...]:
    """The marks of negative rows."""
    return tuple(rows + 1 - mark for mark in reversed(marks(rows, cell)))


Count = Annotated[int, Field(ge=0, le=1 << 53)]
Score = Annotated[float, Field(ge=-64, le=64)]
Between: TypeAlias = tuple[Count, Count]  # the least and the most that a count can be


class Points(Frozen):
    """What the session is told of one table, with what it means.

    Thresholds fall; each count is of rows with scores at or above its own, and the last one of all rows.
    """

    thresholds: Annotated[tuple[Score, ...], Field(max_length=MOST_POINTS)]
    positives: tuple[Between, ...]
    negatives: tuple[Between, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if any(low >= high for high, low in pairwise(self.thresholds)):
            raise ValueError("thresholds must fall")
        for told in (self.positives, self.negatives):
            if len(told) != len(self.thresholds) + 1:
                raise ValueError("a class needs a count for each threshold, and one of all rows")
            if any(least > most for least, most in told):
                raise ValueError("a count's least is more than its most")
            if any(
                lower < higher for above, below in pairwise(told) for higher, lower in zip(above, below, strict=True)
            ):
                raise ValueError("counts must not fall from one threshold to the next")
        return self


def points(curve: Curve, rows: int, cell: int, positives: Sequence[int], negatives: Sequence[int]) -> Points:
    """What numbers of marks reached stand for. Shapes: (counts,), in the order of Points."""
    return Points(
        thresholds=tuple(z / GRAIN for z in THRESHOLDS[curve]),
        positives=between(marks(rows, cell), rows, positives),
        negatives=between(mirrored(rows, cell), rows, negatives),
    )


def exact_points(curve: Curve, scores: Sequence[Sequence[float]]) -> Points:
    """The table of scores that somebody has in clear: of the positive rows, and of the negative ones."""
    thresholds = [z / GRAIN for z in THRESHOLDS[curve]]
    counted = [[sum(score >= threshold for score in own) for threshold in (*thresholds, -inf)] for own in scores]
    positives, negatives = ([(count, count) for count in own] for own in counted)
    return Points(thresholds=tuple(thresholds), positives=tuple(positives), negatives=tuple(negatives))


def between(held_against: tuple[int, ...], rows: int, reached: Sequence[int]) -> tuple[Between, ...]:
    """The counts, 0 to `rows`, that reach so many marks and no more."""
    ends = (0, *held_against, rows + 1)
    return tuple((ends[each], ends[each + 1] - 1) for each in reached)
