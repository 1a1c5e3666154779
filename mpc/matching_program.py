"""The program of a matching: records of several parties, of which each is told which of its own all have.

Its rounds are those of `parties.psi`; the engine computes nothing, and the dealer has nothing to deal.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Annotated, Literal

from pydantic import Field

from mpc.errors import ProgramError
from mpc.partition import Frozen
from mpc.program import Opening

SHARD_RECORDS = 1 << 16
MAX_RECORDS = 1 << 28
MOST_PARTIES = 16


class Matching(Frozen):
    """Lists of records, one a party. How much is sent follows from how long each may be, and from no data."""

    engine: Literal["matching"] = "matching"
    sizes: Annotated[tuple[int, ...], Field(min_length=2, max_length=MOST_PARTIES)]  # of each party, at most, by rank
    shard_records: int = SHARD_RECORDS  # of the shortest list: what is in memory at once, and what is counted apart

    @property
    def world(self) -> int:
        return len(self.sizes)

    @property
    def groups(self) -> int:
        """Of two parties or more, each of which has a number of common records."""
        return (1 << self.world) - self.world - 1

    @property
    def shards(self) -> int:
        """As many as fill each with records of the shortest list: what is counted apart is never a few records."""
        return max(1, min(self.sizes) // self.shard_records)

    @property
    def rooms(self) -> tuple[int, ...]:
        """How many points a shard of each party's list has."""
        return tuple(capacity(size, self.shards) for size in self.sizes)

    def disclosures(self) -> tuple[Opening, ...]:
        """Counts to every party; then, of its own records, to each, which all parties have."""
        everybody = tuple(range(self.world))
        return (
            Opening(name="matches", recipients=everybody, count=1, values=self.groups * self.shards),
            *(Opening(name="matched", recipients=(rank,), count=1, values=min(self.sizes)) for rank in everybody),
        )


def derive_matching(sizes: Sequence[int]) -> Matching:
    """The program that follows from the parties' numbers of records. Raises: ProgramError for what can't be matched."""
    if not 2 <= len(sizes) <= MOST_PARTIES:
        raise ProgramError(f"{len(sizes)} parties can't match records", action=f"name 2 to {MOST_PARTIES}")
    if min(sizes) < 1 or max(sizes) > MAX_RECORDS:
        raise ProgramError(f"a list has 1 to {MAX_RECORDS} records", action="match fewer records at once")
    return Matching(sizes=tuple(sizes))


def capacity(size: int, count: int) -> int:
    """Room of one of `count` shards of so many records spread at random: its mean and seven deviations."""
    return size if count == 1 else -(-size // count) + 7 * isqrt(-(-size // count)) + 1
