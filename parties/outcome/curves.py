"""What is read off ROC and calibration tables, for people: lines of a terminal, and where a picture's points lie.

Counts are ranges; where one number has to stand for a range it is the middle, and the range is shown beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import exp
from typing import TypeAlias

from mpc.curves import Between, Curve, Points

Range: TypeAlias = tuple[float, float]
NOBODY: Between = (0, 0)
NEARLY = 0.9999  # a probability in four decimals


@dataclass(frozen=True)
class Operating:
    """The rows above one threshold, as a point of the ROC curve."""

    probability: float  # the threshold's
    positives: Between
    negatives: Between
    true_rate: float  # of positive rows, those above
    false_rate: float  # of negative rows, those above
    true_range: Range
    false_range: Range

    @property
    def at_least(self) -> str:
        """The threshold in figures."""
        return "> 0.9999" if self.probability > NEARLY else f"{self.probability:.4f}"


@dataclass(frozen=True)
class Group:
    """The rows between two thresholds, as a point of the calibration curve."""

    predicted: Range  # their probabilities by the model
    rows: Between
    positives: Between
    share: float | None  # of positive ones; None where there may be half as many rows as there can be, or fewer
    share_range: Range


def roc(points: Points, *, every: bool = False) -> tuple[Operating, ...]:
    """From the highest threshold down; of thresholds of which the same is told the lowest alone, unless asked for."""
    counts = list(zip(points.positives, points.negatives, strict=True))
    total = counts.pop()
    found = []
    for place, (threshold, each) in enumerate(zip(points.thresholds, counts, strict=True)):
        if every or [*counts, total][place + 1] != each:
            found.append(_operating(probability(threshold), each, total))
    return tuple(found)


def _operating(threshold: float, counts: tuple[Between, Between], totals: tuple[Between, Between]) -> Operating:
    (positives, negatives), (all_positives, all_negatives) = counts, totals
    return Operating(
        threshold,
        positives,
        negatives,
        _middle(positives) / (_middle(all_positives) or 1),
        _middle(negatives) / (_middle(all_negatives) or 1),
        _part(positives, all_positives),
        _part(negatives, all_negatives),
    )


def calibration(points: Points) -> tuple[Group, ...]:
    """From the lowest probabilities up."""
    edges = [1.0, *map(probability, points.thresholds), 0.0]
    counts = [(NOBODY, NOBODY), *zip(points.positives, points.negatives, strict=True)]
    between = zip(pairwise(edges), pairwise(counts), strict=True)
    return tuple(_group((low, high), above, below) for (high, low), (above, below) in between)[::-1]


def _group(predicted: Range, above: tuple[Between, Between], below: tuple[Between, Between]) -> Group:
    positives, negatives = (_less(each, other) for each, other in zip(below, above, strict=True))
    likely = [_middle(each) - _middle(other) for each, other in zip(below, above, strict=True)]
    least, most = (positives[end] + negatives[end] for end in (0, 1))
    return Group(
        predicted,
        (least, most),
        positives,
        likely[0] / sum(likely) if 0 < most < 2 * least else None,
        (_of(positives[0], negatives[1]), _of(positives[1], negatives[0])),
    )


def probability(score: float) -> float:
    return 1 / (1 + exp(-score))


def _middle(count: Between) -> float:
    return sum(count) / 2


def _less(count: Between, other: Between) -> Between:
    """What a count has beyond another that is part of it."""
    return max(0, count[0] - other[1]), count[1] - other[0]


def _part(count: Between, total: Between) -> Range:
    """The least and the greatest part of a total that a count can be."""
    return count[0] / max(total[1], 1), min(1.0, count[1] / max(total[0], 1))


def _of(some: int, others: int) -> float:
    return some / max(some + others, 1)


def lines(tables: Mapping[Curve, Points]) -> Iterator[str]:
    """Both tables as a terminal shows them."""
    if (points := tables.get("roc")) is not None:
        yield "roc of the held-out rows: of rows with such a probability or more, in steps of cells"
        rates = f"{'true pos. rate':>18s}  {'false pos. rate':>18s}"
        yield f"  {'probability':>12s}  {'positive':>12s}  {'negative':>12s}  {rates}"
        for each in roc(points):
            rates = f"{_rate(each.true_rate, each.true_range)}  {_rate(each.false_rate, each.false_range)}"
            yield f"  {each.at_least:>12s}  {_count(each.positives):>12s}  {_count(each.negatives):>12s}  {rates}"
    if (points := tables.get("calibration")) is not None:
        yield "calibration on the held-out rows: of rows with such a probability, in steps of cells"
        yield f"  {'probability':>12s}  {'rows':>12s}  {'positive':>12s}  {'share':>18s}"
        for group in calibration(points):
            low, high = group.predicted
            counts = f"{_count(group.rows):>12s}  {_count(group.positives):>12s}"
            yield f"  {f'{low:.2f} to {high:.2f}':>12s}  {counts}  {_rate(group.share, group.share_range)}"


def _count(count: Between) -> str:
    return f"{count[0]}" if count[0] == count[1] else f"{count[0]} to {count[1]}"


def _rate(rate: float | None, within: Range) -> str:
    low, high = within
    about = "-" if rate is None else f"{rate:.2f}"
    return f"{about:>5s} {f'{low:.2f}-{high:.2f}':>12s}"
