"""What parties send each other beside the program, by rank: what they compare before it runs, a goodbye after it.

The engine declares what its program costs; a contract's quote has both, so that it is what a run's channels count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from parties.columns.division import Division, HasRows

if TYPE_CHECKING:
    from mpc.costs import Cost

COUNT_BYTES = 8  # of rows, beside the digest of their ids
DIGEST_BYTES = 32
RECORD_BYTES = 16  # of a record's digest: no two of a table's meet

Costs: TypeAlias = tuple["Cost", ...]  # of each party


def goodbye(parties: int) -> Costs:
    """An empty frame to everybody."""
    return tuple(_round(parties - 1, 0) for _ in range(parties))


def comparing_ids(division: Division, parties: Sequence[HasRows]) -> Costs:
    """What finds out whose records are in which row; nothing where nobody has another's."""
    from mpc.costs import Cost

    if not division.divided:
        return tuple(_round(len(parties) - 1, COUNT_BYTES + DIGEST_BYTES) for _ in parties)
    if not division.whole:  # divided by rows alone
        return tuple(Cost() for _ in parties)
    return tuple(_joining(division, parties, rank) for rank in range(len(parties)))


def _joining(division: Division, parties: Sequence[HasRows], rank: int) -> Cost:
    """Sums to partners, totals to everybody, other columns' partners of the same part; a commitment; the records."""
    from mpc.costs import Cost, commitment

    tellers, is_divided = division.divided[0], division.is_divided(rank)
    found = _round(len(division.side(rank)) - 1, DIGEST_BYTES) + _round(len(parties) - 1, DIGEST_BYTES)
    if len(division.divided) > 1 and is_divided:
        found += _round(len(division.divided) - 1, COUNT_BYTES + DIGEST_BYTES)
    told = _round(len(division.whole), RECORD_BYTES * parties[rank].rows) if rank in tellers else Cost(1)
    return found + commitment(len(parties)) + told


def comparing_classes(parties: int, holders: Sequence[int]) -> Costs:
    """Each pair of those who have labels compares its classes."""
    from mpc.costs import Cost

    compared = _round(len(holders) - 1, DIGEST_BYTES) if len(holders) > 1 else Cost()
    return tuple(compared if rank in holders else Cost() for rank in range(parties))


def telling_levels(division: Division, levels: Sequence[int]) -> Costs:
    """After a commitment row-wise partners tell each other so many levels each, by rank, and compare what all take."""
    from mpc.costs import Cost, commitment
    from parties.columns.levels import LEVEL_BYTES

    if not any(levels):
        return tuple(Cost() for _ in levels)
    found = []
    for rank, count in enumerate(levels):
        partners, told = len(division.side(rank)) - 1, Cost()
        if count:
            told = _round(partners, LEVEL_BYTES * count) + _round(partners, DIGEST_BYTES)
        found.append(commitment(len(levels)) + told)
    return tuple(found)


def total(*costs: Costs) -> Costs:
    from mpc.costs import total

    return tuple(total(each) for each in zip(*costs, strict=True))


def _round(peers: int, payload: int) -> Cost:
    """One in which a party sends so many bytes to so many peers."""
    from mpc.costs import opening  # which loads numpy: a client that only reads contracts needs none

    return opening(peers + 1, payload)
