"""One training run on one page: share the table, iterate, evaluate, disclose what the contract names."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpc import fused, reference
from mpc.blocks import check_rows_of_others
from mpc.design import Common
from mpc.disclosure import Disclosure
from mpc.errors import ProgramError
from mpc.evaluation import Figures, evaluate
from mpc.fused_program import Fused
from mpc.held_out import OwnRows, mask_held_out
from mpc.noise import noised
from mpc.partition import Partition
from mpc.program import Program
from mpc.ring import Words, decode
from mpc.runtime import Runtime
from mpc.scales import DATA_BITS, ITERATE_BITS
from mpc.validation import told


@dataclass(frozen=True)
class Fitted:
    """What this party was told of a model, in standardised units."""

    C: str
    label: int  # the column of labels that it tells from the rest
    coefficients: NDArray[np.float64] = field(repr=False)  # this party's columns
    intercept: float | None = field(repr=False)  # the labels' owners'
    losses: tuple[float, ...]
    converged: bool | None  # None where the program does not tell
    figures: Figures  # of the held-out rows


@dataclass(frozen=True)
class Fit:
    """What this party was told, and what the run cost."""

    models: tuple[Fitted, ...]
    validated: dict[str, float]  # the cross-validated loss of each C; empty without one
    rungs: tuple[int, ...]  # of the ladder, on which each segment ended: each one up was a guard's bit
    iterations: int
    rounds: int
    bytes_sent: int
    share: Words | None = field(
        repr=False
    )  # (width, models): of all told weights, fresh, scale 2**ITERATE_BITS; of the fused engine alone


def train(
    program: Program,
    block: NDArray[np.float64],
    labels: NDArray[np.int64] | None,
    runtime: Runtime,
    held_out: OwnRows | None = None,
) -> Fit:
    """Run the program on this party's standardised columns.

    Shapes: block (rows, own columns), labels (rows,) at owners of labels, None elsewhere: 0 and 1, or of several
    classes their numbers from 0. Own columns are those of which the party owns entries; in both, rows of other parties
    are zeros. Of a cross-validation the models of the C with the least loss are told, trained on all rows.
    `held_out` is there if the program evaluates, and its shapes are likewise.
    Reveals: the program's disclosures, to their recipients.
    Raises: ProgramError if the block is not what the program says; EngineError if the run can't go on.
    """
    check_input(program, block, labels, runtime.rank)
    check_held_out(program, held_out, runtime.rank)
    runtime.stage("masking")
    runtime.commitments.block("training", block, labels, DATA_BITS)
    if held_out is not None:
        runtime.commitments.block("held-out", held_out.block, held_out.labels, DATA_BITS)
    if isinstance(program, Fused):
        return _fused(program, block, labels, runtime, held_out)
    runtime.commitments.commit()
    share, losses = reference.run(program, block, labels, runtime)
    runtime.stage("results")
    coefficients, intercepts = _open_results(program, share, program.fraction_bits + program.fine_bits, runtime)
    runtime.commitments.commit()
    of_model = tuple(loss for (loss,) in losses)
    model = Fitted(program.C, 0, np.ascontiguousarray(coefficients[:, 0]), intercepts[0], of_model, None, {})
    counters = runtime.channel.counters
    return Fit((model,), {}, (), program.max_iter, counters.rounds, counters.bytes_sent, None)


def _fused(
    program: Fused,
    block: NDArray[np.float64],
    labels: NDArray[np.int64] | None,
    runtime: Runtime,
    held_out: OwnRows | None,
) -> Fit:
    table = None if held_out is None else mask_held_out(program, runtime.keys, held_out)
    weights, reports, rungs, converged = fused.run(program, block, labels, runtime)
    validated = reports[-1].validated if program.folds else ()
    places = told(program, validated)
    share = noised(program, np.ascontiguousarray(weights[:, places]), runtime.entropy)
    figures: list[Figures] = [{}] * program.results
    if table is not None:
        runtime.stage("evaluation")
        figures = evaluate(program, table, share, runtime)
    runtime.stage("results")
    coefficients, intercepts = _open_results(program, share, ITERATE_BITS, runtime)
    runtime.commitments.commit()
    models = tuple(
        Fitted(
            program.models[place].C,
            program.models[place].label,
            np.ascontiguousarray(coefficients[:, number]),
            intercepts[number],
            tuple(report.losses[place] for report in reports),
            converged,
            figures[number],
        )
        for number, place in enumerate(places)
    )
    counters = runtime.channel.counters
    # The dealer knows what hides the last iterate: only fresh shares of it may be kept.
    kept = runtime.keys.refreshed("model", share)
    by_strength = dict(zip(program.grid, validated, strict=True)) if program.folds else {}
    return Fit(models, by_strength, rungs, program.max_iter, counters.rounds, counters.bytes_sent, kept)


def check_input(program: Program, block: NDArray[np.float64], labels: NDArray[np.int64] | None, rank: int) -> None:
    """Raises: ProgramError, before anything is sent."""
    _check_rows(program, program, block, labels, rank)


def check_held_out(program: Program, held_out: OwnRows | None, rank: int) -> None:
    """Raises: ProgramError, before anything is sent."""
    evaluation = program.evaluation if isinstance(program, Fused) else None
    if (held_out is None) != (evaluation is None):
        raise ProgramError("held-out rows are given where the contract evaluates the model, and nowhere else")
    if held_out is not None and evaluation is not None:
        _check_rows(program, evaluation.partition, held_out.block, held_out.labels, rank)


def _check_rows(
    program: Program, partition: Partition, block: NDArray[np.float64], labels: NDArray[np.int64] | None, rank: int
) -> None:
    expected = (partition.rows, len(program.held(rank)))
    if block.shape != expected:
        raise ProgramError(f"this party's table is {block.shape}, the contract says {expected}")
    if block.size and not np.abs(block).max() <= 1 << program.clip_bits:
        raise ProgramError(f"a value exceeds the contract's bound of 2**{program.clip_bits}", action="clip it")
    if (labels is not None) != (rank in program.label_owners):
        raise ProgramError("labels are given by their owners and nobody else")
    classes = max(program.classes, 2)
    if labels is not None and not (
        labels.dtype == np.int64 and labels.shape == (partition.rows,) and np.isin(labels, range(classes)).all()
    ):
        raise ProgramError(f"labels must be 0 to {classes - 1} for each row, as 64-bit integers")
    check_rows_of_others(partition, block, labels, rank)


def _open_results(
    program: Common, share: Words, bits: int, runtime: Runtime
) -> tuple[NDArray[np.float64], list[float | None]]:
    """A column's owners receive its weights, the labels' owners the intercepts.

    Shapes: share (width, models) -> (own columns, models), (models,).
    """
    models = share.shape[1]
    found: NDArray[np.float64] = np.zeros((program.columns, models))
    for group in program.groups:
        places = list(group.columns)
        opened = runtime.discloser.open(Disclosure("coefficients", group.owners, len(places) * models), share[places])
        if opened is not None:
            found[places] = decode(opened, bits)
    own: NDArray[np.float64] = found[program.held(runtime.rank)]
    if not program.fit_intercept:
        return own, [None] * models
    last = np.ascontiguousarray(share[-1])
    opened = runtime.discloser.open(Disclosure("intercept", program.label_owners, models), last)
    return own, [None] * models if opened is None else decode(opened, bits).tolist()
