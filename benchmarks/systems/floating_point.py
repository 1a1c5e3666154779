"""The limit: the same on the pooled table in floating point, one process with one thread, nothing hidden."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import Pace, live
from benchmarks.processes import Start, run_together
from benchmarks.works import LEARNING_RATE, Floats, Labels, Work

TIMEOUT_S = 3600.0


def measure(work: Work, tables: Path, iterations: int) -> dict[str, Any]:
    """One run. `tables` holds each party's block."""
    job = {
        "tables": str(tables),
        "parties": work.parties,
        "iterations": iterations,
        "batch_rows": work.batch_rows,
        "C": work.C,
    }
    start = Start("numpy", "benchmarks.systems.floating_point", job)
    report = run_together([start], TIMEOUT_S)["numpy"]
    usage = {name: report.pop(name) for name in ("cpu_seconds", "peak_rss_mb")}
    return report | {"parties": 1, "processes": {"numpy": usage}}


def descend(X: Floats, y: Labels, batch_rows: int, iterations: int, pace: Pace | None = None) -> Floats:
    """Mini-batch gradient descent from zero, without intercept and penalty; batches go round the table."""
    step = float(LEARNING_RATE) / batch_rows
    weights, begin = np.zeros(X.shape[1]), 0
    for done in range(1, iterations + 1):
        batch, labels = X[begin : begin + batch_rows], y[begin : begin + batch_rows]
        weights -= step * (batch.T @ (1 / (1 + np.exp(-(batch @ weights))) - labels))
        begin = (begin + batch_rows) % (len(X) - len(X) % batch_rows)
        if pace is not None:
            pace.tick(done)
    return weights


def optimum(X: Floats, y: Labels, C: float) -> tuple[Floats, int]:
    """scikit-learn's coefficients with the intercept last, and the iterations that it took."""
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-8, max_iter=1000).fit(X, y)
    return np.append(found.coef_[0], found.intercept_), int(found.n_iter_[0])


def run(job: dict[str, Any]) -> dict[str, Any]:
    tables = Path(job["tables"])
    blocks = [np.load(tables / f"block-{rank}.npy", allow_pickle=False) for rank in range(job["parties"])]
    X, y = np.concatenate(blocks, axis=1), np.load(tables / "labels.npy", allow_pickle=False)
    if job["batch_rows"] is None:
        optimum(X[:100], y[:100], 1.0)  # scikit-learn's imports are not training
    began = time.perf_counter()
    if job["batch_rows"] is None:
        weights, iterations = optimum(X, y, float(job["C"]))
        seconds = time.perf_counter() - began
        rates = {"iterations_per_second": iterations / seconds, "rounds_per_iteration": 0, "bytes_per_iteration": 0}
    else:
        pace, iterations = Pace(job["iterations"]), job["iterations"]
        weights = np.append(descend(X, y, job["batch_rows"], iterations, pace), 0.0)
        seconds, rates = time.perf_counter() - began, pace.report()
    return rates | {"iterations": iterations, "seconds": seconds, "weights": weights.tolist()}


if __name__ == "__main__":
    live(run)
