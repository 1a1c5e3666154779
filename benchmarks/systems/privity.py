"""Privity over its real channels: a process a party and one for the dealer, TLS 1.3 with exactly the approved keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.meeting import DEALER, appointed
from benchmarks.processes import run_together
from benchmarks.works import CLIP_BITS, LEARNING_RATE, Work
from mpc.partition import labels_of, vertical
from mpc.program import derive
from mpc.specification import Spec

TIMEOUT_S = 3600.0


def spec(work: Work, iterations: int) -> Spec:
    """What this work's program is derived from."""
    return Spec(
        solver="sgd" if work.descends else "newton",
        batch_rows=work.batch_rows,
        learning_rate=LEARNING_RATE if work.descends else None,
        rows=work.rows,
        blocks=vertical(work.rows, work.blocks),
        labels=labels_of(work.rows, 0),
        C=work.C,
        fit_intercept=not work.descends,  # the peers' descents have none
        max_iter=iterations or None,
        loss_every=0,
        clip_bits=CLIP_BITS,
    )


def measure(work: Work, tables: Path, iterations: int) -> dict[str, Any]:
    """One run. `tables` holds each party's block."""
    program = derive(spec(work, iterations))
    names = [f"party-{rank}" for rank in range(work.parties)]
    job = {"program": program.model_dump(mode="json"), "tables": str(tables)}
    with appointed("benchmarks.systems.privity_process", names, job, work.delay_ms, DEALER) as starts:
        reports = run_together(starts, TIMEOUT_S)
    return _joined([reports[name] for name in names], reports[DEALER], program.max_iter, program.engine)


def _joined(parties: list[dict[str, Any]], dealer: dict[str, Any], iterations: int, engine: str) -> dict[str, Any]:
    """One result from all processes' reports: the slowest party's, the busiest party's."""
    slowest = min(parties, key=lambda report: report["iterations_per_second"])
    weights = [weight for report in parties for weight in report["coefficients"]]
    return {
        "solver": engine,
        "iterations": iterations,
        "iterations_per_second": slowest["iterations_per_second"],
        "rounds_per_iteration": slowest["rounds_per_iteration"],
        "bytes_per_iteration": max(report["bytes_per_iteration"] for report in parties),
        "cpu_ms_per_iteration": max(report["cpu_ms_per_iteration"] for report in parties),
        "bytes_dealt": dealer["bytes_dealt"],
        "seconds": max(report["seconds"] for report in parties),
        "startup_seconds": max(report["startup_seconds"] for report in parties),
        "rounds": slowest["rounds"],
        "bytes_sent": max(report["bytes_sent"] for report in parties),
        "processes": {
            name: {"cpu_seconds": report["cpu_seconds"], "peak_rss_mb": report["peak_rss_mb"]}
            for name, report in [*((f"party-{rank}", each) for rank, each in enumerate(parties)), (DEALER, dealer)]
        },
        "weights": [*weights, parties[0]["intercept"] or 0.0],
    }
