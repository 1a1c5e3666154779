"""Rounds and bytes of a prediction, before it runs; tests compare them with what channels and dealer count."""

from __future__ import annotations

from mpc import prediction_layouts
from mpc.costs import (
    ANGLE,
    COMPARED,
    KEYS,
    VECTORS,
    WORD,
    Cost,
    Quote,
    commitment,
    comparison,
    disclosure,
    opening,
    product,
    total,
)
from mpc.keys import DEALER_KEYS_BYTES
from mpc.prediction_program import Prediction
from mpc.scales import GUARD_SCORES


def quote(program: Prediction) -> Quote:
    """Of a whole run."""
    by_rank = [_run(program, rank) for rank in range(program.world)]
    return Quote(
        by_rank[0].rounds, tuple(cost.bytes_sent for cost in by_rank), by_rank[0].dealer_bytes, memory(program)
    )


def start(program: Prediction, rank: int) -> Cost:
    """Keys and masked rows."""
    n = program.world
    return opening(n, KEYS) + opening(n, WORD * program.cells(rank)) + Cost(0, 0, n * DEALER_KEYS_BYTES)


def scores(program: Prediction) -> Cost:
    """The model opened, and the scores clamped."""
    n = program.world
    scores = program.rows * program.classes
    pieces = [min(GUARD_SCORES, scores - first) for first in range(0, scores, GUARD_SCORES)]
    dealt = Cost(0, 0, WORD * prediction_layouts.layout(program, "model").words)
    return (
        opening(n, WORD * program.width * program.classes)
        + dealt
        + total(comparison(n, 2 * m) + product(n, m) for m in pieces)
    )


def strip(program: Prediction, rank: int, rows: int) -> Cost:
    """Probabilities of some rows, and their disclosure."""
    n, scores = program.world, rows * program.classes
    told = program.disclosed.model_copy(update={"values": scores})
    dealt = Cost(0, 0, WORD * prediction_layouts.layout(program, "probabilities").words)
    return opening(n, ANGLE * scores) + opening(n, WORD * scores) + dealt + disclosure(n, rank, told)


def memory(program: Prediction) -> int:
    """In bytes, of the largest process: blocks or masks, vectors, and a comparison's bits or a strip's tables."""
    tables = 2 * program.rung.harmonics * program.strip_rows * program.classes
    scores = program.rows * program.classes
    held = 2 * program.rows * program.width + VECTORS * scores
    return WORD * (held + max(COMPARED * min(scores, GUARD_SCORES), (program.world + 3) * tables))


def _run(program: Prediction, rank: int) -> Cost:
    strips = (strip(program, rank, rows.stop - rows.start) for rows in program.strips)
    return start(program, rank) + scores(program) + commitment(program.world) * 2 + total(strips)
