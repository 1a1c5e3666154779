"""How what a session was told at its end reads in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mpc.program import Stage
from parties.messages import Validated


def times(stages: Mapping[Stage, float]) -> str:
    """Each stage with its seconds, on one line."""
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in stages.items())


def convergence(converged: bool, tol: str, iterations: int) -> str:
    """One sentence; what to do, where the gradient is not small enough."""
    if converged:
        return f"converged: after {iterations} iterations the gradient is below tol={tol}"
    return f"WARNING: the gradient did not reach tol={tol} in {iterations} iterations: raise max_iter"


def validation(validated: Iterable[Validated], taken: str) -> list[str]:
    """A line for each C: the loss of rows that its models did not see."""
    marks = {taken: " (taken)"}
    return [f"C={each.C}: cross-validated loss {each.loss:.4f}{marks.get(each.C, '')}" for each in validated]
