"""Logistic regression, a gradient in three rounds: slots, refreshes, reports and range guards of one run."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mpc import guard, slots
from mpc.amounts import mean_losses
from mpc.blocks import Table, mask_table
from mpc.convergence import converged
from mpc.disclosure import Disclosure
from mpc.errors import EngineError, RangeExceeded
from mpc.fused_program import FirstOrder, Fused, MiniBatch, Newton, Rung, Segment
from mpc.keys import TOTALS
from mpc.layouts import Arrays, Kind, filled, items, layout, opening_items, rows_of, tells_loss, tuple_number, unstacked
from mpc.models.logistic import Angles, LabelTotals, total_loss
from mpc.newton import Refresh
from mpc.openings import Slot, Truncated, first_accepted
from mpc.ordering import agreed_seed, order
from mpc.ring import Words
from mpc.runtime import Progress, Runtime
from mpc.shares import shared, words
from mpc.shim import ArithmeticSharedTensor
from mpc.slots import NOTHING_ELSE, Step, Tables, Wanted
from mpc.solvers import LaggedNewton, Nesterov, Stochastic
from mpc.symmetric import packed_size
from mpc.validation import judges, summed, total_columns, totals

Losses: TypeAlias = tuple[float, ...]  # of each model that is trained on all rows
Solver: TypeAlias = Nesterov | Stochastic | LaggedNewton


class Report(NamedTuple):
    """Mean losses after an iteration."""

    losses: Losses
    validated: Losses  # of each C, of every row by the model that did not see it; empty without a cross-validation


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
    last: tuple[ArithmeticSharedTensor, Truncated] | None = field(default=None, repr=False)
    """The data's part of the last gradient that led to a step, and the truncated iterate that it was taken at."""
    due: deque[ArithmeticSharedTensor] = field(default_factory=deque, repr=False)  # losses still to be reported
    reports: list[Report] = field(default_factory=list)  # of the passes that count
    phase: int = 0
    place: int = 0
    strip: int = 0  # of a refresh, that comes next
    passed: int = 0  # iterations of the segments before

    def take(self, kind: Kind) -> tuple[Arrays, Arrays]:
        """The next tuple of the phase."""
        number = tuple_number(self.phase, self.place)
        self.place += 1
        return self.runtime.provider.ahead(number, layout(self.program, self.rung, kind))

    def begin(self, kind: Kind, count: int) -> list[tuple[Arrays, Callable[[], Arrays]]]:
        """The next tuples of one kind: parts, and what gives the values when their turn comes."""
        shape, provider = layout(self.program, self.rung, kind), self.runtime.provider
        found: list[tuple[Arrays, Callable[[], Arrays]]] = []
        for _ in range(count):
            number = tuple_number(self.phase, self.place)
            parts, stream = provider.begun(number, shape)
            found.append((parts, partial(provider.values, number, shape, stream)))
            self.place += 1
        return found

    def matrix_mask(self) -> Words:
        """This party's share of the mask that goes with the tuple taken last, of symmetric matrices."""
        stream = self.runtime.keys.dealt.matrices.open(tuple_number(self.phase, self.place - 1))
        return stream.words((len(self.program.models), packed_size(self.program.width)))


def run(
    program: Fused, block: NDArray[np.float64], labels: NDArray[np.int64] | None, runtime: Runtime
) -> tuple[Words, list[Report], tuple[int, ...], bool | None]:
    """Train. Returns shares of the weights, the disclosed losses, each segment's last rung, and whether all converged.

    Of rungs their numbers on the ladder; the last is None if the program does not tell.

    Shapes: weights (d, models), scale 2**ITERATE_BITS.

    Raises: RangeExceeded if scores leave the range of the last rung of the ladder.
    """
    table, label_mask = mask_table(program, runtime.keys, block, labels, runtime.device)
    runtime.commitments.commit()
    runtime.stage("training")
    seed = _agreed_order(program, runtime)
    state = Run(program, runtime, table, None, _solver(program), program.ladder[0])
    del table  # which may soon be held in another order
    for kind in opening_items(program):
        if kind == "labels":
            state.totals = _label_totals(state, label_mask)
        else:
            _refresh(state, kind)
    if seed is not None:
        state.table = state.table.batch(order(seed, program.rows))  # labels' totals needed the owners' places
    state.phase, state.place = 1, 0
    ladder, rungs = list(program.ladder[1:]), []
    weights = words(state.solver.iterate())
    for segment in program.segments:
        while True:
            before, reported = state.solver, len(state.reports)
            if state.phase > 1:
                runtime.provider.announce(program.ladder.index(state.rung))
            passed, weights = _pass(state, segment)
            state.phase, state.place = state.phase + 1, 0
            if passed:
                state.passed += segment.iterations
                rungs.append(program.ladder.index(state.rung))
                break
            if not ladder:
                raise RangeExceeded(
                    f"scores left the range of +-{state.rung.bound}, the widest that the contract holds",
                    action="perhaps the columns tell the classes apart without error: choose a smaller C",
                )
            state.rung, state.solver = ladder.pop(0), before
            state.due.clear()
            del state.reports[reported:]
    return weights, state.reports, tuple(rungs), _converged(state)


def _agreed_order(program: Fused, runtime: Runtime) -> bytes | None:
    """Of mini-batches: what the rows' order follows from, told to the dealer as well."""
    if not isinstance(program, MiniBatch):
        return None
    seed = agreed_seed(runtime.channel, runtime.entropy)
    runtime.provider.tell_order(seed)
    return seed


def _solver(program: Fused) -> Solver:
    if isinstance(program, MiniBatch):
        return Stochastic.start(program)
    if isinstance(program, Newton):
        return LaggedNewton.start(program)
    if isinstance(program, FirstOrder):
        return Nesterov.start(program)
    raise EngineError("no solver stands for this program")


def _label_totals(state: Run, label_mask: Words | None) -> LabelTotals:
    """Cost: 1 round, 8 d bytes for each of the totals to each peer."""
    program, (_, values) = state.program, state.take("labels")
    mask = state.runtime.keys.dealt.table.open(TOTALS).words((program.width, len(totals(program))))
    opened = Slot().whole("labels", state.table.label_totals(program, label_mask, values["table_labels"]), mask)
    columns = total_columns(program)
    return LabelTotals(opened.public[:, columns], mask[:, columns])


def _pass(state: Run, segment: Segment) -> tuple[bool, Words]:
    """One phase. Returns whether the range guard passed, and the weights at its end."""
    begin, slot, weights = state.solver.iteration, 0, None
    for kind in items(state.program, segment):
        if kind == "lot":
            slot += _lot(state, begin, segment, slot)
        elif kind == "slot":
            slot += 1
            state.step = _full_slot(state, slot, begin + segment.iterations)
            if isinstance(state.solver, Nesterov):
                _moved(state, begin, state.solver.stepped(state.step.gradient, state.step.w.tensor()))
            _tell(state, segment, slot, None)
        elif kind == "advance":
            _moved(state, begin, _advanced(state))
        elif kind == "report":
            state.reports.append(_report(state))
            _tell(state, segment, slot, state.reports[-1].losses)
        elif kind == "checkpoint":
            weights, z = _checkpoint(state)
        elif kind != "tables":  # what they are for takes them itself
            _refresh(state, kind)
    if weights is None:
        raise EngineError("a phase ended without a checkpoint")
    state.runtime.commitments.commit()
    return not guard.exceeded(state.runtime, state.rung, z), weights


def _lot(state: Run, begin: int, segment: Segment, before: int) -> int:
    """Slots dealt at once, each a step on its own rows. Returns how many."""
    program, number = state.program, tuple_number(state.phase, state.place)
    if not isinstance(program, MiniBatch):
        raise EngineError("only mini-batches are dealt in lots")
    for slot, taken in enumerate(unstacked(program, *state.take("lot"))):
        table = state.table.batch(rows_of(program, number, slot))
        state.step = _step(state, table, taken, begin + segment.iterations, _of_lot(taken))
        if isinstance(state.solver, Stochastic):
            _moved(state, begin, state.solver.stepped(state.step.gradient, state.step.w.tensor()))
        _tell(state, segment, before + slot + 1, None)
    return program.lot


def _full_slot(state: Run, number: int, target: int) -> Step:
    """A slot on all rows."""
    program, taken = state.program, state.take("slot")
    begun = state.begin("tables", program.strips)
    turn = np.concatenate([parts["turn"] for parts, _ in begun])[: program.rows]
    curved = isinstance(program, Newton) and program.refreshes(number)
    wanted = Wanted(curved=curved, softplus=program.may_report(number))
    strips = ((program.strip(place), values) for place, (_, values) in enumerate(begun))
    step = _step(state, state.table, taken, target, Tables(turn, strips, wanted))
    if not wanted.softplus or state.totals is None or step.scores.softplus is None:
        return step
    label_scores = state.totals.dot(state.runtime.rank, step.w.delta, step.w.low, taken[1]["labels_low"])
    return replace(step, loss=total_loss(step.scores.softplus, label_scores))


def _of_lot(taken: tuple[Arrays, Arrays]) -> Tables:
    """The tables of one slot of a lot: one strip, which is there already."""
    parts, values = taken
    return Tables(parts["turn"], [(slice(None), lambda: values)], NOTHING_ELSE)


def _step(state: Run, table: Table, taken: tuple[Arrays, Arrays], target: int, tables: Tables) -> Step:
    """Spare slots are drained as void ones."""
    void, rank = state.solver.iteration == target, state.runtime.rank
    return slots.step(state.program, state.rung, rank, table, state.solver.iterate(), taken, tables, void=void)


def _advanced(state: Run) -> LaggedNewton:
    """The step that a gradient leads to by the inverse in force. Cost: 1 round, 8 d M bytes to each peer."""
    program, solver, step = state.program, state.solver, state.step
    if step is None or not isinstance(program, Newton) or not isinstance(solver, LaggedNewton):
        raise EngineError("a Newton step came without a gradient")
    parts, values = state.take("advance")
    w = step.w.tensor()
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
    state.solver, state.last = following, (state.step.gradient, state.step.w)
    if every and (following.iteration - begin) % every == 0 and state.step.loss is not None:
        state.due.append(state.step.loss)


def _refresh(state: Run, kind: Kind) -> None:
    """One item of what makes the inverse anew."""
    program, solver = state.program, state.solver
    if not isinstance(program, Newton) or not isinstance(solver, LaggedNewton):
        raise EngineError(f"only Newton's method has items of kind '{kind}'")
    if kind == "density":
        _density(state, program, solver)
        return
    taken = state.take(kind)
    if kind == "gram":
        state.refresh = Refresh.from_gram(program, state.table, taken[1])
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


def _density(state: Run, program: Newton, solver: LaggedNewton) -> None:
    """A strip's part of the information matrix; the first one begins a refresh."""
    step, strip = state.step, state.strip
    if step is None or step.scores.density is None:
        raise EngineError("a refresh came in a slot without p (1 - p)")
    if strip == 0:
        state.refresh = Refresh.of_strips(program, solver.inverse, void=step.astray)
    if state.refresh is None:
        raise EngineError("a refresh does not begin with its first strip")
    rows, count = program.strip(strip), program.strip_rows
    density = shared(filled(step.scores.density[rows], count))
    state.refresh.density(state.table.strip(rows, count), density, *state.take("density"))
    state.strip = (strip + 1) % program.strips


def _report(state: Run) -> Report:
    """Disclose the mean losses that are due: a word each, rounded under a mask first."""
    program = state.program
    parts, values = state.take("report")
    if not state.due:
        raise EngineError("more openings were rejected than a session ever sees", action="propose the session again")
    due = shared(summed(program, words(state.due.popleft())))
    _, truncated = first_accepted("loss", due, parts["mask"], values["low"], program.loss_window, program.loss_shift)
    share, whole = words(truncated.tensor()), len(program.grid) * program.classes
    return Report(_mean_losses(state, "loss", share[:whole]), _mean_losses(state, "cross-validation", share[whole:]))


def _mean_losses(state: Run, name: str, share: Words) -> Losses:
    if not share.size:
        return ()
    opened = state.runtime.discloser.open(Disclosure(name, "session", share.size), share)
    if opened is None:
        raise EngineError("a disclosure to the session was not opened here")
    return mean_losses(state.program, name, opened)


def _checkpoint(state: Run) -> tuple[Words, ArithmeticSharedTensor]:
    """Round the weights. Returns shares of them, and their scores, whose range is to be guarded."""
    program = state.program
    parts, values = state.take("checkpoint")
    copy, w = first_accepted(
        "checkpoint", state.solver.iterate(), parts["mask"], values["low"], program.state_window, program.state_shift
    )
    z = state.table.product(w, values["table_low"][copy])
    if state.totals is not None and tells_loss(program):
        label_scores = state.totals.dot(state.runtime.rank, w.delta, w.low, values["labels_low"][copy])
        state.due.append(total_loss(_softplus(state, z), label_scores))
    return words(w.tensor()), z


def _softplus(state: Run, z: ArithmeticSharedTensor) -> Words:
    """Shares of sum log(1 + exp(z)) over the rows that judge a model, scale 2**LOSS_BITS.

    Shapes: z (m, models) -> (models,).
    Cost: 1 round, 4 m bytes a model to each peer.  Reveals: nothing (masked).
    """
    program, begun = state.program, state.begin("tables", state.program.strips)
    turn = np.concatenate([parts["turn"] for parts, _ in begun])[: program.rows]
    theta = Slot().period("losses", z, turn, state.rung.modulus_bits)
    found = np.zeros(len(program.models), dtype=np.int64)
    for place, (_, values) in enumerate(begun):
        rows = program.strip(place)
        scores, counted = shared(words(z)[rows] + 0), judges(program, state.table.order[rows])
        found += Angles(state.rung, theta[rows], values()).loss(state.runtime.rank, scores, counted)
    return found


def _converged(state: Run) -> bool | None:
    """Whether the last gradient that led to a step is small; None if the program does not tell."""
    convergence, solver = state.program.convergence, state.solver
    if convergence is None:
        return None
    if state.last is None or isinstance(solver, Stochastic):
        raise EngineError("no step of this run has a gradient of the whole table", action="propose the session again")
    of_data, w = state.last
    every = np.array(convergence.every)
    return converged(state.runtime, convergence, solver.gradient(shared(words(of_data) * every), w.tensor()))


def _tell(state: Run, segment: Segment, slot: int, losses: Losses | None) -> None:
    """Progress goes by the schedule: rejected openings do not show."""
    counters, of = state.runtime.channel.counters, state.program.max_iter
    done = state.passed + min(slot, segment.iterations)
    state.runtime.on_progress(Progress(done, of, counters.rounds, counters.bytes_sent, losses))
