"""The requests of CrypTen's own operations, in order, as a program lists them: kinds and shapes follow from it alone.

A party takes most tuples ahead, on the schedule of `mpc.layouts`. Comparisons, products by triples and the reference
engine's operations ask for theirs one by one. What they ask for is listed here, by protocol and then by program; what
parties draw and what the dealer answers are compared with it (`mpc.agenda`), so that neither can be led elsewhere.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from math import prod
from typing import Literal, TypeAlias

import numpy as np

from mpc.evaluation_derivation import COARSE, FINE
from mpc.evidence_program import Evidence, compared_words, crossings, jointly
from mpc.fused_program import Fused
from mpc.matching_program import Matching
from mpc.partition import Partition
from mpc.prediction_program import Prediction
from mpc.quantiles_program import DIGITS, Quantiles
from mpc.quantiles_program import compared_words as compared_with_marks
from mpc.reference_program import Reference
from mpc.scales import GUARD_SCORES

Kind = Literal["triple", "square", "binary", "wraps", "b2a", "crossed"]
Shape = tuple[int, ...]

ADDER_LEVELS = 6  # of CrypTen's tree for 64 bits, after a first product
EXP_SQUARINGS = 9  # of CrypTen's exponential: (1 + x / 2**9) ** (2**9)
RECIPROCAL_STEPS = 3  # of Newton and Raphson; the first is from a public number
LOG1P_PRODUCTS = 4  # of the reference engine's series for log(1 + t)


@dataclass(frozen=True)
class Request:
    """A tuple that is asked for: its kind, shapes of what is multiplied or converted, the operation of a product."""

    kind: Kind
    sizes: tuple[Shape, ...]
    op: Literal["", "mul", "matmul"] = ""
    owners: tuple[int, ...] = ()  # of a crossed product: whose mask alone each factor is

    def parts(self, rank: int) -> list[tuple[Shape, int]]:
        """Shape and bits of what a party expands for itself."""
        own = [size for size, owner in zip(self.sizes, self.owners, strict=False) if owner == rank]
        return [(size, 1 if self.kind == "b2a" else 64) for size in (own if self.owners else self.sizes)]

    @property
    def value_shape(self) -> Shape:
        """Of what the dealer answers."""
        if self.op == "matmul":
            one, other = self.sizes
            return one[:-1] + other[1:]
        return tuple(np.broadcast_shapes(*self.sizes))

    @property
    def words(self) -> int:
        """That the dealer answers."""
        return prod(self.value_shape)

    @property
    def xor(self) -> bool:
        """Whether the value is shared by exclusive or instead of addition."""
        return self.kind == "binary"

    def __str__(self) -> str:
        shapes = " and ".join(map(str, self.sizes))
        return f"{self.kind} of {shapes} for {self.op}" if self.op else f"{self.kind} of {shapes}"

    def encode(self, number: int) -> bytes:
        """What travels to the dealer."""
        return json.dumps({"number": number, **asdict(self)}).encode()


Requests: TypeAlias = tuple[Request, ...]


@dataclass(frozen=True)
class Listed:
    """All requests of a program, by what they follow: each may be asked for there, once, in this order."""

    start: Iterable[Request] = ()  # from the beginning
    phase: Requests = ()  # after each phase that was dealt
    training: Requests = ()  # after the last phase
    parts: tuple[Requests, ...] = ()  # after each part of an evaluation, or of a prediction


def listed(program: Fused | Reference | Prediction | Matching) -> Listed:
    """The list that follows from a program. The reference engine's is made as it is read: it may be long."""
    n = program.world
    if isinstance(program, Matching):
        return Listed()
    if isinstance(program, Prediction):
        scores = program.rows * program.classes
        pieces = (min(GUARD_SCORES, scores - first) for first in range(0, scores, GUARD_SCORES))
        return Listed(parts=(tuple(chain.from_iterable(clamping(n, each) for each in pieces)), ()))
    if isinstance(program, Reference):
        return Listed(start=chain.from_iterable(_iteration(program, number) for number in range(program.max_iter)))
    return Listed(
        start=(*ranking(program.world, program.quantiles), *weighing(program, program.evidence)),
        phase=any_beyond(n, program.rows * len(program.models)),
        training=() if program.convergence is None else any_beyond(n, program.width * len(program.models)),
        parts=_evaluation(program),
    )


def counts(program: Fused | Prediction | Matching, phases: int = 0) -> Counter[Kind]:
    """How many requests of each kind a whole run makes whose training takes so many phases."""
    found = listed(program)
    return Counter(each.kind for each in chain(found.start, found.phase * phases, found.training, *found.parts))


def waits(program: Fused | Prediction | Matching) -> int:
    """How often parties wait for the dealer as long as a message to it and back takes, in a run that climbs no ladder.

    That is where something begins: a list, whose further requests are on their way by then, or what is dealt ahead.
    """
    found = listed(program)
    phases = len(program.segments) if isinstance(program, Fused) else 0
    lists = (found.start, *[found.phase] * phases, found.training, *found.parts)
    return phases + len(found.parts) + sum(bool(each) for each in lists)


def comparison(parties: int, shape: Shape) -> Requests:
    """CrypTen's `x < 0`: an adder for each pair of parties' bits, level by level, then the sign bit's conversion."""
    found: list[Request] = []
    while parties > 1:
        pairs = (parties // 2, *shape)
        found += [Request("binary", (pairs, pairs)), *[Request("binary", ((2, *pairs), (2, *pairs)))] * ADDER_LEVELS]
        parties -= parties // 2
    return (*found, Request("b2a", (shape,)))


def product(shape: Shape) -> Request:
    """Of two shared tensors, word by word."""
    return Request("triple", (shape, shape), "mul")


def any_beyond(parties: int, words: int) -> Requests:
    """Whether any word lies beyond a limit (`mpc.guard`)."""
    parts = (min(GUARD_SCORES, words - start) for start in range(0, words, GUARD_SCORES))
    return (*chain.from_iterable(comparison(parties, (2 * part,)) for part in parts), *comparison(parties, (1,)))


def clamping(parties: int, scores: int) -> Requests:
    """Scores within their bound (`mpc.evaluation.clamped`)."""
    return (*comparison(parties, (2 * scores,)), product((scores,)))


def area(parties: int, models: int) -> Requests:
    """The division of the area under the curve (`mpc.evaluation.area`)."""
    return (
        *comparison(parties, (COARSE, models)),
        product((models,)),
        *comparison(parties, (FINE - 1, models)),
    )


def counting(parties: int, words: int) -> Requests:
    """How many marks the counts of tables reach (`mpc.counting.reached`)."""
    parts = (min(GUARD_SCORES, words - start) for start in range(0, words, GUARD_SCORES))
    return tuple(chain.from_iterable(comparison(parties, (part,)) for part in parts))


def ranking(parties: int, quantiles: Quantiles | None) -> Requests:
    """Joint quantiles of columns (`mpc.quantiles.joint_quantiles`)."""
    return counting(parties, compared_with_marks(quantiles)) * DIGITS


def weighing(partition: Partition, evidence: Evidence | None) -> Requests:
    """Counts of labels by bins (`mpc.evidence.weigh`)."""
    columns = jointly(partition, evidence)
    sizes = (
        (each, columns[each.column].bins, each.rows.stop - each.rows.start) for each in crossings(partition, evidence)
    )
    found = (crossed((bins, rows), (rows,), (each.owner, each.labels)) for each, bins, rows in sizes)
    return (*found, *counting(partition.world, compared_words(partition, evidence)))


def crossed(one: Shape, other: Shape, owners: tuple[int, int]) -> Request:
    """A matrix of one party times a vector of another."""
    return Request("crossed", (one, other), "matmul", owners)


def _evaluation(program: Fused) -> tuple[Requests, ...]:
    if (found := program.evaluation) is None:
        return ()
    scores = clamping(program.world, found.rows * found.models)
    areas = area(program.world, found.models) if "auc" in found.figures else ()
    return scores, (*areas, *counting(program.world, found.compared_words))


def _iteration(program: Reference, number: int) -> Iterator[Request]:
    """One iteration of the reference engine, in the order of its operations."""
    n, rows, d = program.world, (program.rows,), (program.columns,)
    whole, X = (program.columns + 1,), (program.rows, program.columns)
    yield from _truncated(n, whole)  # the iterate
    yield Request("triple", (X, d), "matmul")
    yield from _truncated(n, rows)
    yield from _sigmoid(n, rows)
    if program.loss_every and number % program.loss_every == 0:
        yield from _loss(n, rows)
    yield Request("triple", (X[::-1], rows), "matmul")
    yield from _truncated(n, d)
    for _ in ("gradient", "penalty", "momentum"):
        yield from _truncated(n, whole)


def _sigmoid(parties: int, shape: Shape) -> Iterator[Request]:
    """1 / (1 + exp(-|z|)), and the sign's part."""
    squared = (Request("square", (shape,)), *_truncated(parties, shape))
    yield from comparison(parties, shape)
    yield product(shape)  # by the sign, which has no fraction to be cut off
    yield from _truncated(parties, shape)
    for _ in range(EXP_SQUARINGS):
        yield from squared
    yield from _truncated(parties, shape)
    for _ in range(RECIPROCAL_STEPS - 1):
        yield from (*squared, *_multiplied(parties, shape))
    yield product(shape)


def _loss(parties: int, shape: Shape) -> Iterator[Request]:
    yield from _truncated(parties, shape)
    for _ in range(LOG1P_PRODUCTS):
        yield from _multiplied(parties, shape)
    yield from _truncated(parties, shape)
    yield from _multiplied(parties, shape)  # labels by scores
    yield from _truncated(parties, (1,))


def _multiplied(parties: int, shape: Shape) -> Requests:
    return (product(shape), *_truncated(parties, shape))


def _truncated(parties: int, shape: Shape) -> Requests:
    """CrypTen's division by a public number: two parties do it without a word, more count their shares' wraps."""
    return (Request("wraps", (shape,)),) if parties > 2 else ()
