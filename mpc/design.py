"""What every program has: the joint table with its constant column, and a list of all that it discloses."""

from __future__ import annotations

from typing import Literal, TypeAlias

from mpc.partition import Frozen, Partition
from mpc.scales import MOMENTS

Recipients: TypeAlias = Literal["session"] | tuple[int, ...]


class Opening(Frozen):
    """A value that the program discloses: to whom, how often and how many numbers each time, at most."""

    name: str
    recipients: Recipients
    count: int
    values: int


class Design(Partition):
    """The joint table with its public constant column, which is last, if there is one."""

    fit_intercept: bool

    classes: int = 1  # columns of labels, each a class against the rest; or the one that tells two classes apart

    @property
    def results(self) -> int:
        """Models whose coefficients are disclosed, or whose scores are told."""
        return self.classes

    @property
    def width(self) -> int:
        """Columns with the constant one."""
        return self.columns + self.fit_intercept

    def own(self, rank: int) -> list[int]:
        """Columns of which a party owns entries; the constant one counts as the lowest rank's."""
        held = self.held(rank)
        return [*held, self.width - 1] if rank == 0 and self.fit_intercept else held


class Common(Design):
    """What every program takes over from its specification."""

    max_iter: int
    loss_every: int
    clip_bits: int
    folds: int = 0

    def _results(self) -> list[Opening]:
        """Moments of columns that several parties hold rows of; a column's coefficients go to its owners."""
        groups = self.groups
        found = [
            Opening(name="moments", recipients=group.owners, count=1, values=MOMENTS * len(group.columns))
            for group in groups
            if group.divided
        ]
        found += [
            Opening(name="coefficients", recipients=group.owners, count=1, values=len(group.columns) * self.results)
            for group in groups
        ]
        if self.fit_intercept:
            found.append(Opening(name="intercept", recipients=self.label_owners, count=1, values=self.results))
        return found
