"""Logistic regression in three rounds an iteration: slots, reports and range guards of one run."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpc import guard
from mpc.blocks import Table, mask_table
from mpc.communicator import ChannelCommunicator
from mpc.disclosure import Disclosure
from mpc.errors import EngineError, RangeExceeded
from mpc.keys import TOTALS
from mpc.layouts import Arrays, Kind, items, layout, tuple_number
from mpc.models.logistic import Angles, LabelTotals, total_loss
from mpc.openings import Slot, Truncated, first_accepted
from mpc.program import LOSS_BITS, Fused, Rung, Segment
from mpc.ring import Words
from mpc.runtime import Progress, Runtime
from mpc.shares import words
from mpc.shim import ArithmeticSharedTensor
from mpc.solvers import Nesterov


@dataclass(frozen=True, repr=False)
class Scores:
    """What is left of a slot whose loss is to be reported. The work is done then, so that it shows no rejection."""

    w: Truncated
    z: ArithmeticSharedTensor
    angles: Angles
    labels_low: Words

    def loss(self, rank: int, totals: LabelTotals) -> ArithmeticSharedTensor:
        """The summed loss, scale 2**LOSS_BITS. No round."""
        label_scores = totals.dot(rank, self.w.delta, self.w.low, self.labels_low)
        return total_loss(self.angles.loss(rank, self.z), label_scores)


@dataclass
class Run:
    """One run's state: shares, the place in the schedule, what was disclosed to the session."""

    program: Fused
    runtime: Runtime
    table: Table
    totals: LabelTotals | None
    solver: Nesterov
    rung: Rung
    due: deque[Scores] = field(default_factory=deque, repr=False)  # whose losses are still to be reported
    losses: list[float] = field(default_factory=list)  # of the passes that count
    phase: int = 1
    place: int = 0
    passed: int = 0  # iterations of the segments before

    def take(self, kind: Kind) -> tuple[Arrays, Arrays]:
        """The next tuple of the phase."""
        number = tuple_number(self.phase, self.place)
        self.place += 1
        return self.runtime.provider.ahead(number, layout(self.program, self.rung, kind))


def run(
    program: Fused, block: NDArray[np.float64], labels: NDArray[np.int64] | None, runtime: Runtime
) -> tuple[Words, list[float]]:
    """Train. Returns a share of the weights at scale 2**ITERATE_BITS, and the disclosed losses.

    Raises: RangeExceeded if scores leave the range of the last rung of the ladder.
    """
    table, label_mask = mask_table(program, runtime.keys, block, labels)
    totals = _label_totals(program, runtime, table, label_mask) if program.loss_every else None
    state = Run(program, runtime, table, totals, Nesterov.start(program), program.ladder[0])
    ladder = list(program.ladder[1:])
    weights = words(state.solver.iterate())
    for segment in program.segments:
        while True:
            before, reported = state.solver, len(state.losses)
            if state.phase > 1:
                runtime.provider.announce(program.ladder.index(state.rung))
            passed, weights = _pass(state, segment)
            state.phase, state.place = state.phase + 1, 0
            if passed:
                state.passed += segment.iterations
                break
            if not ladder:
                raise RangeExceeded(
                    f"scores left the range of +-{state.rung.bound}, the widest that the contract holds",
                    action="perhaps the columns tell the classes apart without error: choose a smaller C",
                )
            state.rung, state.solver = ladder.pop(0), before
            state.due.clear()
            del state.losses[reported:]
    return weights, state.losses


def _label_totals(program: Fused, runtime: Runtime, table: Table, label_mask: Words | None) -> LabelTotals:
    """Cost: 1 round, 8 d bytes to each peer."""
    _, values = runtime.provider.ahead(tuple_number(0, 0), layout(program, program.ladder[0], "labels"))
    mask = runtime.keys.dealt.table.open(TOTALS).words((program.width,))
    communicator = ChannelCommunicator.get()
    with communicator.masked():
        epsilon = communicator.open_sum("labels", words(table.label_totals(label_mask, values["table_labels"])) - mask)
    return LabelTotals(np.asarray(epsilon), mask)


def _pass(state: Run, segment: Segment) -> tuple[bool, Words]:
    """One phase. Returns whether the range guard passed, and the weights at its end."""
    begin = state.solver.iteration
    slot = 0
    for kind in items(state.program, segment):
        loss = None
        if kind == "slot":
            _slot(state, begin, begin + segment.iterations)
            slot += 1
        elif kind == "report":
            loss = _report(state)
            state.losses.append(loss)
        _tell(state, segment, slot, loss)
    return _checkpoint(state)


def _slot(state: Run, begin: int, target: int) -> None:
    """Three rounds; the state moves only if no opening was rejected. Spare slots are drained as void ones."""
    program, rank = state.program, state.runtime.rank
    parts, values = state.take("slot")
    slot = Slot(void=state.solver.iteration == target)
    w = slot.truncating(
        "weights", state.solver.iterate(), parts["mask"], values["low"], program.state_window, program.state_shift
    )
    z = state.table.product(w, values["table_low"])
    theta = slot.period("scores", z, parts["turn"], state.rung.modulus_bits)
    angles = Angles(state.rung, theta, values)
    residuals = angles.residuals(program, rank, state.table.labels)
    r = slot.truncating(
        "residuals", residuals, parts["noise"], values["noise_low"], program.residual_window, program.residual_shift
    )
    following = state.solver.stepped(state.table.transposed_product(r, values["table_noise"]), w.tensor())
    if slot.void:
        return
    state.solver = following
    if program.loss_every and (following.iteration - begin) % program.loss_every == 0:
        state.due.append(Scores(w, z, angles, values["labels_low"]))


def _report(state: Run) -> float:
    """Disclose the mean loss that is due: one word, rounded under a mask first."""
    program = state.program
    parts, values = state.take("report")
    if not state.due or state.totals is None:
        raise EngineError("more openings were rejected than a session ever sees", action="propose the session again")
    loss = state.due.popleft().loss(state.runtime.rank, state.totals)
    _, truncated = first_accepted("loss", loss, parts["mask"], values["low"], program.loss_window, program.loss_shift)
    opened = state.runtime.discloser.open(Disclosure("loss", "session", 1), words(truncated.tensor()))
    total = 0.0 if opened is None else float(opened[0])
    return total * 2.0 ** (program.loss_shift - LOSS_BITS) / program.rows


def _checkpoint(state: Run) -> tuple[bool, Words]:
    """Round the weights and guard the range of their scores."""
    program = state.program
    parts, values = state.take("checkpoint")
    copy, w = first_accepted(
        "checkpoint", state.solver.iterate(), parts["mask"], values["low"], program.state_window, program.state_shift
    )
    z = state.table.product(w, values["table_low"][copy])
    return not guard.exceeded(state.runtime, state.rung, z), words(w.tensor())


def _tell(state: Run, segment: Segment, slot: int, loss: float | None) -> None:
    """Progress goes by the schedule: rejected openings do not show."""
    counters, of = state.runtime.channel.counters, state.program.max_iter
    done = state.passed + min(slot, segment.iterations)
    state.runtime.on_progress(Progress(done, of, counters.rounds, counters.bytes_sent, loss))
