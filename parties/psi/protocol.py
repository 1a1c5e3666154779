"""Which records all parties have, found over the session's channels; the same row order at each of them.

Every party's elements go round: each party raises them to its secret and shuffles them, so that after the round they
are encrypted by all and nobody knows whose record is which. Then all see all encrypted lists and count what they have
in common. Only if that is enough each takes its shuffles back, for the common ones alone. docs/matching.md has the
proof and who learns what.
Source: Huberman, Franklin, Hogg 1999 (two parties); differs: shuffled lists, commitments, and rows only after a count.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from mpc.channel import Channel
from mpc.errors import ProtocolError
from mpc.frames import Array
from parties.errors import DataError
from parties.psi.curve import POINT_BYTES, Cipher, Points
from parties.psi.rules import ELEMENT_BYTES, MatchRules, Records

SHARD_RECORDS = 1 << 16  # of the shortest list, at most; what is in memory at once, and what is counted apart
MAX_RECORDS = 1 << 28
DUMMY = -1
Indices = NDArray[np.int64]


class TooFewMatches(DataError):
    """Fewer common records than agreed: nobody learns which they are."""

    code = "data.too-few-matches"


@dataclass(frozen=True, repr=False, eq=False)
class Matched:
    """This party's rows that all parties have, in an order that is the same at all; printing shows their number.

    Shapes: rows (matches,). The order tells nothing: it is that of the encrypted elements.
    """

    rows: Indices

    def __repr__(self) -> str:
        return f"Matched({len(self.rows)})"


@dataclass(repr=False, eq=False)
class _Shard:
    """One shard's lists, as this party has them."""

    places: Indices  # of the own list as it was sent: which record, or DUMMY
    shuffles: list[Indices] = field(default_factory=list)  # of the lists that came by, hop by hop
    final: Points | None = None  # of the next party, encrypted by all


def match(
    channel: Channel, key: bytes, records: Records, rules: MatchRules, names: Sequence[str], workers: int | None = None
) -> Matched:
    """Every party calls this at the same time, with a key that only they share.

    Cost: 90 us of computing a record of every party, over `workers` threads (all cores by default); 33 bytes a record
    sent for each party, once more to each peer, and 4 bytes a match; memory 33 bytes a record of all parties.
    Reveals: each party's number of records; of every shard how many records each group of parties has in common; and,
    if all have at least `rules.minimum`, which of its own records these are, to each party.
    Raises: TooFewMatches; ProtocolError if a peer has other rules or does not keep to the protocol; PeerLost.
    """
    cipher = Cipher(workers or os.cpu_count() or 1)
    try:
        run = _Run(channel, key, records, rules, names, cipher)
        return run.result()
    finally:
        cipher.close()


class _Run:
    """One match from the sizes to the rows."""

    def __init__(
        self, channel: Channel, key: bytes, records: Records, rules: MatchRules, names: Sequence[str], cipher: Cipher
    ) -> None:
        self._channel, self._key, self._rules, self._names = channel, key, rules, names
        self._records, self._cipher = records, cipher
        self._rank, self._world = channel.rank, channel.world
        self._peers = [rank for rank in range(self._world) if rank != self._rank]
        self._sizes = self._exchange_sizes()
        self._count = shard_count(self._sizes)
        self._capacity = [capacity(size, self._count) for size in self._sizes]

    def result(self) -> Matched:
        shards = [self._round(elements, places) for elements, places in self._own_shards()]
        lists = self._share_finals(shards)
        common = [_common(shard, self._names) for shard in lists]
        total = sum(len(places[0]) for places in common)
        if total < self._rules.minimum:
            raise TooFewMatches(
                f"the parties have {total} records in common, {self._rules.minimum} were agreed on",
                action="bring more records, or agree on a smaller minimum",
                outward="the parties have fewer records in common than agreed",
            )
        found = [self._take_back(shard, places) for shard, places in zip(shards, common, strict=True)]
        mine = np.concatenate(found)
        self._compare_order(mine)
        return Matched(self._records.rows[mine])

    def _exchange_sizes(self) -> list[int]:
        """Raises: ProtocolError if a peer matches by other rules, or names a number of records that can't be."""
        own = np.frombuffer(len(self._records.rows).to_bytes(8, "little") + self._rules.digest(), dtype="u1")
        theirs = self._channel.exchange(
            "match.sizes", dict.fromkeys(self._peers, own), dict.fromkeys(self._peers, ("u1", own.shape))
        )
        sizes = [0] * self._world
        for rank, said in {**theirs, self._rank: own}.items():
            sizes[rank] = int.from_bytes(said[:8].tobytes(), "little")
            if said[8:].tobytes() != self._rules.digest() or not 1 <= sizes[rank] <= MAX_RECORDS:
                raise ProtocolError(f"{self._names[rank]} matches by other rules", action="compare the contracts")
        return sizes

    def _own_shards(self) -> Iterator[tuple[list[bytes], Indices]]:
        """Elements of each shard in a random order, filled up with random ones so that its size tells nothing.

        Raises: ProtocolError, once in a thousand million sessions, if a shard overflows.
        """
        elements, room = self._records.elements, self._capacity[self._rank]
        shard_of = elements[:, :8].copy().view("<u8")[:, 0] % self._count
        for number in range(self._count):
            places = np.flatnonzero(shard_of == number).astype(np.int64)
            if len(places) > room:
                raise ProtocolError("records are spread unevenly", action="propose the session again")
            places = np.concatenate([places, np.full(room - len(places), DUMMY)])[shuffle(room)]
            yield [self._element(place) for place in places.tolist()], places

    def _element(self, place: int) -> bytes:
        return secrets.token_bytes(ELEMENT_BYTES) if place == DUMMY else self._records.elements[place].tobytes()

    def _round(self, elements: list[bytes], places: Indices) -> _Shard:
        """All lists once round, in as many rounds as there are peers."""
        shard, points = _Shard(places), self._cipher.encrypt(elements)
        for hop in range(1, self._world):
            whose = (self._rank - hop) % self._world
            came = self._pass("match.lists", points, +1, (self._capacity[whose], POINT_BYTES), "u1")
            points = self._cipher.raise_points(came.astype(np.uint8, copy=False), self._names[self._toward(-1)])
            shard.shuffles.append(shuffle(len(points)))
            points = points[shard.shuffles[-1]]
        shard.final = points
        return shard

    def _toward(self, direction: int) -> int:
        return (self._rank + direction) % self._world

    def _pass(self, name: str, array: Array, direction: int, shape: tuple[int, ...], dtype: str) -> Array:
        """Send to the neighbour in that direction, receive from the other one."""
        to, source = self._toward(direction), self._toward(-direction)
        return self._channel.exchange(name, {to: np.ascontiguousarray(array)}, {source: (dtype, shape)})[source]

    def _share_finals(self, shards: Sequence[_Shard]) -> list[list[Points]]:
        """For each shard every party's list, by rank, encrypted by all.

        Digests go first: nobody can choose what to send by what the others sent.
        Raises: ProtocolError if a list is another than its digest said.
        """
        own = [shard.final for shard in shards if shard.final is not None]
        promised = self._to_all("match.digests", _digest(own), (ELEMENT_BYTES,))
        received: dict[int, list[Points]] = {rank: [] for rank in self._peers}
        for points in own:
            shapes = {rank: ("u1", (self._capacity[self._about(rank)], POINT_BYTES)) for rank in self._peers}
            found = self._channel.exchange("match.finals", dict.fromkeys(self._peers, points), shapes)
            for rank in self._peers:
                received[rank].append(found[rank].astype(np.uint8, copy=False))
        for rank in self._peers:
            if _digest(received[rank]).tobytes() != promised[rank].tobytes():
                raise ProtocolError(f"{self._names[rank]} sent other records than it had promised", action="call them")
        held = {self._about(rank): lists for rank, lists in {**received, self._rank: own}.items()}
        return [[held[rank][number] for rank in range(self._world)] for number in range(self._count)]

    def _about(self, rank: int) -> int:
        """Whose list a party holds after the round."""
        return (rank + 1) % self._world

    def _to_all(self, name: str, array: Array, shape: tuple[int, ...]) -> dict[int, Array]:
        return self._channel.exchange(
            name, dict.fromkeys(self._peers, array), dict.fromkeys(self._peers, ("u1", shape))
        )

    def _take_back(self, shard: _Shard, common: list[Indices]) -> Indices:
        """Own records of the common ones: every list goes round backwards, each party taking its shuffle back."""
        places = common[self._about(self._rank)]
        for hop in reversed(range(1, self._world)):
            places = shard.shuffles[hop - 1][_within(places, len(shard.shuffles[hop - 1]), self._sender())]
            places = self._pass("match.places", places, -1, places.shape, "i8").astype(np.int64, copy=False)
        mine = shard.places[_within(places, len(shard.places), self._sender())]
        if DUMMY in mine or len(np.unique(mine)) != len(mine):
            raise ProtocolError(f"{self._sender()} took back another shuffle than its own", action="call them")
        return mine

    def _sender(self) -> str:
        return self._names[self._toward(+1)]

    def _compare_order(self, mine: Indices) -> None:
        """Raises: ProtocolError if another party has other records, or in another order."""
        own = hmac.new(self._key, b"privity match 1 order\n", "sha256")
        own.update(np.ascontiguousarray(self._records.elements[mine]).tobytes())
        digest = np.frombuffer(own.digest(), dtype="u1")
        for rank, said in self._to_all("match.order", digest, digest.shape).items():
            if said.tobytes() != digest.tobytes():
                raise ProtocolError(
                    f"{self._names[rank]} has found other records, or another order", action="propose the session again"
                )


def shard_count(sizes: Sequence[int]) -> int:
    """As many as keep the shortest list's shards at SHARD_RECORDS: what is counted apart is never a few records."""
    return max(1, min(sizes) // SHARD_RECORDS)


def capacity(size: int, count: int) -> int:
    """Room of one of `count` shards of so many records spread at random: its mean and seven deviations."""
    return size if count == 1 else -(-size // count) + 7 * isqrt(-(-size // count)) + 1


def shuffle(length: int) -> Indices:
    """A random order, by sorting random numbers."""
    numbers = np.frombuffer(secrets.token_bytes(8 * length), dtype="<u8")
    return np.argsort(numbers, kind="stable").astype(np.int64)


def _digest(lists: Sequence[Points]) -> NDArray[np.uint8]:
    found = hashlib.sha256()
    for points in lists:
        found.update(np.ascontiguousarray(points).tobytes())
    return np.frombuffer(found.digest(), dtype="u1")


def _common(lists: Sequence[Points], names: Sequence[str]) -> list[Indices]:
    """Places of the common points in each list, in the order of the points.

    Raises: ProtocolError if a list has a point twice: one record can't match twice.
    """
    found, orders = [], []
    for rank, points in enumerate(lists):
        keys = np.ascontiguousarray(points).view(f"S{POINT_BYTES}")[:, 0]
        order = np.argsort(keys, kind="stable").astype(np.int64)
        ordered = keys[order]
        if bool((ordered[1:] == ordered[:-1]).any()):
            raise ProtocolError(f"{names[rank]} has a record twice", action="call them")
        found.append(ordered)
        orders.append(order)
    shared = reduce(lambda one, other: np.intersect1d(one, other, assume_unique=True), found)
    return [order[np.searchsorted(ordered, shared)] for order, ordered in zip(orders, found, strict=True)]


def _within(places: NDArray[np.int64], length: int, who: str) -> Indices:
    """Raises: ProtocolError if a place is none of the list's."""
    if len(places) and not 0 <= int(places.min()) <= int(places.max()) < length:
        raise ProtocolError(f"{who} named a place that the list does not have", action="call them")
    return places
