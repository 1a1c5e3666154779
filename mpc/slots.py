"""One slot: all models' gradients in three rounds, and what follows from the same opened angles without a round."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from mpc.blocks import Table
from mpc.fused_program import Fused, Rung
from mpc.layouts import Arrays
from mpc.models.logistic import Angles
from mpc.openings import Slot, Truncated
from mpc.ring import Words
from mpc.shares import shared, words
from mpc.shim import ArithmeticSharedTensor
from mpc.validation import judges, trains


@dataclass(frozen=True)
class Wanted:
    """What a slot computes beside residuals."""

    curved: bool = False  # p (1 - p), for a refresh
    softplus: bool = False  # for a loss


NOTHING_ELSE = Wanted()


@dataclass(frozen=True, repr=False)
class Tables:
    """The masks of a slot's angles, and the dealer's tables for them, strip by strip."""

    turn: Words
    strips: Iterable[tuple[slice, Callable[[], Arrays]]]
    wanted: Wanted


@dataclass(frozen=True, repr=False)
class Scores:
    """What follows from a slot's opened angles, strip by strip, without a round.

    What is asked for depends on the schedule alone, and is computed in void slots too: no time tells of a rejection.
    """

    residuals: Words  # (m, models)
    density: Words | None  # (m, models), in slots with a refresh
    softplus: Words | None  # (models,), in slots that may report the loss: of the rows that judge a model


@dataclass(frozen=True, repr=False)
class Step:
    """A slot whose gradients are there."""

    slot: Slot
    w: Truncated  # (d, models)
    gradient: ArithmeticSharedTensor  # (d, models)
    scores: Scores
    astray: bool  # these are of no iterate: a spare slot, or the iterate's opening was rejected
    loss: ArithmeticSharedTensor | None = None  # summed, of each model, scale 2**LOSS_BITS


def step(
    program: Fused,
    rung: Rung,
    rank: int,
    table: Table,
    iterate: ArithmeticSharedTensor,
    taken: tuple[Arrays, Arrays],
    tables: Tables,
    *,
    void: bool,
) -> Step:
    """X^T (sigmoid(X W) - y). Shapes: table (m, d), iterate (d, models).

    Cost: 3 rounds, 8 d + 12 m bytes for each model to each peer.  Reveals: nothing (masked).
    """
    (parts, values), slot = taken, Slot(void=void)
    w = slot.truncating("weights", iterate, parts["mask"], values["low"], program.state_window, program.state_shift)
    z = table.product(w, values["table_low"])
    theta, astray = slot.period("scores", z, tables.turn, rung.modulus_bits), slot.void
    scores = _scores(program, rung, rank, table, z, theta, tables)
    r = slot.truncating(
        "residuals",
        shared(scores.residuals),
        parts["noise"],
        values["noise_low"],
        program.residual_window,
        program.residual_shift,
    )
    return Step(slot, w, table.transposed_product(r, values["table_noise"]), scores, astray)


def _scores(
    program: Fused, rung: Rung, rank: int, table: Table, z: ArithmeticSharedTensor, theta: Words, tables: Tables
) -> Scores:
    """No round."""
    residuals = np.empty(theta.shape, dtype=np.int64)
    density = np.empty(theta.shape, dtype=np.int64) if tables.wanted.curved else None
    softplus = np.zeros(len(program.models), dtype=np.int64) if tables.wanted.softplus else None
    for rows, values in tables.strips:
        angles = Angles(rung, theta[rows], values())
        labels = None if table.labels is None else table.labels[rows]
        trained = trains(program, table.order[rows])
        residuals[rows] = _of(trained, angles.residuals(program, rank, labels))
        if density is not None:
            density[rows] = _of(trained, angles.density(rank))
        if softplus is not None:
            softplus += angles.loss(rank, shared(words(z)[rows]), judges(program, table.order[rows]))
    return Scores(residuals, density, softplus)


def _of(trained: Words | None, x: Words) -> Words:
    """Zero in rows that don't train a model."""
    return x if trained is None else x * trained
