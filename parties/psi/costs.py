"""Rounds and bytes of a matching, before it runs; tests compare them with what the channels count.

They follow from the program alone: neither how many usable records there are, nor how many are common, shows in them.
"""

from __future__ import annotations

from mpc.costs import KEYS, WORD, Cost, Quote, commitment, opening
from mpc.frames import HEADER_BYTES
from mpc.keys import DEALER_KEYS_BYTES
from mpc.matching_program import Matching
from mpc.transcript import DIGEST_BYTES
from parties.psi.curve import POINT_BYTES

POINT_S = 85e-6  # of one core, each time that a point is raised, beside other work
ID_BYTES = 200  # of memory, a record of the own list: its ids as text, and its element


def quote(program: Matching) -> Quote:
    """Of a whole run."""
    by_rank = [_run(program, rank) for rank in range(program.world)]
    memory = ID_BYTES * max(program.sizes) + program.world * POINT_BYTES * _compared(program)
    return Quote(by_rank[0].rounds, tuple(cost.bytes_sent for cost in by_rank), by_rank[0].dealer_bytes, memory)


def work_s(program: Matching) -> float:
    """What computing takes one core of each party: every list is raised once by everybody."""
    return POINT_S * _compared(program)


def _compared(program: Matching) -> int:
    """Records of all lists."""
    return sum(program.sizes) // program.one_in


def _run(program: Matching, rank: int) -> Cost:
    """Keys, rules, lists round, digests, lists to all, transcripts; of a matching places round, the order's digest.

    What was sent is signed after the round, after the lists to all, and at a matching's end.
    """
    n, rooms = program.world, program.rooms
    there = sum((_passed(n, POINT_BYTES * rooms[(rank - hop + 1) % n]) for hop in range(1, n)), Cost())
    told = opening(n, POINT_BYTES * rooms[(rank + 1) % n])
    back = _passed(n, WORD * min(rooms)) * (n - 1)
    once = opening(n, KEYS) + opening(n, DIGEST_BYTES) * 3 + commitment(n) * 2 + Cost(0, 0, n * DEALER_KEYS_BYTES)
    if program.is_estimate:
        return once + there + told
    return once + opening(n, DIGEST_BYTES) + commitment(n) + (there + told + back) * program.shards


def _passed(parties: int, payload: int) -> Cost:
    """One round in which a list goes to one neighbour, and an empty frame to the other."""
    return Cost(1, _headers(parties) + payload)


def _headers(parties: int) -> int:
    return HEADER_BYTES * min(2, parties - 1)
