"""The program of a matching: records of several parties, of which each is told which of its own all have.

An estimate compares a random sample, and tells nothing but how many records are common, about. Its rounds are those of
`parties.psi`; the engine computes nothing, and the dealer has nothing to deal.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Annotated, Literal

from pydantic import Field

from mpc.design import Opening
from mpc.errors import ProgramError
from mpc.partition import Frozen

SHARD_RECORDS = 1 << 16
SAMPLE_RECORDS = 1 << 14  # of the shortest list that an estimate compares, and half of a list that is shorter
LEAST_STEP = 10  # of an estimate's count
STEP_PART = 20  # of the shortest list: an estimate's count is told in steps of at least such a part
MAX_RECORDS = 1 << 28
MOST_PARTIES = 16


class Matching(Frozen):
    """Lists of records, one a party. How much is sent follows from how long each may be, and from no data."""

    engine: Literal["matching"] = "matching"
    sizes: Annotated[tuple[int, ...], Field(min_length=2, max_length=MOST_PARTIES)]  # of each party, at most, by rank
    shard_records: int = SHARD_RECORDS  # of the shortest list: what is in memory at once, and what is counted apart
    one_in: Annotated[int, Field(ge=1)] = 1  # an estimate compares one record of so many, by their keyed digests
    round_to: Annotated[int, Field(ge=0)] = 0  # and tells the number of common ones in such steps; 0: no estimate

    @property
    def world(self) -> int:
        return len(self.sizes)

    @property
    def is_estimate(self) -> bool:
        return self.one_in > 1

    @property
    def groups(self) -> int:
        """Of two parties or more, each of which has a number of common records."""
        return (1 << self.world) - self.world - 1

    @property
    def shards(self) -> int:
        """As many as fill each with records of the shortest list: what is counted apart is never a few records."""
        return 1 if self.is_estimate else max(1, min(self.sizes) // self.shard_records)

    @property
    def rooms(self) -> tuple[int, ...]:
        """How many points a shard of each party's list has."""
        parts = self.one_in if self.is_estimate else self.shards
        return tuple(capacity(size, parts) for size in self.sizes)

    def estimated(self, sampled: int) -> int:
        """How many records are common, about, if so many of the sample are: a multiple of the step."""
        return (sampled * self.one_in + self.round_to // 2) // self.round_to * self.round_to

    def disclosures(self) -> tuple[Opening, ...]:
        """Counts to every party; then, of its own records, to each, which all parties have.

        Of an estimate counts of the sample to every party, and the rounded one to the session.
        """
        everybody = tuple(range(self.world))
        if self.is_estimate:
            return (
                Opening(name="sample-matches", recipients=everybody, count=1, values=self.groups),
                Opening(name="estimate", recipients="session", count=1, values=1),
            )
        return (
            Opening(name="matches", recipients=everybody, count=1, values=self.groups * self.shards),
            *(Opening(name="matched", recipients=(rank,), count=1, values=min(self.sizes)) for rank in everybody),
        )


def derive_matching(sizes: Sequence[int], *, estimate: bool = False) -> Matching:
    """The program that follows from the parties' numbers of records. Raises: ProgramError for what can't be matched."""
    if not 2 <= len(sizes) <= MOST_PARTIES:
        raise ProgramError(f"{len(sizes)} parties can't match records", action=f"name 2 to {MOST_PARTIES}")
    if min(sizes) < 1 or max(sizes) > MAX_RECORDS:
        raise ProgramError(f"a list has 1 to {MAX_RECORDS} records", action="match fewer records at once")
    if not estimate:
        return Matching(sizes=tuple(sizes))
    one_in = max(2, min(sizes) // SAMPLE_RECORDS)
    return Matching(sizes=tuple(sizes), one_in=one_in, round_to=step(min(sizes)))


def step(size: int) -> int:
    """What an estimate is rounded to: 1, 2 or 5 times a power of ten."""
    wanted = max(LEAST_STEP, -(-size // STEP_PART))
    power = 10 ** (len(str(wanted)) - 1)
    return next(int(first * power) for first in (1, 2, 5, 10) if first * power >= wanted)


def capacity(size: int, count: int) -> int:
    """Room of one of `count` shards of so many records spread at random: its mean and seven deviations."""
    return size if count == 1 else -(-size // count) + 7 * isqrt(-(-size // count)) + 1
