"""Rounds and bytes of each protocol, once. Tests compare them with what the channels count.

Bytes are what one party sends to all its peers, frames' headers included; `dealer_bytes` is what the dealer sends to
all parties together. Nothing here depends on data, and a rejected opening costs nothing: its slot is a spare one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from mpc import commitment as commitments
from mpc import evaluation_layouts, requests
from mpc.design import Opening
from mpc.evaluation_derivation import COARSE, FINE
from mpc.evidence_program import compared_words, crossings, jointly
from mpc.frames import HEADER_BYTES
from mpc.fused_program import Fused, MiniBatch, Newton, Rung, Segment
from mpc.keys import DEALER_KEYS_BYTES
from mpc.layouts import Kind, items, layout, opening_items, tells_loss
from mpc.ordering import SEED_BYTES
from mpc.quantiles_program import DIGITS
from mpc.quantiles_program import compared_words as compared_with_marks
from mpc.randomness import KEY_BYTES
from mpc.scales import GUARD_SCORES, LIMBS
from mpc.symmetric import packed_size
from mpc.transcript import DIGEST_BYTES
from mpc.validation import totals

KEYS = 2 * KEY_BYTES  # to each peer at the start
WORD = 8
ANGLE = 4
VECTORS = 24  # words a score: openings, residuals, and what a guard's comparison makes of scores
COMPARED = 64  # words in memory for each that CrypTen compares, about
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


def commitment(parties: int) -> Cost:
    """Each party signs what it sent so far, for each other."""
    return opening(parties, commitments.size(parties))


def comparison(parties: int, words: int) -> Cost:
    """CrypTen's `x < 0`: shares become bits, which a tree of n - 1 seven-round adders sums; the sign bit returns."""
    asked = requests.comparison(parties, (words,))
    rounds = len(asked)
    payload = WORD * words * (26 * (parties - 1) + 1)
    return Cost(rounds, (parties - 1) * (rounds * HEADER_BYTES + payload), answers(asked))


def answers(asked: Iterable[requests.Request]) -> int:
    """Bytes of the dealer for these requests."""
    return sum(TUPLE_NUMBER + WORD * each.words for each in asked)


def range_guard(program: Fused, rank: int) -> Cost:
    bit = Opening(name="guard", recipients="session", count=1, values=1)
    return any_beyond(program.world, program.rows * len(program.models)) + disclosure(program.world, rank, bit)


def any_beyond(parties: int, words: int) -> Cost:
    return total(comparison(parties, 2 * part) for part in _parts(words)) + comparison(parties, 1)


def convergence(program: Fused, rank: int) -> Cost:
    """One bit of the last gradients, if the program tells it."""
    if program.convergence is None:
        return Cost()
    bit = Opening(name="converged", recipients="session", count=1, values=1)
    return any_beyond(program.world, program.width * len(program.models)) + disclosure(program.world, rank, bit)


def start(program: Fused, rank: int) -> Cost:
    """Keys, masked blocks, and the labels' totals if the loss is disclosed."""
    n, discloses_loss = program.world, program.loss_every > 0
    words = program.cells(rank) + discloses_loss * program.labelled(rank) * program.classes
    order = opening(n, SEED_BYTES) * (2 * isinstance(program, MiniBatch))
    cost = order + opening(n, KEYS) + opening(n, WORD * words) + Cost(0, 0, n * DEALER_KEYS_BYTES)
    cost += masked_held_out(program, rank)
    return cost + total(item(program, rank, program.ladder[0], kind) for kind in opening_items(program))


def item(program: Fused, rank: int, rung: Rung, kind: Kind) -> Cost:
    """One item of a phase."""
    cost = _correction(program, rung, kind) + total(opening(program.world, sent) for sent in openings(program, kind))
    if kind == "report":
        told = [each for each in program.disclosures() if each.name in {"loss", "cross-validation"}]
        return cost + total(disclosure(program.world, rank, each) for each in told)
    return cost + commitment(program.world) + range_guard(program, rank) if kind == "checkpoint" else cost


def openings(program: Fused, kind: Kind) -> tuple[int, ...]:
    """Bytes that an item opens to each peer, round by round, beside disclosures and guards."""
    d, M, half = program.width, len(program.models), packed_size(program.width)
    scores, strip = program.gradient_rows * M, program.strip_rows * M
    slot = (WORD * d * M, ANGLE * scores, WORD * scores)
    by_kind: dict[Kind, tuple[int, ...]] = {
        "labels": (WORD * d * len(totals(program)),),
        "slot": slot,
        "tables": (),
        "lot": slot * (program.lot if isinstance(program, MiniBatch) else 0),
        "report": (WORD * program.copies * program.reported,),
        "checkpoint": (WORD * program.copies * d * M, *([ANGLE * program.rows * M] if tells_loss(program) else [])),
        "gram": (),
        "density": (WORD * strip, WORD * strip * d),
        "information": (WORD * half * M, WORD * half * M),
        "step": (WORD * half * M, WORD * d * d * M),
        "product": (WORD * d * d * M,),
        "inverse": (WORD * half * M, WORD * half * M),
        "advance": (WORD * d * M,),
    }
    return by_kind[kind]


def phase(program: Fused, rank: int, segment: Segment, rung: Rung) -> Cost:
    """One pass through a segment."""
    counts = Counter(items(program, segment))
    return total(item(program, rank, rung, kind) * count for kind, count in counts.items())


def results(program: Fused, rank: int) -> Cost:
    """The models' disclosures, and the last commitment."""
    return commitment(program.world) + total(
        disclosure(program.world, rank, each)
        for each in program.disclosures()
        if each.name in {"coefficients", "intercept"}
    )


def joint_moments(program: Fused, rank: int) -> Cost:
    """Sums of columns that several parties hold rows of, and of their squares."""
    return _sums(program, rank, "moments")


def averaging(program: Fused, rank: int) -> Cost:
    """Sums of such columns with gaps, and how many values there are."""
    return _sums(program, rank, "means")


def _sums(program: Fused, rank: int, name: str) -> Cost:
    """Sums over several owners, in LIMBS words each."""
    found = [each for each in program.disclosures() if each.name == name]
    words = (each.model_copy(update={"values": LIMBS * each.values}) for each in found)
    bound = commitment(program.world) if found else Cost()
    return bound + total(disclosure(program.world, rank, each) for each in words)


def ranking(program: Fused, rank: int) -> Cost:
    """Joint quantiles of columns, and what owners are told of them, digit by digit."""
    if program.quantiles is None:
        return Cost()
    n = program.world
    digit = total(comparison(n, part) for part in _parts(compared_with_marks(program.quantiles)))
    digit += total(disclosure(n, rank, each) for each in program.disclosures() if each.name == "quantiles")
    return commitment(n) + digit * DIGITS


def weighing(program: Fused, rank: int) -> Cost:
    """Counts of labels by bins of columns, what owners are told of them, and all of the columns."""
    n, cost, columns = program.world, Cost(), jointly(program, program.evidence)
    for each in crossings(program, program.evidence):
        bins, rows = columns[each.column].bins, each.rows.stop - each.rows.start
        own = bins * rows if rank == each.owner else rows if rank == each.labels else 0
        cost += opening(n, WORD * own) + Cost(0, 0, TUPLE_NUMBER + WORD * bins)
    cost += total(comparison(n, part) for part in _parts(compared_words(program, program.evidence)))
    told = [each for each in program.disclosures() if each.name in {"weight-of-evidence", "information-value"}]
    cost += total([commitment(n)] * len({each.name for each in told}))
    return cost + total(disclosure(n, rank, each) for each in told)


def product(parties: int, words: int) -> Cost:
    """Of two shared words each, by a triple of the on-demand lane."""
    return opening(parties, 2 * WORD * words) + Cost(0, 0, answers([requests.product((words,))]))


def masked_held_out(program: Fused, rank: int) -> Cost:
    """Masked blocks and labels of the held-out rows, at the start."""
    if program.evaluation is None:
        return Cost()
    held_out = program.evaluation.partition
    return opening(program.world, WORD * (held_out.cells(rank) + held_out.labelled(rank) * program.classes))


def evaluation(program: Fused, rank: int) -> Cost:
    """Scores, histograms and figures of the held-out rows, and the figures' disclosures."""
    if (found := program.evaluation) is None:
        return Cost()
    n, scores = program.world, found.rows * found.models
    kinds = [kind for part in evaluation_layouts.parts(program) for kind in part]
    dealt = sum(WORD * evaluation_layouts.layout(program, kind).words for kind in kinds)
    cost = opening(n, WORD * program.width * found.models) + Cost(0, 0, dealt)
    cost += comparison(n, 2 * scores) + product(n, scores)
    for start_row in range(0, found.rows, found.chunk_rows):
        cost += opening(n, ANGLE * min(found.chunk_rows, found.rows - start_row) * found.models)
    if found.sums:
        cost += opening(n, WORD * len(found.sums) * found.models)
    if "auc" in found.figures:
        cost += opening(n, 2 * WORD * found.bins * found.models) + product(n, found.models)
        cost += comparison(n, COARSE * found.models) + comparison(n, (FINE - 1) * found.models)
    cost += total(comparison(n, part) for part in _parts(found.compared_words))
    return cost + total(disclosure(n, rank, each) for each in found.disclosures())


def _parts(words: int) -> list[int]:
    """What is compared, GUARD_SCORES at once."""
    return [min(GUARD_SCORES, words - start) for start in range(0, words, GUARD_SCORES)]


def quote(program: Fused, rungs: Iterable[int] | None = None) -> Quote:
    """Of a run whose phases are on these rungs of the ladder; without them, of one that stays on the first."""
    taken = [program.ladder[rung] for rung in ([0] * len(program.segments) if rungs is None else rungs)]
    by_rank = [_run(program, rank, taken) for rank in range(program.world)]
    return Quote(
        by_rank[0].rounds, tuple(cost.bytes_sent for cost in by_rank), by_rank[0].dealer_bytes, memory(program, taken)
    )


def memory(program: Fused, rungs: Iterable[Rung]) -> int:
    """Of a party: its block, all masked ones and vectors; of the dealer: all masks; of each a strip in the making.

    Held-out rows are there from the beginning; their comparisons and histograms come when training is over.
    """
    m, d, M = program.rows, program.width, len(program.models)
    scores, strip = m * M, program.strip_rows * M
    tables, refreshed = max(2 * rung.harmonics for rung in rungs), isinstance(program, Newton) * d
    party = 2 * m * d + VECTORS * scores + strip * max(4 * tables, 9 * refreshed)
    dealer = m * d + VECTORS * scores + strip * max((program.world + 3) * tables, (program.world + 5) * refreshed)
    return WORD * max(max(party, dealer) + _memory_of_evaluation(program), _memory_of_weighing(program))


def _memory_of_weighing(program: Fused) -> int:
    """In words: a strip's masks and indicators three times over, or a comparison's bits; of quantiles these as well."""
    compared = max(compared_words(program, program.evidence), compared_with_marks(program.quantiles))
    columns = jointly(program, program.evidence)
    strips = [
        columns[each.column].bins * (each.rows.stop - each.rows.start) for each in crossings(program, program.evidence)
    ]
    return max(3 * max(strips, default=0), COMPARED * min(GUARD_SCORES, compared) + compared)


def _memory_of_evaluation(program: Fused) -> int:
    """In words: blocks twice, and a comparison's bits or a chunk's tables, at a party or the dealer."""
    if (found := program.evaluation) is None:
        return 0
    tables, scores = 2 * found.chunk_rows * found.bins * found.models, found.rows * found.models
    compared = COMPARED * max(scores, min(GUARD_SCORES, found.compared_words)) + found.compared_words
    return 2 * found.rows * program.width + max(compared, (program.world + 3) * tables)


def _run(program: Fused, rank: int, rungs: list[Rung]) -> Cost:
    segment, cost = -1, ranking(program, rank) + averaging(program, rank) + weighing(program, rank)
    cost += joint_moments(program, rank) + start(program, rank)
    cost += commitment(program.world)
    cost += convergence(program, rank) + evaluation(program, rank) + results(program, rank)
    for number, rung in enumerate(rungs):
        segment += not number or rung == rungs[number - 1]  # a climb repeats the segment
        cost += phase(program, rank, program.segments[segment], rung)
    return cost


def _correction(program: Fused, rung: Rung, kind: Kind) -> Cost:
    return Cost(0, 0, WORD * layout(program, rung, kind).words)
