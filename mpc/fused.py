"""Logistic regression, a gradient in three rounds: slots, refreshes, reports and range guards of one run."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mpc import guard
from mpc.blocks import Table, mask_table
from mpc.disclosure import Disclosure
from mpc.errors import EngineError, RangeExceeded
from mpc.keys import TOTALS
from mpc.layouts import Arrays, Kind, items, layout, opening_items, rows_of, tuple_number, unstacked
from mpc.models.logistic import Angles, LabelTotals, total_loss
from mpc.newton import Refresh
from mpc.openings import Slot, Truncated, first_accepted
from mpc.ordering import agreed_order
from mpc.program import LOSS_BITS, FirstOrder, Fused, MiniBatch, Newton, Rung, Segment
from mpc.ring import Words
from mpc.runtime import Progress, Runtime
from mpc.shares import words
from mpc.shim import ArithmeticSharedTensor
from mpc.solvers import LaggedNewton, Nesterov, Stochastic
from mpc.symmetric import packed_size

Solver: TypeAlias = Nesterov | Stochastic | LaggedNewton


@dataclass(frozen=True, repr=False)
class Scores:
    """What is left of a slot whose loss is to be reported. The work is done then, so that it shows no rejection."""

    w: Truncated
    z: ArithmeticSharedTensor
    angles: Angles
    labels_low: Words | None

    def loss(self, rank: int, totals: LabelTotals) -> ArithmeticSharedTensor:
        """The summed loss, scale 2**LOSS_BITS. No round."""
        if self.labels_low is None:
            raise EngineError("this program discloses no loss")
        label_scores = totals.dot(rank, self.w.delta, self.w.low, self.labels_low)
        return total_loss(self.angles.loss(rank, self.z), label_scores)


@dataclass(frozen=True, repr=False)
class Step:
    """A slot whose gradient is there."""

    slot: Slot
    scores: Scores
    gradient: ArithmeticSharedTensor


@dataclass
class Run:
    """One run's state: shares, the place in the schedule, what was disclosed to the session."""

    program: Fused
    runtime: Runtime
    table: Table
    totals: LabelTotals | None
    solver: Solver
    rung: Rung
    step: Step | None = field(default=None, repr=False)
    refresh: Refresh | None = field(default=None, repr=False)
    due: deque[Scores] = field(default_factory=deque, repr=False)  # whose losses are still to be reported
    losses: list[float] = field(default_factory=list)  # of the passes that count
    phase: int = 0
    place: int = 0
    passed: int = 0  # iterations of the segments before

    def take(self, kind: Kind) -> tuple[Arrays, Arrays]:
        """The next tuple of the phase."""
        number = tuple_number(self.phase, self.place)
        self.place += 1
        return self.runtime.provider.ahead(number, layout(self.program, self.rung, kind))

    def matrix_mask(self) -> Words:
        """This party's share of the mask that goes with the tuple taken last, of a symmetric matrix."""
        stream = self.runtime.keys.dealt.matrices.open(tuple_number(self.phase, self.place - 1))
        return stream.words((packed_size(self.program.width),))


def run(
    program: Fused, block: NDArray[np.float64], labels: NDArray[np.int64] | None, runtime: Runtime
) -> tuple[Words, list[float]]:
    """Train. Returns a share of the weights at scale 2**ITERATE_BITS, and the disclosed losses.

    Raises: RangeExceeded if scores leave the range of the last rung of the ladder.
    """
    if isinstance(program, MiniBatch):
        order = agreed_order(runtime.channel, program.rows)
        block, labels = block[order], None if labels is None else labels[order]
    table, label_mask = mask_table(program, runtime.keys, block, labels)
    state = Run(program, runtime, table, None, _solver(program), program.ladder[0])
    for kind in opening_items(program):
        if kind == "labels":
            state.totals = _label_totals(state, label_mask)
        else:
            _refresh(state, kind)
    state.phase, state.place = 1, 0
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


def _solver(program: Fused) -> Solver:
    if isinstance(program, MiniBatch):
        return Stochastic.start(program)
    if isinstance(program, Newton):
        return LaggedNewton.start(program)
    if isinstance(program, FirstOrder):
        return Nesterov.start(program)
    raise EngineError("no solver stands for this program")


def _label_totals(state: Run, label_mask: Words | None) -> LabelTotals:
    """Cost: 1 round, 8 d bytes to each peer."""
    _, values = state.take("labels")
    mask = state.runtime.keys.dealt.table.open(TOTALS).words((state.program.width,))
    totals = Slot().whole("labels", state.table.label_totals(label_mask, values["table_labels"]), mask)
    return LabelTotals(totals.public, mask)


def _pass(state: Run, segment: Segment) -> tuple[bool, Words]:
    """One phase. Returns whether the range guard passed, and the weights at its end."""
    begin = state.solver.iteration
    slot = 0
    for kind in items(state.program, segment):
        if kind == "lot":
            slot += _lot(state, begin, segment, slot)
        elif kind == "slot":
            state.step = _slot(state, state.table, state.take(kind), begin + segment.iterations)
            slot += 1
            if isinstance(state.solver, Nesterov):
                _moved(state, begin, state.solver.stepped(state.step.gradient, state.step.scores.w.tensor()))
            _tell(state, segment, slot, None)
        elif kind == "advance":
            _moved(state, begin, _advanced(state))
        elif kind == "report":
            state.losses.append(_report(state))
            _tell(state, segment, slot, state.losses[-1])
        elif kind != "checkpoint":
            _refresh(state, kind)
    return _checkpoint(state)


def _lot(state: Run, begin: int, segment: Segment, before: int) -> int:
    """Slots dealt at once, each a step on its own rows. Returns how many."""
    program, number = state.program, tuple_number(state.phase, state.place)
    if not isinstance(program, MiniBatch):
        raise EngineError("only mini-batches are dealt in lots")
    for slot, taken in enumerate(unstacked(program, *state.take("lot"))):
        table = state.table.batch(rows_of(program, number, slot))
        state.step = _slot(state, table, taken, begin + segment.iterations)
        if isinstance(state.solver, Stochastic):
            _moved(state, begin, state.solver.stepped(state.step.gradient, state.step.scores.w.tensor()))
        _tell(state, segment, before + slot + 1, None)
    return program.lot


def _slot(state: Run, table: Table, taken: tuple[Arrays, Arrays], target: int) -> Step:
    """A gradient in three rounds. Spare slots are drained as void ones."""
    program, rank = state.program, state.runtime.rank
    parts, values = taken
    slot = Slot(void=state.solver.iteration == target)
    w = slot.truncating(
        "weights", state.solver.iterate(), parts["mask"], values["low"], program.state_window, program.state_shift
    )
    z = table.product(w, values["table_low"])
    theta = slot.period("scores", z, parts["turn"], state.rung.modulus_bits)
    angles = Angles(state.rung, theta, values)
    residuals = angles.residuals(program, rank, table.labels)
    r = slot.truncating(
        "residuals", residuals, parts["noise"], values["noise_low"], program.residual_window, program.residual_shift
    )
    scores = Scores(w, z, angles, values["labels_low"] if program.loss_every else None)
    return Step(slot, scores, table.transposed_product(r, values["table_noise"]))


def _advanced(state: Run) -> LaggedNewton:
    """The step that a gradient leads to by the inverse in force. Cost: 1 round, 8 d bytes to each peer."""
    program, solver, step = state.program, state.solver, state.step
    if step is None or not isinstance(program, Newton) or not isinstance(solver, LaggedNewton):
        raise EngineError("a Newton step came without a gradient")
    parts, values = state.take("advance")
    w = step.scores.w.tensor()
    g = step.slot.truncating(
        "gradient",
        solver.gradient(step.gradient, w),
        parts["mask"],
        values["low"],
        program.gradient_window,
        program.gradient_shift,
    )
    return solver.stepped(g, values["inverse_gradient"], w)


def _moved(state: Run, begin: int, following: Solver) -> None:
    """The state moves only if no opening of the slot was rejected."""
    every = state.program.loss_every
    if state.step is None or state.step.slot.void:
        return
    state.solver = following
    if every and (following.iteration - begin) % every == 0:
        state.due.append(state.step.scores)


def _refresh(state: Run, kind: Kind) -> None:
    """One item of what makes the inverse anew."""
    program, solver = state.program, state.solver
    if not isinstance(program, Newton) or not isinstance(solver, LaggedNewton):
        raise EngineError(f"only Newton's method has items of kind '{kind}'")
    taken = state.take(kind)
    if kind == "gram":
        state.refresh = Refresh.from_gram(program, state.table, taken[1])
    elif kind == "density" and state.step is not None:
        density, void = state.step.scores.angles.density(state.runtime.rank), state.step.slot.void
        state.refresh = Refresh.from_density(program, state.table, density, taken, solver.inverse, void=void)
    elif state.refresh is None:
        raise EngineError(f"an item of kind '{kind}' came before any refresh")
    elif kind == "information":
        state.refresh.information(state.matrix_mask(), *taken)
    elif kind == "step":
        state.refresh.step(*taken)
    elif kind == "product":
        state.refresh.product(*taken)
    else:
        state.solver = solver.refreshed(state.refresh.inverse(state.matrix_mask(), *taken))


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
