"""What a program tells of quantiles of columns that several parties have rows of: of which, to whom, how many.

The columns are raw: what they become is a matter of the table, and these numbers decide it (mpc/PARTITIONS.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from mpc.curves import LEAST_CELL, USUAL_CELL
from mpc.design import Opening
from mpc.errors import ProgramError
from mpc.partition import Frozen, Partition, Rank

MOST_QUANTILES = 1 << 14  # of all columns
MOST_DENOMINATOR = 10**9  # times 2**28 rows it is below 2**62, as comparisons ask
DIGIT_BITS = 6  # of a quantile that are told at once
DIGITS = 4  # sign and exponent of a double, and 12 bits of its fraction
MARKS = (1 << DIGIT_BITS) - 1  # numbers that a quantile is held against at once


class Ranked(Frozen):
    """A column, by who has values of it, and which of its quantiles they are told, ascending: each a fraction."""

    owners: Annotated[tuple[Rank, ...], Field(min_length=2)]
    quantiles: Annotated[tuple[tuple[int, int], ...], Field(min_length=1)]

    @property
    def fractions(self) -> tuple[Fraction, ...]:
        return tuple(Fraction(*each) for each in self.quantiles)


class Quantiles(Frozen):
    """Columns whose quantiles are told; training rows, at least, from one quantile to the next and to either end."""

    columns: Annotated[tuple[Ranked, ...], Field(min_length=1)]
    smallest_cell: int = USUAL_CELL

    @property
    def count(self) -> int:
        """Of all columns."""
        return sum(len(each.quantiles) for each in self.columns)


def compared_words(quantiles: Quantiles | None) -> int:
    """What is compared for one digit of all quantiles."""
    return 0 if quantiles is None else MARKS * quantiles.count


def by_owners(quantiles: Quantiles) -> dict[tuple[int, ...], list[int]]:
    """Places of columns, by who is told of them."""
    found: dict[tuple[int, ...], list[int]] = {}
    for place, each in enumerate(quantiles.columns):
        found.setdefault(each.owners, []).append(place)
    return found


def ranking(quantiles: Quantiles | None) -> Iterable[Opening]:
    """What owners are told of their columns' joint quantiles: digit by digit, of all their columns at once."""
    if quantiles is None:
        return
    for owners, places in by_owners(quantiles).items():
        values = sum(len(quantiles.columns[place].quantiles) for place in places)
        yield Opening(name="quantiles", recipients=owners, count=DIGITS, values=values)


def _ends(column: Ranked) -> tuple[Fraction, ...]:
    return (Fraction(0), *column.fractions, Fraction(1))


def check_quantiles(partition: Partition, quantiles: Quantiles | None) -> None:
    """Raises: ProgramError for what can't be told."""
    if quantiles is None:
        return
    cell = quantiles.smallest_cell
    if cell < LEAST_CELL:
        raise ProgramError(f"a smallest cell of {cell} rows", action=f"choose one of {LEAST_CELL} rows at least")
    if quantiles.count > MOST_QUANTILES:
        raise ProgramError(f"{quantiles.count} quantiles are more than {MOST_QUANTILES}", action="ask for fewer")
    for each in quantiles.columns:
        if sorted(set(each.owners)) != list(each.owners) or not set(each.owners) <= partition.owners:
            raise ProgramError("the owners of a column whose quantiles are told are none, or out of order")
        if not all(0 < part < whole <= MOST_DENOMINATOR for part, whole in each.quantiles):
            raise ProgramError("a quantile lies above 0 and below 1", action="choose one within")
        if any((high - low) * partition.rows < cell for low, high in pairwise(_ends(each))):
            raise ProgramError(
                f"of {partition.rows} training rows fewer than {cell} lie from one quantile to the next, or to an end",
                action="choose fewer bins, quantiles further inside, or a smaller cell",
            )
