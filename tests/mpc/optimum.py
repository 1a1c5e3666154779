"""Real tables, and how near a secure run comes to scikit-learn's optimum on the pooled one, at what cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mpc.partition import labels_of, vertical
from mpc.program import derive
from mpc.simulation import Simulation
from mpc.specification import Spec
from mpc.training import train

CLIP_BITS = 5
Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def _cancer() -> tuple[Floats, Labels]:
    table = load_breast_cancer()
    return table.data, table.target


def _digits() -> tuple[Floats, Labels]:
    table = load_digits()
    return table.data[:, table.data.std(axis=0) > 0], table.target == 8


def _diabetes() -> tuple[Floats, Labels]:
    table = load_diabetes()
    return table.data, table.target > 140


def _rare() -> tuple[Floats, Labels]:
    X, y = make_classification(20000, 20, n_informative=5, n_redundant=5, weights=[0.95], random_state=2)
    return X, y


def _wide() -> tuple[Floats, Labels]:
    X, y = make_classification(5000, 100, n_informative=20, n_redundant=40, random_state=1, flip_y=0.1)
    return X, y


TABLES: dict[str, Callable[[], tuple[Floats, Labels]]] = {
    "cancer": _cancer,
    "digits": _digits,
    "diabetes": _diabetes,
    "rare": _rare,
    "wide": _wide,
}


@dataclass(frozen=True)
class Outcome:
    """One run: how far from the optimum, and what it took."""

    solver: str
    iterations: int
    coefficients: float
    probabilities: float
    seconds: float
    rounds: int
    bytes_sent: int
    dealer_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.solver:9s}{self.iterations:5d}{self.coefficients:10.1e}{self.probabilities:10.1e}"
            f"{self.seconds:8.2f} s{self.rounds:7d} rounds{self.bytes_sent / 1e6:9.2f} MB sent"
            f"{self.dealer_bytes / 1e6:9.1f} MB dealt"
        )

    def ratio(self, other: Outcome) -> str:
        """What this run takes of the other's."""
        pairs = (
            ("seconds", self.seconds / other.seconds),
            ("rounds", self.rounds / other.rounds),
            ("sent", self.bytes_sent / other.bytes_sent),
            ("dealt", self.dealer_bytes / other.dealer_bytes),
        )
        return "  ".join(f"{name} x{ratio:.2f}" for name, ratio in pairs)


def measure(X: Floats, y: Labels, C: float, solver: str, parties: int) -> Outcome:
    """One secure run on the standardised table, its columns dealt out evenly; "reference" is stock CrypTen's."""
    X, y = StandardScaler().fit_transform(X).clip(-(1 << CLIP_BITS), 1 << CLIP_BITS), y.astype(np.int64)
    columns = X.shape[1]
    counts = [columns // parties + (rank < columns % parties) for rank in range(parties)]
    spec = Spec(
        engine="reference" if solver == "reference" else "fused",
        solver=None if solver == "reference" else solver,
        rows=len(X),
        blocks=vertical(len(X), counts),
        labels=labels_of(len(X), 0),
        C=str(C),
        fit_intercept=True,
        loss_every=0,
        clip_bits=CLIP_BITS,
    )
    program = derive(spec)
    parts = [np.ascontiguousarray(X[:, program.held(rank)]) for rank in range(parties)]
    simulation = Simulation(program)
    start = time.perf_counter()
    fits = simulation.run(lambda runtime: train(program, parts[runtime.rank], None if runtime.rank else y, runtime))
    seconds = time.perf_counter() - start
    weights = np.append(np.concatenate([fit.models[0].coefficients for fit in fits]), fits[0].models[0].intercept)
    best = LogisticRegression(C=C, tol=1e-12, max_iter=50_000).fit(X, y)
    optimum = np.append(best.coef_[0], best.intercept_)
    return Outcome(
        solver=solver,
        iterations=program.max_iter,
        coefficients=float(np.linalg.norm(weights - optimum) / np.linalg.norm(optimum)),
        probabilities=float(np.abs(_probabilities(X, weights) - _probabilities(X, optimum)).max()),
        seconds=seconds,
        rounds=fits[0].rounds,
        bytes_sent=max(fit.bytes_sent for fit in fits),
        dealer_bytes=simulation.dealing.bytes_sent if simulation.dealing else 0,
    )


def _probabilities(X: Floats, weights: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-(X @ weights[:-1] + weights[-1])))
    return found
