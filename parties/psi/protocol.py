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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from mpc.commitment import Chained, Commitments
from mpc.disclosure import Disclosure, Ledger
from mpc.errors import PeerLost, ProtocolError
from mpc.frames import Array
from mpc.matching_program import Matching
from mpc.randomness import Entropy
from mpc.transcript import Transcript
from parties.agreement.match_rules import MatchRules
from parties.errors import DataError
from parties.psi.curve import POINT_BYTES, Cipher, Points
from parties.psi.records import ELEMENT_BYTES, Records

NOTHING = np.empty(0, dtype="u1")
DUMMY = -1
Indices = NDArray[np.int64]


class TooFewMatches(DataError):
    """Fewer common records than agreed: nobody learns which they are."""

    code = "data.too-few-matches"


@dataclass(frozen=True, repr=False, eq=False)
class Matched:
    """This party's rows that all parties have, in an order that is the same at all; printing shows their number.

    Shapes: rows (matches,), elements (matches, ELEMENT_BYTES). The order tells nothing: it is that of the encrypted
    elements.
    """

    rows: Indices
    elements: NDArray[np.uint8]
    transcript: Transcript  # of all encrypted lists: the same at all parties

    def __repr__(self) -> str:
        return f"Matched({len(self.rows)})"


@dataclass(frozen=True)
class Counted:
    """How many records of the sample all parties have."""

    sampled: int
    transcript: Transcript  # of all encrypted lists: the same at all parties


@dataclass(repr=False, eq=False)
class _Shard:
    """One shard's lists, as this party has them."""

    places: Indices  # of the own list as it was sent: which record, or DUMMY
    shuffles: list[Indices] = field(default_factory=list)  # of the lists that came by, hop by hop
    final: Points | None = None  # of the next party, encrypted by all


def match(
    program: Matching,
    channel: Chained,
    commitments: Commitments,
    key: bytes,
    records: Records,
    rules: MatchRules,
    ledger: Ledger,
    names: Sequence[str],
    entropy: Entropy,
    workers: int | None = None,
) -> Matched:
    """Every party calls this at the same time, with a key that only they share.

    What each sent is bound by its signature before the lists that all can compare, before places are taken back, and
    at the end. All that is drawn, the secret exponent included, comes from `entropy`, in the order of the program.

    Cost: as `parties.psi.costs` says; 85 us of computing for each time that a point is raised, over `workers` threads
    (all cores by default); memory 33 bytes a record of all parties, and what their ids take.
    Reveals: of every shard how many records each group of parties has in common ("matches"); and, if all have at least
    `rules.minimum`, which of its own records these are, to each party ("matched"). The ledger permits each before it
    happens.
    Raises: TooFewMatches; whatever the ledger raises; CommitmentsDiffer if a peer signed other words than came;
    ProtocolError if a peer has other rules or does not keep to the protocol, or if there are more records than the
    program says; PeerLost.
    """
    cipher = Cipher(workers or os.cpu_count() or 1, entropy)
    try:
        return _Run(program, channel, commitments, key, records, rules, ledger, names, entropy, cipher).result()
    finally:
        cipher.close()


def count(
    program: Matching,
    channel: Chained,
    commitments: Commitments,
    key: bytes,
    records: Records,
    rules: MatchRules,
    ledger: Ledger,
    names: Sequence[str],
    entropy: Entropy,
    workers: int | None = None,
) -> Counted:
    """As `match`, of an estimate's program: a sample of all lists is compared, and nothing taken back.

    Which records it is of follows from the key: another in each session, and the same at all parties.
    Reveals: how many records of the sample each group of parties has in common ("sample-matches"); the caller tells
    no more of it than `program.estimated`, for which this has the ledger's leave ("estimate").
    Raises: as `match`, but for TooFewMatches.
    """
    cipher = Cipher(workers or os.cpu_count() or 1, entropy)
    try:
        return _Run(program, channel, commitments, key, records, rules, ledger, names, entropy, cipher).count()
    finally:
        cipher.close()


class _Run:
    """One match from the sizes to the rows, or to a sample's count."""

    def __init__(
        self,
        program: Matching,
        channel: Chained,
        commitments: Commitments,
        key: bytes,
        records: Records,
        rules: MatchRules,
        ledger: Ledger,
        names: Sequence[str],
        entropy: Entropy,
        cipher: Cipher,
    ) -> None:
        self._program, self._channel, self._commitments, self._key = program, channel, commitments, key
        self._rules, self._ledger, self._names = rules, ledger, names
        self._records, self._entropy, self._cipher = records, entropy, cipher
        self._rank, self._world = channel.rank, channel.world
        self._peers = [rank for rank in range(self._world) if rank != self._rank]
        self._transcript = Transcript(hmac.digest(key, b"privity match 1 transcript\n", "sha256"), b"")
        self._count, self._capacity = program.shards, program.rooms
        commitments.absorb("records", records.elements)
        self._compare_rules()

    def count(self) -> Counted:
        shards = self._go_round()
        counts = self._permit("sample-matches", self._program.groups)
        lists = self._share_finals(shards)
        common = [_common(shard, self._names) for shard in lists]
        self._ledger.told(counts, _counts(lists, common))
        self._ledger.permit(Disclosure("estimate", "session", 1, self._transcript.digest()))
        return Counted(_total(common), self._transcript)

    def _permit(self, name: str, values: int, *to: int) -> Disclosure:
        """Raises: DisclosureRefused. Told are all parties, or those of these ranks."""
        disclosure = Disclosure(name, to or tuple(range(self._world)), values, self._transcript.digest())
        self._ledger.permit(disclosure)
        return disclosure

    def result(self) -> Matched:
        shards = self._go_round()
        counts = self._permit("matches", self._program.groups * self._count)
        lists = self._share_finals(shards)
        common = [_common(shard, self._names) for shard in lists]
        self._ledger.told(counts, _counts(lists, common))
        own = self._enough(_total(common))
        found = [self._take_back(shard, places) for shard, places in zip(shards, common, strict=True)]
        mine = np.concatenate(found)
        self._compare_order(mine)
        self._commitments.commit()
        self._ledger.told(own, _digest_words(self._records.rows[mine]))
        return Matched(self._records.rows[mine], self._records.elements[mine], self._transcript)

    def _enough(self, total: int) -> Disclosure:
        """The last word before anybody is told which records they are. Raises: TooFewMatches."""
        if total < self._rules.minimum:
            # Whoever ended before the others have counted would look to them as if it were lost.
            with suppress(PeerLost):
                self._to_all("match.few", NOTHING, NOTHING.shape)
            raise TooFewMatches(
                f"the parties have {total} records in common, {self._rules.minimum} were agreed on",
                action="bring more records, or agree on a smaller minimum",
                outward="the parties have fewer records in common than agreed",
            )
        return [self._permit("matched", total, rank) for rank in range(self._world)][self._rank]

    def _compare_rules(self) -> None:
        """Raises: ProtocolError if a peer matches by other rules."""
        own = np.frombuffer(self._rules.digest(), dtype="u1")
        for rank, said in self._to_all("match.rules", own, own.shape).items():
            if said.tobytes() != own.tobytes():
                raise ProtocolError(f"{self._names[rank]} matches by other rules", action="compare the contracts")

    def _own_shards(self) -> Iterator[tuple[list[bytes], Indices]]:
        """Elements of each shard in a random order, filled up with random ones so that its size tells nothing.

        Raises: ProtocolError if there are more records than agreed; once in a thousand million sessions for another
        reason, as a shard overflows.
        """
        elements, room = self._records.elements, self._capacity[self._rank]
        if len(elements) > self._program.sizes[self._rank]:
            raise ProtocolError("more records are here than were agreed", action="propose the session again")
        parts = self._program.one_in if self._program.is_estimate else self._count
        shard_of = elements[:, :8].copy().view("<u8")[:, 0] % parts
        for number in range(self._count):
            places = np.flatnonzero(shard_of == number).astype(np.int64)
            if len(places) > room:
                raise ProtocolError("records are spread unevenly", action="propose the session again")
            filling = room - len(places)
            places = np.concatenate([places, np.full(filling, DUMMY)])[self._shuffle(room)]
            yield self._filled(places, filling), places

    def _filled(self, places: Indices, filling: int) -> list[bytes]:
        """Elements at these places, and random ones at the others."""
        random = self._entropy.fresh("filling", ELEMENT_BYTES * filling)
        fillers = (random[start : start + ELEMENT_BYTES] for start in range(0, len(random), ELEMENT_BYTES))
        own = self._records.elements
        return [next(fillers) if place == DUMMY else own[place].tobytes() for place in places.tolist()]

    def _shuffle(self, length: int) -> Indices:
        """A random order, by sorting random numbers."""
        numbers = np.frombuffer(self._entropy.fresh("shuffle", 8 * length), dtype="<u8")
        return np.argsort(numbers, kind="stable").astype(np.int64)

    def _go_round(self) -> list[_Shard]:
        """Every shard's lists, and what was sent of them bound, before anybody sees one that all encrypted."""
        shards = [self._round(elements, places) for elements, places in self._own_shards()]
        self._commitments.commit()
        return shards

    def _round(self, elements: list[bytes], places: Indices) -> _Shard:
        """All lists once round, in as many rounds as there are peers."""
        shard, points = _Shard(places), self._cipher.encrypt(elements)
        for hop in range(1, self._world):
            whose = (self._rank - hop) % self._world
            came = self._pass("match.lists", points, +1, (self._capacity[whose], POINT_BYTES), "u1")
            points = self._cipher.raise_points(came.astype(np.uint8, copy=False), self._names[self._toward(-1)])
            shard.shuffles.append(self._shuffle(len(points)))
            points = points[shard.shuffles[-1]]
        shard.final = points
        return shard

    def _toward(self, direction: int) -> int:
        return (self._rank + direction) % self._world

    def _pass(self, name: str, array: Array, direction: int, shape: tuple[int, ...], dtype: str) -> Array:
        """Send to the neighbour in that direction, receive from the other one."""
        to, source = self._toward(direction), self._toward(-direction)
        # An empty frame the other way: a large one is held back until its receiver is in the round as well.
        outgoing = {source: NOTHING, to: np.ascontiguousarray(array)}
        return self._channel.exchange(name, outgoing, {to: ("u1", NOTHING.shape), source: (dtype, shape)})[source]

    def _share_finals(self, shards: Sequence[_Shard]) -> list[list[Points]]:
        """For each shard every party's list, by rank, encrypted by all.

        Digests go first: nobody can choose what to send by what the others sent. Transcripts are compared at the end:
        nobody can send one list to this party and another to that. Then each is bound to what it sent, before anything
        follows from it.
        Raises: ProtocolError if a list is another than its digest said, or than others were sent.
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
        shared = [[held[rank][number] for rank in range(self._world)] for number in range(self._count)]
        for points in (each for shard in shared for each in shard):
            self._transcript.absorb(points)
        self._transcript.compare(self._channel)
        self._commitments.commit()
        return shared

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
            # Filled up, so that the bytes sent do not tell the gateway how many there are.
            padded = np.concatenate([places, np.zeros(min(self._capacity) - len(places), dtype=np.int64)])
            came = self._pass("match.places", padded, -1, padded.shape, "i8")
            places = came[: len(places)].astype(np.int64, copy=False)
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


def _total(common: Sequence[Sequence[Indices]]) -> int:
    """Of all shards, how many points all parties have in common."""
    return sum(len(places[0]) for places in common)


def _counts(shards: Sequence[Sequence[Points]], common: Sequence[Sequence[Indices]]) -> Indices:
    """How many points each group of parties has in common, shard after shard; `common` has those of all.

    A group is a number with a bit a party, from the first that has two to that of all. Shapes: -> (shards * groups,).
    """
    found = []
    for lists, of_all in zip(shards, common, strict=True):
        keys = [np.ascontiguousarray(points).view(f"S{POINT_BYTES}")[:, 0] for points in lists]
        for group in range((1 << len(lists)) - 1):
            if group.bit_count() > 1:
                members = [each for rank, each in enumerate(keys) if group >> rank & 1]
                found.append(len(reduce(np.intersect1d, members)))
        found.append(len(of_all[0]))
    return np.array(found, dtype=np.int64)


def _digest_words(rows: Indices) -> Indices:
    """SHA-256 of row numbers, as four words: what is kept of them is short, and shows nobody which they are."""
    content = np.ascontiguousarray(rows, dtype="<i8").tobytes()
    return np.frombuffer(hashlib.sha256(content).digest(), dtype="<i8").astype(np.int64)


def _within(places: NDArray[np.int64], length: int, who: str) -> Indices:
    """Raises: ProtocolError if a place is none of the list's."""
    if len(places) and not 0 <= int(places.min()) <= int(places.max()) < length:
        raise ProtocolError(f"{who} named a place that the list does not have", action="call them")
    return places
