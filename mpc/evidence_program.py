"""What a program tells of columns that are weighed by the label: which, to whom, and how many words it takes.

All of it follows from the partition and from numbers of bins: no count stands here (mpc/EVIDENCE.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple

from pydantic import Field

from mpc.curves import LEAST_CELL, USUAL_CELL, marks, mirrored
from mpc.design import Opening
from mpc.errors import ProgramError
from mpc.partition import Frozen, Partition, Rank

VALUE_STEPS = 1000  # of an information value of 1
MOST_WEIGHED = 1024  # columns
MOST_BINS = 1024  # of one
STRIP_CELLS = 1 << 22  # bins of so many rows are masked and sent at once


class Weighed(Frozen):
    """A column of the joint table, and how many bins it has."""

    column: Annotated[int, Field(ge=0)]
    bins: Annotated[int, Field(ge=2, le=MOST_BINS)]


class Evidence(Frozen):
    """Columns that are weighed, ascending; rows that a step of a told count stands for; what all are told besides."""

    columns: Annotated[tuple[Weighed, ...], Field(min_length=1, max_length=MOST_WEIGHED)]
    smallest_cell: int = USUAL_CELL
    tells_values: bool = False  # whether the session is told each column's information value


class Crossing(NamedTuple):
    """Rows whose bins one party knows and whose labels another one."""

    column: int  # its place among those that are weighed jointly
    owner: Rank
    labels: Rank
    rows: slice


def owners_of(partition: Partition, column: int) -> tuple[int, ...]:
    """Who owns rows of a column, by rank."""
    return next(group.owners for group in partition.groups if column in group.columns)


def jointly(partition: Partition, evidence: Evidence | None) -> tuple[Weighed, ...]:
    """The columns whose owner does not hold all labels itself: who does needs nobody's help."""
    found = () if evidence is None else evidence.columns
    own = partition.label_owners
    return tuple(each for each in found if len(own) > 1 or owners_of(partition, each.column) != own)


def counts_of(partition: Partition, weighed: Weighed) -> int:
    """Counts that are told of a column: a lone owner, who knows how many rows a bin has, needs those of one class."""
    return weighed.bins * min(2, len(owners_of(partition, weighed.column)))


def by_owners(partition: Partition, columns: Sequence[Weighed]) -> dict[tuple[int, ...], list[int]]:
    """Places of columns among these, by who is told of them."""
    found: dict[tuple[int, ...], list[int]] = {}
    for place, each in enumerate(columns):
        found.setdefault(owners_of(partition, each.column), []).append(place)
    return found


def told(partition: Partition, evidence: Evidence | None) -> int:
    """Counts that are told in all."""
    return sum(counts_of(partition, each) for each in jointly(partition, evidence))


def compared_words(partition: Partition, evidence: Evidence | None) -> int:
    """Each count with each mark."""
    if evidence is None:
        return 0
    return told(partition, evidence) * len(marks(partition.rows, evidence.smallest_cell))


def weighing(partition: Partition, evidence: Evidence | None) -> list[Opening]:
    """What owners are told of the labels in their columns' bins, and all of the columns."""
    if evidence is None:
        return []
    columns = jointly(partition, evidence)
    found = []
    for owners, places in by_owners(partition, columns).items():
        values = sum(counts_of(partition, columns[place]) for place in places)
        found.append(Opening(name="weight-of-evidence", recipients=owners, count=1, values=values))
    if evidence.tells_values:
        values = len(evidence.columns)
        found.append(Opening(name="information-value", recipients="session", count=1, values=values))
    return found


def crossings(partition: Partition, evidence: Evidence | None) -> Iterator[Crossing]:
    """What takes products between parties, column by column, in strips of rows."""
    for place, weighed in enumerate(jointly(partition, evidence)):
        strip = max(1, STRIP_CELLS // weighed.bins)
        for block in partition.blocks:
            if not block.columns[0] <= weighed.column < block.columns[1]:
                continue
            for part in partition.labels:
                begin, end = max(block.rows[0], part.rows[0]), min(block.rows[1], part.rows[1])
                if part.owner == block.owner:
                    continue
                for start in range(begin, end, strip):
                    yield Crossing(place, block.owner, part.owner, slice(start, min(start + strip, end)))


def bin_marks(rows: int, cell: int) -> tuple[int, ...]:
    """What a bin's positives are held against; none where it has too few rows to tell anything."""
    return marks(rows, cell) if 2 * cell <= rows + 1 else ()


def public_marks(partition: Partition, evidence: Evidence) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What positives and negatives are held against where nobody knows how many rows a bin has."""
    facts = partition.rows, evidence.smallest_cell
    return marks(*facts), mirrored(*facts)


def check_evidence(partition: Partition, evidence: Evidence | None, classes: int, folds: int) -> None:
    """Raises: ProgramError for what can't be weighed."""
    if evidence is None:
        return
    places = [each.column for each in evidence.columns]
    if sorted(set(places)) != places or places[-1] >= partition.columns:
        raise ProgramError("columns to be weighed stand twice, out of order, or not in the table")
    if classes > 1:
        raise ProgramError(
            f"weight of evidence is of two classes: counts of {classes} would add up, and tell more than a cell hides",
            action="name one positive class, or encode the columns as one-hot",
        )
    if folds:
        raise ProgramError(
            "weight of evidence comes of the labels of all training rows, so of those that a fold leaves out; weights"
            " of each fold's own would take counts whose differences tell more than a cell hides",
            action="leave out folds and compare held-out figures of several C, or encode the columns as one-hot",
        )
    if evidence.smallest_cell < LEAST_CELL:
        raise ProgramError(
            f"a smallest cell of {evidence.smallest_cell} rows", action=f"choose one of {LEAST_CELL} rows at least"
        )
    if partition.rows + 1 < 2 * evidence.smallest_cell:
        raise ProgramError(
            f"{partition.rows} training rows are less than two cells of {evidence.smallest_cell}: nothing can be told",
            action="bring more rows, choose a smaller cell, or encode the columns in another way",
        )
