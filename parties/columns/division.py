"""How the joint table is divided among the parties: what plan and contract say of it, and what follows.

Each party has one rectangle. Parties that share columns have rows of their own of them: they are *row-wise partners*,
and the rows of each are a *part* of the joint table's. Parties of other columns have the rows of all parts. So a table
is divided by columns (one part), by rows (one set of columns), or in blocks (both).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, pairwise
from typing import Literal, Protocol, TypeAlias

from mpc.partition import Block, LabelRows, Partition, labels_of

Kind: TypeAlias = Literal["columns", "rows", "blocks"]
KINDS: tuple[Kind, ...] = ("columns", "rows", "blocks")


class HasFeatures(Protocol):
    """A party of a plan or of a contract."""

    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> tuple[str, ...]: ...


class HasRows(HasFeatures, Protocol):
    """A party of a contract."""

    @property
    def rows(self) -> int: ...


@dataclass(frozen=True)
class Division:
    """Parties by the columns that they have, in the order of the joint table's; each by its rank."""

    sides: tuple[tuple[int, ...], ...]  # of several parties: these have one part of the rows each, in this order

    @classmethod
    def of(cls, kind: Kind, parties: Sequence[HasFeatures]) -> Division:
        ranks = range(len(parties))
        if kind == "columns":
            return cls(tuple((rank,) for rank in ranks))
        found: dict[tuple[str, ...], list[int]] = {}
        for rank in ranks:
            found.setdefault(parties[rank].columns, []).append(rank)
        return cls(tuple(map(tuple, found.values())))

    @property
    def parts(self) -> int:
        """Of the joint table's rows."""
        return max(map(len, self.sides))

    @property
    def divided(self) -> tuple[tuple[int, ...], ...]:
        """Row-wise partners."""
        return tuple(side for side in self.sides if len(side) > 1)

    @property
    def whole(self) -> tuple[int, ...]:
        """Parties that have the rows of all parts."""
        return tuple(side[0] for side in self.sides if len(side) == 1)

    def side(self, rank: int) -> tuple[int, ...]:
        """The parties that have this one's columns, itself among them."""
        return next(side for side in self.sides if rank in side)

    def is_divided(self, rank: int) -> bool:
        """Whether others have rows of this party's columns."""
        return len(self.side(rank)) > 1

    def parts_of(self, rank: int) -> range:
        """The parts whose rows a party has."""
        side = self.side(rank)
        return range(self.parts) if len(side) == 1 else range(side.index(rank), side.index(rank) + 1)

    def of_part(self, part: int) -> Division:
        """The same of one part's records alone: of row-wise partners only one has them."""
        return Division(tuple((side[0] if len(side) == 1 else side[part],) for side in self.sides))

    def counts(self, parties: Sequence[HasRows]) -> tuple[int, ...]:
        """Rows of each part."""
        return tuple(parties[rank].rows for rank in self._longest)

    @property
    def _longest(self) -> tuple[int, ...]:
        return next(side for side in self.sides if len(side) == self.parts)

    def check_rows(self, parties: Sequence[HasRows]) -> None:
        """Raises: ValueError unless each part has as many rows everywhere."""
        counts = self.counts(parties)
        for side in self.sides:
            if [parties[rank].rows for rank in side] != ([sum(counts)] if len(side) == 1 else list(counts)):
                have = (
                    ", ".join(f"{parties[rank].name} {parties[rank].rows}" for rank in each)
                    for each in (self._longest, side)
                )
                raise ValueError(
                    f"the parties' data sets differ in rows: {', but '.join(have)}; all must hold the same records"
                )

    def partition(self, counts: Sequence[int], widths: Sequence[int], holders: Sequence[int]) -> Partition:
        """The engine's: so many rows of each part, so many columns of each party, labels of one or of partners."""
        total, spans = sum(counts), list(pairwise(accumulate(counts, initial=0)))
        places = pairwise(accumulate((widths[side[0]] for side in self.sides), initial=0))
        blocks = [
            Block(owner=rank, rows=(0, total) if len(side) == 1 else spans[part], columns=columns)
            for side, columns in zip(self.sides, places, strict=True)
            for part, rank in enumerate(side)
            if columns[0] < columns[1]
        ]
        labels = (
            labels_of(total, holders[0])
            if len(holders) == 1
            else tuple(LabelRows(owner=rank, rows=span) for rank, span in zip(holders, spans, strict=True))
        )
        return Partition(rows=total, blocks=tuple(blocks), labels=labels)


def check_blocks(parties: Sequence[HasFeatures], holders: Sequence[str]) -> None:
    """Raises: ValueError unless columns make blocks, and the label is of one party of all parts or of all partners."""
    for one, other in combinations(parties, 2):
        _check_pair(one, other)
    division = Division.of("blocks", parties)
    names = [[parties[rank].name for rank in side] for side in division.sides]
    if not division.divided:
        raise ValueError('parties: no two have the same columns; write partition = "columns"')
    if len(division.sides) == 1:
        raise ValueError('parties: all have the same columns; write partition = "rows"')
    if not division.whole:
        raise ValueError("parties: in blocks one at least has columns of all records, alone")
    if len({len(side) for side in division.divided}) > 1:
        shared = " and ".join(", ".join(side) for side in names if len(side) > 1)
        raise ValueError(f"parties: {shared} divide their columns among different numbers of parties")
    _check_holders(names, holders)


def _check_pair(one: HasFeatures, other: HasFeatures) -> None:
    if one.columns == other.columns:
        return
    if set(one.columns) == set(other.columns):
        raise ValueError(f"parties: the columns of '{other.name}' are those of '{one.name}' in another order")
    if common := sorted(set(one.columns) & set(other.columns)):
        raise ValueError(
            f"parties: '{one.name}' and '{other.name}' share column '{common[0]}' and not all; in blocks two parties"
            " have the same columns or none in common"
        )


def _check_holders(sides: list[list[str]], holders: Sequence[str]) -> None:
    if not holders:
        raise ValueError("label.party: is missing")
    if list(holders) in sides:
        return
    for side in sides:
        if holders[0] in side:
            raise ValueError(f"label.party: name {', '.join(side)}, in this order: together they have all records")
    raise ValueError(f"label.party: '{holders[0]}' is not one of the parties")
