"""How what a session was told at its end reads in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mpc.stages import Stage
from parties.service.messages import InformationValue, Validated

if TYPE_CHECKING:
    from parties.process.job import OwnEvidence  # which needs NumPy, and a client of the gateway does not


def times(stages: Mapping[Stage, float]) -> str:
    """Each stage with its seconds, on one line."""
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in stages.items())


def estimate(told: int, least: int) -> str:
    """What an estimate of common records says."""
    return f"about {told:,} records are common to all" if told else f"fewer than {least:,} records are common to all"


def convergence(converged: bool, tol: str, iterations: int) -> str:
    """One sentence; what to do, where the gradient is not small enough."""
    if converged:
        return f"converged: after {iterations} iterations the gradient is below tol={tol}"
    return f"WARNING: the gradient did not reach tol={tol} in {iterations} iterations: raise max_iter"


def climbs(rungs: Sequence[int]) -> str:
    """How often scores left a range, by which rung of the ladder each segment ended on."""
    return f"climbs of the range ladder: {rungs[-1]} (each segment's rung: {', '.join(map(str, rungs))})"


def validation(validated: Iterable[Validated], taken: str) -> list[str]:
    """A line for each C: the loss of rows that its models did not see."""
    marks = {taken: " (taken)"}
    return [f"C={each.C}: cross-validated loss {each.loss:.4f}{marks.get(each.C, '')}" for each in validated]


def informing(values: Iterable[InformationValue]) -> list[str]:
    """A line for each column that was weighed by the label."""
    return [f"information value of {each.party}'s {each.column}: {each.value:.3f}" for each in values]


def weighing(evidence: Iterable[OwnEvidence]) -> Iterator[str]:
    """A line for each bin of columns that were weighed by the label."""
    for each in evidence:
        yield f"{'weight of evidence':44s} {'weight':>8s}  positives    negatives"
        for name, weight, *counts in zip(each.bins, each.weights, each.positives, each.negatives, strict=True):
            ranges = "  ".join(f"{f'{least} to {most}':11s}" for least, most in counts)
            yield f"{name:44s} {weight:8.3f}  {ranges}".rstrip()
