"""How what a session was told at its end reads in a terminal."""

from __future__ import annotations


def convergence(converged: bool, tol: str, iterations: int) -> str:
    """One sentence; what to do, where the gradient is not small enough."""
    if converged:
        return f"converged: after {iterations} iterations the gradient is below tol={tol}"
    return f"WARNING: the gradient did not reach tol={tol} in {iterations} iterations: raise max_iter"
