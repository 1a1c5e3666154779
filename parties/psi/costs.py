"""Rounds and bytes of a matching, before it runs; tests compare them with what the channels count.

Lists may turn out shorter than the program allows, and have less in common: this is the most.
"""

from __future__ import annotations

from mpc.costs import KEYS, WORD, Cost, Quote, opening
from mpc.frames import HEADER_BYTES
from mpc.keys import DEALER_KEYS_BYTES
from mpc.matching_program import Matching, capacity, shard_count
from mpc.transcript import DIGEST_BYTES
from parties.psi.curve import POINT_BYTES
from parties.psi.records import ELEMENT_BYTES

SIZE_BYTES = 8
POINT_S = 55e-6  # of one core, each time that a point is raised
ID_BYTES = 200  # of memory, a record of the own list: its ids as text, and its element


def quote(program: Matching) -> Quote:
    """Of a whole run in which the shortest list is in all others."""
    by_rank = [_run(program, rank) for rank in range(program.world)]
    n, size = program.world, max(program.sizes)
    memory = ID_BYTES * size + n * POINT_BYTES * sum(program.sizes)
    return Quote(by_rank[0].rounds, tuple(cost.bytes_sent for cost in by_rank), by_rank[0].dealer_bytes, memory)


def work_s(program: Matching) -> float:
    """What computing takes one core of each party: every list is raised once by everybody."""
    return POINT_S * sum(program.sizes)


def _run(program: Matching, rank: int) -> Cost:
    """Keys, sizes, lists round, digests, lists to all, transcripts, places round, the order's digest."""
    n, count = program.world, shard_count(program.sizes)
    rooms = [capacity(size, count) for size in program.sizes]
    there = sum((_passed(n, POINT_BYTES * rooms[(rank - hop + 1) % n]) for hop in range(1, n)), Cost())
    back = Cost(count * (n - 1), count * (n - 1) * _headers(n) + (n - 1) * WORD * min(program.sizes))
    told = opening(n, POINT_BYTES * rooms[(rank + 1) % n])
    fixed = opening(n, SIZE_BYTES + ELEMENT_BYTES) + opening(n, DIGEST_BYTES) * 3
    return opening(n, KEYS) + Cost(0, 0, n * DEALER_KEYS_BYTES) + fixed + (there + told) * count + back


def _passed(parties: int, payload: int) -> Cost:
    """One round in which a list goes to one neighbour, and an empty frame to the other."""
    return Cost(1, _headers(parties) + payload)


def _headers(parties: int) -> int:
    return HEADER_BYTES * min(2, parties - 1)
