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
    folds: int = 0  # of a cross-validation: of each 2 * folds rows the first are of a fold each, the others weigh


class Crossing(NamedTuple):
    """Rows whose bins one party knows and whose labels another one."""

    column: int  # its place among those that are weighed jointly
    owner: Rank
    labels: Rank
    rows: slice


def fold_period(folds: int, evidence: Evidence | None) -> int:
    """Rows from one of a fold to the next: between them lie those of other folds, and as many that only weigh."""
    return folds if evidence is None else 2 * folds


def weighing_before(evidence: Evidence, row: int) -> int:
    """How many rows before this one the columns are weighed by: all of them, or those that no fold has."""
    if not evidence.folds:
        return row
    whole, more = divmod(row, fold_period(evidence.folds, evidence))
    return whole * evidence.folds + max(0, more - evidence.folds)


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
    rows = weighing_before(evidence, partition.rows)
    return told(partition, evidence) * len(marks(rows, evidence.smallest_cell))


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
    """What takes products between parties, column by column, in strips of the rows that weigh."""
    if evidence is None:
        return
    for place, weighed in enumerate(jointly(partition, evidence)):
        strip = max(1, STRIP_CELLS // weighed.bins)
        for block in partition.blocks:
            if not block.columns[0] <= weighed.column < block.columns[1]:
                continue
            for part in partition.labels:
                common = max(block.rows[0], part.rows[0]), min(block.rows[1], part.rows[1])
                begin, end = (weighing_before(evidence, row) for row in common)
                if part.owner == block.owner:
                    continue
                for start in range(begin, end, strip):
                    yield Crossing(place, block.owner, part.owner, slice(start, min(start + strip, end)))


def bin_marks(rows: int, cell: int) -> tuple[int, ...]:
    """What a bin's positives are held against; none where it has too few rows to tell anything."""
    return marks(rows, cell) if 2 * cell <= rows + 1 else ()


def public_marks(partition: Partition, evidence: Evidence) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What positives and negatives are held against where nobody knows how many rows a bin has."""
    facts = weighing_before(evidence, partition.rows), evidence.smallest_cell
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
            action="leave out weight_of_evidence (one-hot and bins serve all classes), or name one positive class",
        )
    if evidence.folds != folds:
        raise ProgramError(f"columns are weighed beside {evidence.folds} folds, and {folds} are left out")
    if evidence.smallest_cell < LEAST_CELL:
        raise ProgramError(
            f"a smallest cell of {evidence.smallest_cell} rows", action=f"choose one of {LEAST_CELL} rows at least"
        )
    rows = weighing_before(evidence, partition.rows)
    if rows + 1 < 2 * evidence.smallest_cell:
        raise ProgramError(
            f"{rows} training rows{' outside the folds' if folds else ''} are less than two cells of"
            f" {evidence.smallest_cell}: nothing can be told",
            action="bring more rows, choose a smaller cell, or encode the columns in another way",
        )
