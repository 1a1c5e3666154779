"""What a program tells of means of columns with gaps that several parties have rows of: to whom, how many numbers.

The columns are raw, as those of quantiles are: a gap is filled before there is a table (mpc/PARTITIONS.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, TypeAlias

from pydantic import Field

from mpc.design import Opening
from mpc.errors import ProgramError
from mpc.partition import Partition, Rank
from mpc.scales import MEANS

Owners: TypeAlias = Annotated[tuple[Rank, ...], Field(min_length=2)]  # who has values of a column
Means: TypeAlias = tuple[Owners, ...]  # of each column whose mean is told


def by_owners(means: Means) -> dict[tuple[int, ...], list[int]]:
    """Places of columns, by who is told of them."""
    found: dict[tuple[int, ...], list[int]] = {}
    for place, owners in enumerate(means):
        found.setdefault(owners, []).append(place)
    return found


def averaging(means: Means) -> Iterable[Opening]:
    """What owners are told of their columns' values that are there: their sum, and how many they are."""
    for owners, places in by_owners(means).items():
        yield Opening(name="means", recipients=owners, count=1, values=MEANS * len(places))


def check_means(partition: Partition, means: Means) -> None:
    """Raises: ProgramError for owners that are none, or out of order."""
    for owners in means:
        if sorted(set(owners)) != list(owners) or not set(owners) <= partition.owners:
            raise ProgramError("the owners of a column whose mean is told are none, or out of order")
