"""Who owns which part of the joint table: blocks that tile it exactly once, and the labels' rows likewise.

A block is a rectangle with one owner. Columns of all rows (a vertical partition), rows of all columns (a horizontal
one) and any mixture are lists of blocks; one formula for each product serves them all (mpc/blocks.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, combinations, pairwise
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from mpc.errors import ProgramError

Span: TypeAlias = tuple[int, int]  # from the first up to but not including the last
Rank: TypeAlias = Annotated[int, Field(ge=0, lt=64)]

MAX_BLOCKS = 1024


class Frozen(BaseModel):
    """What a program consists of: unknown keys are errors, values do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Block(Frozen):
    """A party's rectangle of the joint table."""

    owner: Rank
    rows: Span
    columns: Span

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]

    @property
    def cells(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def place(self) -> tuple[slice, slice]:
        """The rectangle as an index of the joint table."""
        return slice(*self.rows), slice(*self.columns)


class LabelRows(Frozen):
    """Rows whose labels one party owns."""

    owner: Rank
    rows: Span

    @property
    def place(self) -> slice:
        return slice(*self.rows)

    @property
    def count(self) -> int:
        return self.rows[1] - self.rows[0]


class Group(Frozen):
    """Columns that the same parties own entries of: what becomes of them is told to all of these."""

    owners: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def divided(self) -> bool:
        """Whether several parties own rows of these columns."""
        return len(self.owners) > 1


class Partition(Frozen):
    """The joint table's training rows, divided among parties."""

    rows: int
    blocks: Annotated[tuple[Block, ...], Field(max_length=MAX_BLOCKS)]
    labels: Annotated[tuple[LabelRows, ...], Field(max_length=MAX_BLOCKS)]

    @property
    def columns(self) -> int:
        """Feature columns of all parties, without the intercept's."""
        return max((block.columns[1] for block in self.blocks), default=0)

    @property
    def world(self) -> int:
        """How many parties there are."""
        return 1 + max(self.owners, default=-1)

    @property
    def owners(self) -> set[int]:
        """Who owns an entry or a label."""
        return {block.owner for block in self.blocks} | {part.owner for part in self.labels}

    @property
    def label_owners(self) -> tuple[int, ...]:
        """Who owns labels, in order of rank."""
        return tuple(sorted({part.owner for part in self.labels}))

    @property
    def groups(self) -> tuple[Group, ...]:
        """Columns by who owns entries of them, in the order of the first column of each."""
        owners: list[set[int]] = [set() for _ in range(self.columns)]
        for block in self.blocks:
            for column in range(*block.columns):
                owners[column].add(block.owner)
        found: dict[tuple[int, ...], list[int]] = {}
        for column, ranks in enumerate(owners):
            found.setdefault(tuple(sorted(ranks)), []).append(column)
        return tuple(Group(owners=ranks, columns=tuple(places)) for ranks, places in found.items())

    def held(self, rank: int) -> list[int]:
        """Columns of which a party owns entries, ascending."""
        return sorted({column for block in self.of(rank) for column in range(*block.columns)})

    def of(self, rank: int) -> list[Block]:
        """A party's blocks."""
        return [block for block in self.blocks if block.owner == rank]

    def places(self, rank: int) -> list[tuple[slice, slice]]:
        """A party's blocks as indices of the columns that it holds."""
        held = self.held(rank)
        starts = [held.index(block.columns[0]) for block in self.of(rank)]
        return [
            (block.place[0], slice(start, start + block.shape[1]))
            for start, block in zip(starts, self.of(rank), strict=True)
        ]

    def cells(self, rank: int) -> int:
        """Entries of the table that a party owns."""
        return sum(block.cells for block in self.of(rank))

    def labelled(self, rank: int) -> int:
        """Rows whose labels a party owns."""
        return sum(part.count for part in self.labels if part.owner == rank)


def vertical(rows: int, columns: Sequence[int]) -> tuple[Block, ...]:
    """All rows, so many columns of each party; a party of none has no block."""
    spans = pairwise(accumulate(columns, initial=0))
    return tuple(
        Block(owner=rank, rows=(0, rows), columns=span) for rank, span in enumerate(spans) if span[0] < span[1]
    )


def horizontal(rows: Sequence[int], columns: int) -> tuple[Block, ...]:
    """All columns, so many rows of each party."""
    spans = pairwise(accumulate(rows, initial=0))
    return tuple(Block(owner=rank, rows=span, columns=(0, columns)) for rank, span in enumerate(spans))


def labels_of(rows: int, owner: int) -> tuple[LabelRows, ...]:
    """One party owns all labels."""
    return (LabelRows(owner=owner, rows=(0, rows)),)


def labels_with(blocks: Iterable[Block]) -> tuple[LabelRows, ...]:
    """Each label belongs to the owner of a block of its row; of blocks that don't share rows."""
    return tuple(LabelRows(owner=block.owner, rows=block.rows) for block in blocks)


def within(span: Span, rows: slice) -> slice:
    """The part of a span that lies among some rows, counted from the first of these; it may be empty."""
    begin = max(span[0], rows.start)
    return slice(begin - rows.start, max(begin, min(span[1], rows.stop)) - rows.start)


def check(partition: Partition) -> None:
    """Raises: ProgramError unless blocks tile the table, labels its rows, and every party owns something."""
    check_blocks(partition)
    _check_labels(partition)
    _check_parties(partition)


def check_blocks(partition: Partition) -> None:
    """Raises: ProgramError unless blocks tile the table."""
    for block in partition.blocks:
        if not (0 <= block.rows[0] < block.rows[1] <= partition.rows and 0 <= block.columns[0] < block.columns[1]):
            raise ProgramError(f"a block of party {block.owner} is empty or lies outside the table: {_text(block)}")
    for one, other in combinations(partition.blocks, 2):
        if _meet(one.rows, other.rows) and _meet(one.columns, other.columns):
            raise ProgramError(
                f"blocks of party {one.owner} and party {other.owner} overlap: {_text(one)}, and {_text(other)}"
            )
    covered, cells = sum(block.cells for block in partition.blocks), partition.rows * partition.columns
    if covered != cells:
        raise ProgramError(f"{cells - covered} of the table's {cells} entries are in no party's block")


def _check_labels(partition: Partition) -> None:
    end = 0
    for part in sorted(partition.labels, key=lambda part: part.rows):
        first, last = part.rows
        if not 0 <= first < last <= partition.rows:
            raise ProgramError(f"labels of party {part.owner} are of no row of the table: {first} to {last}")
        if first < end:
            raise ProgramError(f"labels of rows {first} to {min(end, last)} have two owners")
        if first > end:
            break
        end = last
    if end != partition.rows:
        raise ProgramError(f"labels of the rows from {end} on have no owner")


def _check_parties(partition: Partition) -> None:
    idle = [str(rank) for rank in range(partition.world) if rank not in partition.owners]
    if idle:
        raise ProgramError(f"party {', '.join(idle)} owns no entry of the table and no label")
    if partition.world < 2:
        raise ProgramError("a table needs the data of two parties at least")


def _meet(one: Span, other: Span) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])


def _text(block: Block) -> str:
    return f"rows {block.rows[0]} to {block.rows[1]}, columns {block.columns[0]} to {block.columns[1]}"
