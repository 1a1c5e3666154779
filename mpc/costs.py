"""Rounds and bytes of each protocol, once. Tests compare them with what the channels count.

Bytes are what one party sends to all its peers, frames' headers included; `dealer_bytes` is what the dealer sends to
all parties together. Nothing here depends on data, and a rejected opening costs nothing: its slot is a spare one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mpc.frames import HEADER_BYTES
from mpc.keys import DEALER_KEYS_BYTES
from mpc.layouts import Kind, items, layout, opening_items
from mpc.ordering import COMMITMENT_BYTES
from mpc.program import Fused, MiniBatch, Newton, Opening, Rung, Segment
from mpc.randomness import KEY_BYTES
from mpc.symmetric import packed_size
from mpc.transcript import DIGEST_BYTES

KEYS = 2 * KEY_BYTES  # to each peer at the start
WORD = 8
ANGLE = 4
TUPLE_NUMBER = 8  # before each answer of the on-demand lane


@dataclass(frozen=True)
class Cost:
    """What a protocol costs one party, and the dealer."""

    rounds: int = 0
    bytes_sent: int = 0
    dealer_bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.rounds + other.rounds, self.bytes_sent + other.bytes_sent, self.dealer_bytes + other.dealer_bytes
        )

    def __mul__(self, times: int) -> Cost:
        return Cost(self.rounds * times, self.bytes_sent * times, self.dealer_bytes * times)


@dataclass(frozen=True)
class Quote:
    """What a whole run costs, before it begins. Memory is of the largest process, beside 350 MB for its libraries."""

    rounds: int
    bytes_sent: tuple[int, ...]  # by party
    dealer_bytes: int
    memory_bytes: int


def total(costs: Iterable[Cost]) -> Cost:
    return sum(costs, Cost())


def opening(parties: int, payload: int) -> Cost:
    """One round in which each party sends `payload` bytes to each other."""
    return Cost(1, (parties - 1) * (HEADER_BYTES + payload))


def disclosure(parties: int, rank: int, item: Opening) -> Cost:
    """Transcripts are compared, then shares go to the recipients."""
    to = [peer for peer in range(parties) if item.recipients == "session" or peer in item.recipients]
    sent = sum(HEADER_BYTES + WORD * item.values for peer in to if peer != rank)
    return opening(parties, DIGEST_BYTES) + Cost(1, sent)


def comparison(parties: int, words: int) -> Cost:
    """CrypTen's `x < 0`: shares become bits, which a tree of n - 1 seven-round adders sums; the sign bit returns."""
    rounds = 7 * (parties - 1).bit_length() + 1
    payload = WORD * words * (26 * (parties - 1) + 1)
    answers = WORD * words * (13 * (parties - 1) + 1) + TUPLE_NUMBER * rounds
    return Cost(rounds, (parties - 1) * (rounds * HEADER_BYTES + payload), answers)


def range_guard(program: Fused, rank: int) -> Cost:
    bit = Opening(name="guard", recipients="session", count=1, values=1)
    n = program.world
    return comparison(n, 2 * program.rows) + comparison(n, 1) + disclosure(n, rank, bit)


def start(program: Fused, rank: int) -> Cost:
    """Keys, masked blocks, and the labels' totals if the loss is disclosed."""
    n, discloses_loss = program.world, program.loss_every > 0
    columns = program.blocks[rank].columns + (discloses_loss and rank == program.label_owner)
    order = 2 * isinstance(program, MiniBatch)
    cost = (
        opening(n, COMMITMENT_BYTES) * order
        + opening(n, KEYS)
        + opening(n, WORD * program.rows * columns)
        + Cost(0, 0, n * DEALER_KEYS_BYTES)
    )
    return cost + total(item(program, rank, program.ladder[0], kind) for kind in opening_items(program))


def item(program: Fused, rank: int, rung: Rung, kind: Kind) -> Cost:
    """One item of a phase."""
    cost = _correction(program, rung, kind) + total(opening(program.world, sent) for sent in openings(program, kind))
    if kind == "report":
        loss = Opening(name="loss", recipients="session", count=1, values=1)
        return cost + disclosure(program.world, rank, loss)
    return cost + range_guard(program, rank) if kind == "checkpoint" else cost


def openings(program: Fused, kind: Kind) -> tuple[int, ...]:
    """Bytes that an item opens to each peer, round by round, beside disclosures and guards."""
    m, d, half = program.rows, program.width, packed_size(program.width)
    slot = (WORD * d, ANGLE * program.gradient_rows, WORD * program.gradient_rows)
    by_kind: dict[Kind, tuple[int, ...]] = {
        "labels": (WORD * d,),
        "slot": slot,
        "lot": slot * (program.lot if isinstance(program, MiniBatch) else 0),
        "report": (WORD * program.copies,),
        "checkpoint": (WORD * program.copies * d,),
        "gram": (),
        "density": (WORD * m, WORD * m * d),
        "information": (WORD * half, WORD * half),
        "step": (WORD * half, WORD * d * d),
        "product": (WORD * d * d,),
        "inverse": (WORD * half, WORD * half),
        "advance": (WORD * d,),
    }
    return by_kind[kind]


def phase(program: Fused, rank: int, segment: Segment, rung: Rung) -> Cost:
    """One pass through a segment."""
    return total(item(program, rank, rung, kind) for kind in items(program, segment))


def results(program: Fused, rank: int) -> Cost:
    return total(
        disclosure(program.world, rank, each)
        for each in program.disclosures()
        if each.name in {"coefficients", "intercept"}
    )


def quote(program: Fused, rungs: Iterable[int] | None = None) -> Quote:
    """Of a run whose phases are on these rungs of the ladder; without them, of one that stays on the first."""
    taken = [program.ladder[rung] for rung in ([0] * len(program.segments) if rungs is None else rungs)]
    by_rank = [_run(program, rank, taken) for rank in range(program.world)]
    return Quote(
        by_rank[0].rounds, tuple(cost.bytes_sent for cost in by_rank), by_rank[0].dealer_bytes, memory(program, taken)
    )


def memory(program: Fused, rungs: Iterable[Rung]) -> int:
    """Of a party: its block and all masked ones, each twice; of the dealer: all masks; of each a tuple in the making.

    A refresh opens rows of the whole table, while the angles of its slot are still there.
    """
    m, d = program.rows, program.width
    tables, refreshed = max(2 * rung.harmonics for rung in rungs), isinstance(program, Newton) * d
    party = 4 * d + max(4 * tables, 2 * tables + 9 * refreshed)
    dealer = d + max((program.world + 3) * tables, (program.world + 5) * refreshed)
    return WORD * m * max(party, dealer)


def _run(program: Fused, rank: int, rungs: list[Rung]) -> Cost:
    segment, cost = -1, start(program, rank) + results(program, rank)
    for number, rung in enumerate(rungs):
        segment += not number or rung == rungs[number - 1]  # a climb repeats the segment
        cost += phase(program, rank, program.segments[segment], rung)
    return cost


def _correction(program: Fused, rung: Rung, kind: Kind) -> Cost:
    return Cost(0, 0, WORD * layout(program, rung, kind).words)
