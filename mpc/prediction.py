"""Probabilities of new rows by a model that lies in shares, told to one party; nobody sees a score or a coefficient.

The rows are masked and exchanged as a table that is trained on. The model is opened once under a mask that fills the
ring, which gives shares of all scores. They are clamped under MPC, so that none leaves the sigmoid's period: unlike a
range guard that discloses no bit and can't fail. Strip by strip they are opened modulo the period under fresh turns;
sines and cosines give shares of the probabilities, which are rounded and opened to the recipient. No opening is of the
kind that can be rejected: what everybody sends, and when, follows from the program alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpc import prediction_layouts
from mpc.amounts import probabilities
from mpc.blocks import check_rows_of_others, mask_blocks, with_constant
from mpc.disclosure import Disclosure
from mpc.errors import ProgramError
from mpc.evaluation import clamped
from mpc.held_out import HeldOutTable
from mpc.layouts import Arrays, Kind, tuple_number
from mpc.models.logistic import Angles
from mpc.openings import Slot
from mpc.prediction_program import Prediction
from mpc.ring import Words
from mpc.runtime import Progress, Runtime
from mpc.scales import DATA_BITS, GUARD_SCORES
from mpc.shares import shared, words

Probabilities = NDArray[np.float64]
Told = Callable[[slice, Probabilities], None]


@dataclass
class _Part:
    """The tuples of one part, in order. To make one tells the dealer that the part begins."""

    program: Prediction
    runtime: Runtime
    number: int
    place: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.runtime.provider.announce_evaluation()

    def take(self, kind: Kind) -> tuple[Arrays, Arrays]:
        number = tuple_number(self.number, self.place)
        self.place += 1
        return self.runtime.provider.ahead(number, prediction_layouts.layout(self.program, kind))


def predict(
    program: Prediction, block: NDArray[np.float64], weights: Words, runtime: Runtime, tell: Told = lambda *_: None
) -> None:
    """Run the program on this party's new rows, standardised as the model's were.

    Shapes: block (rows, own columns), zero in rows of others; weights (d, classes): a share at scale 2**ITERATE_BITS,
    the intercepts' last.
    `tell` is called at the recipient alone, with the probabilities of each strip of rows, (rows, classes): of several
    classes each is against the rest, so that a row's need not add up to 1.
    Error: 3e-5 from the sigmoid and its tables; below 2**-DIGITS from rounding, unbiased; and a quarter, at most, of
    what rows rounded to 2**-DATA_BITS and weights to 2**-ITERATE_BITS change in a score.
    Reveals: the probabilities, rounded, to the recipient.
    Raises: ProgramError, before anything is sent, if block or weights are not what the program says.
    """
    _check_input(program, block, weights, runtime.rank)
    runtime.stage("prediction")
    runtime.commitments.block("new rows", block, None, DATA_BITS)
    z = _scores(program, block, weights, runtime)
    runtime.commitments.commit()
    part, counters = _Part(program, runtime, 1), runtime.channel.counters
    for rows in program.strips:
        opened = runtime.discloser.open(
            Disclosure(program.disclosed.name, program.disclosed.recipients, z[rows].size),
            _probabilities(program, z[rows], part, runtime.rank).reshape(-1),
        )
        if opened is not None:
            tell(rows, probabilities(program, opened.reshape(-1, program.classes)))
        runtime.on_progress(Progress(rows.stop, program.rows, counters.rounds, counters.bytes_sent, None))
    runtime.commitments.commit()


def _check_input(program: Prediction, block: NDArray[np.float64], weights: Words, rank: int) -> None:
    expected = (program.rows, len(program.held(rank)))
    if block.shape != expected:
        raise ProgramError(f"this party's rows are {block.shape}, the contract says {expected}")
    if block.size and not np.abs(block).max() <= 1 << program.clip_bits:
        raise ProgramError(f"a value exceeds the contract's bound of 2**{program.clip_bits}", action="clip it")
    check_rows_of_others(program, block, None, rank)
    if weights.shape != (program.width, program.classes) or weights.dtype != np.int64:
        count = program.width * program.classes
        raise ProgramError(f"this party's share is of {weights.size} weights, the contract's model has {count}")


def _scores(program: Prediction, block: NDArray[np.float64], weights: Words, runtime: Runtime) -> Words:
    """Shares of the scores, clamped. Shapes: -> (rows, classes), scale 2**SCORE_BITS.

    Cost: 1 round for the rows, 8 bytes an own entry to each peer; 1 for the model, 8 d for each class; the comparisons,
    and a product, of GUARD_SCORES scores at once.  Reveals: nothing (masked).
    """
    rank, masks = runtime.rank, runtime.keys.dealt.table
    masked = mask_blocks("table", program, program.width, masks, block, None, exchanged=0)
    table = HeldOutTable(program.own(rank), with_constant(program, rank, masked.X), masked.E, masked.masked_labels)
    parts, values = _Part(program, runtime, 0).take("model")
    opened = Slot().whole("model", shared(weights), parts["mask"])
    z = words(table.scores(opened, values["table_mask"])).reshape(-1)
    pieces = [z[start : start + GUARD_SCORES] + 0 for start in range(0, z.size, GUARD_SCORES)]
    found = np.concatenate([words(clamped(program.bound, rank, shared(piece))) for piece in pieces])
    return found.reshape(program.rows, program.classes)


def _probabilities(program: Prediction, z: Words, part: _Part, rank: int) -> Words:
    """Shares of a strip's probabilities, rounded. Shapes: z (m, classes) -> the same, scale 2**digits.

    Cost: 2 rounds, 12 bytes a score to each peer.  Reveals: nothing (masked).
    """
    parts, values = part.take("probabilities")
    m, slot = len(z), Slot()
    theta = slot.period("scores", shared(z + 0), parts["turn"][:m], program.rung.modulus_bits)
    p = Angles(program.rung, theta, values).sigmoid((1 << program.unit_bits,) * program.classes, rank)
    rounding = (parts["mask"][:m], values["low"][:m], values["top"][:m])
    return words(slot.rounded("probabilities", shared(p + 0), *rounding, program.shift))
