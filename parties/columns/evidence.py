"""Weights of evidence from what an owner is told of its bins: ranges of counts, never counts.

A bin of which nothing is told, or whose range holds the rate of all bins together, weighs 0. Any other weighs what the
middle of its range says: the logarithm of its odds less that of all bins' odds. Both are of training rows alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mpc.evidence import Counted


@dataclass(frozen=True)
class Weights:
    """Of each bin of a column; and what the column says of the label, all in all. Hidden in print."""

    of_bins: tuple[float, ...] = field(repr=False)
    information_value: float = field(repr=False)


def weights(counted: Counted) -> Weights:
    """Of the ranges of both classes' counts, bin by bin. Middles are doubled: integers, so that all decide alike."""
    bins = [_Bin(*each, *others) for each, others in zip(counted.positives, counted.negatives, strict=True)]
    told = [each for each in bins if each.is_told]
    if not told:
        return Weights((0.0,) * len(bins), 0.0)
    positives, negatives = sum(each.positives for each in told), sum(each.negatives for each in told)
    found = tuple(
        0.0 if each.holds(positives, negatives) else math.log(each.positives * negatives / (each.negatives * positives))
        for each in bins
    )
    shares = (each.positives / positives - each.negatives / negatives for each in bins)
    return Weights(found, sum(share * weight for share, weight in zip(shares, found, strict=True)))


@dataclass(frozen=True)
class _Bin:
    """The least and the most that its counts can be."""

    least_positives: int
    most_positives: int
    least_negatives: int
    most_negatives: int

    @property
    def is_told(self) -> bool:
        """Whether a class is known to have rows in it."""
        return self.least_positives > 0 or self.least_negatives > 0

    @property
    def positives(self) -> int:
        """Twice the middle."""
        return self.least_positives + self.most_positives

    @property
    def negatives(self) -> int:
        """Twice the middle."""
        return self.least_negatives + self.most_negatives

    def holds(self, positives: int, negatives: int) -> bool:
        """Whether counts within the ranges can be as these two are to each other."""
        least, most = self.least_positives * negatives, self.most_positives * negatives
        return least <= positives * self.most_negatives and most >= positives * self.least_negatives
