"""One training run on one page: share the table, iterate, disclose what the contract names."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpc.disclosure import Disclosure
from mpc.errors import ProgramError
from mpc.program import Program
from mpc.randomness import Words
from mpc.reference import Fitter
from mpc.runtime import Progress, Runtime


@dataclass(frozen=True)
class Fit:
    """What this party was told, in standardised units, and what the run cost."""

    coefficients: NDArray[np.float64] = field(repr=False)  # this party's columns
    intercept: float | None = field(repr=False)  # the label's owner's
    losses: tuple[float, ...]
    iterations: int
    rounds: int
    bytes_sent: int


def train(
    program: Program,
    block: NDArray[np.float64],
    labels: NDArray[np.int64] | None,
    runtime: Runtime,
) -> Fit:
    """Run the program on this party's standardised columns.

    Shapes: block (rows, own columns), labels (rows,) of 0 and 1 at the label's owner, None elsewhere.
    Reveals: the program's disclosures, to their recipients.
    Raises: ProgramError if the block is not what the program says; EngineError if the run can't go on.
    """
    check_input(program, block, labels, runtime.rank)
    fitter = Fitter(program, block, labels, runtime.rank)
    losses: list[float] = []
    for iteration in range(program.max_iter):
        share = fitter.step(iteration, loss=discloses_loss(program, iteration))
        if share is not None:
            losses.append(_open_loss(program, share, runtime))
        _report(program, iteration, losses[-1] if share is not None else None, runtime)
    coefficients, intercept = _open_result(program, fitter.weights.now.numpy(), runtime)
    counters = runtime.channel.counters
    return Fit(
        coefficients,
        intercept,
        tuple(losses),
        program.max_iter,
        counters.rounds,
        counters.bytes_sent,
    )


def discloses_loss(program: Program, iteration: int) -> bool:
    return bool(program.loss_every) and iteration % program.loss_every == 0


def check_input(program: Program, block: NDArray[np.float64], labels: NDArray[np.int64] | None, rank: int) -> None:
    """Raises: ProgramError, before anything is sent."""
    expected = (program.rows, program.blocks[rank].columns)
    if block.shape != expected:
        raise ProgramError(f"this party's table is {block.shape}, the contract says {expected}")
    if block.size and not np.abs(block).max() <= 1 << program.clip_bits:
        raise ProgramError(f"a value exceeds the contract's bound of 2**{program.clip_bits}", action="clip it")
    if (labels is not None) != (rank == program.label_owner):
        raise ProgramError("labels are given by the label's owner and nobody else")
    if labels is not None and (labels.shape != (program.rows,) or not np.isin(labels, (0, 1)).all()):
        raise ProgramError("labels must be a 0 or 1 for each training row")


def _report(program: Program, iteration: int, loss: float | None, runtime: Runtime) -> None:
    counters = runtime.channel.counters
    runtime.on_progress(Progress(iteration + 1, program.max_iter, counters.rounds, counters.bytes_sent, loss))


def _open_loss(program: Program, share: Words, runtime: Runtime) -> float:
    opened = runtime.discloser.open(Disclosure("loss", "session", 1), share)
    if opened is None:
        raise ProgramError("a disclosure to the session was not opened here")
    return float(opened[0]) / (1 << program.fraction_bits)


def _open_result(program: Program, share: Words, runtime: Runtime) -> tuple[NDArray[np.float64], float | None]:
    """Each owner receives its own columns' weights, the label's owner the intercept."""
    scale = float(1 << (program.fraction_bits + program.fine_bits))
    own: NDArray[np.float64] = np.zeros(0)
    start = 0
    for part in program.blocks:
        if part.columns:
            words = np.ascontiguousarray(share[start : start + part.columns])
            opened = runtime.discloser.open(Disclosure("coefficients", (part.owner,), part.columns), words)
            own = opened / scale if opened is not None and part.owner == runtime.rank else own
        start += part.columns
    if not program.fit_intercept:
        return own, None
    opened = runtime.discloser.open(
        Disclosure("intercept", (program.label_owner,), 1), np.ascontiguousarray(share[-1:])
    )
    return own, None if opened is None else float(opened[0]) / scale
