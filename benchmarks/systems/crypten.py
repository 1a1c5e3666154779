"""Vanilla CrypTen 0.4.1: a process a party and its trusted third party (TTP), gloo on loopback, no TLS."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.processes import Start, run_together
from benchmarks.works import Work

TIMEOUT_S = 900.0
THIRD = "third party"


def measure(work: Work, tables: Path, iterations: int) -> dict[str, Any]:
    """One run. `tables` holds each party's block."""
    names = [*(f"party-{rank}" for rank in range(work.parties)), THIRD]
    job = {"tables": str(tables), "blocks": work.blocks, "iterations": iterations, "batch_rows": work.batch_rows}
    with tempfile.TemporaryDirectory() as place:
        rendezvous = f"file://{place}/{secrets.token_hex(8)}"
        starts = [
            Start(
                name,
                "benchmarks.systems.crypten_process",
                job | {"rank": rank},
                environment={
                    "RANK": str(rank),
                    "WORLD_SIZE": str(work.parties),
                    "RENDEZVOUS": rendezvous,
                    "DISTRIBUTED_BACKEND": "gloo",
                    "GLOO_SOCKET_IFNAME": "lo",
                },
            )
            for rank, name in enumerate(names)
        ]
        reports = run_together(starts, TIMEOUT_S)
    return joined(reports, iterations)


def joined(reports: dict[str, dict[str, Any]], iterations: int) -> dict[str, Any]:
    """One result from a peer's reports, its slowest party's."""
    slowest = min(
        (report for report in reports.values() if "iterations_per_second" in report),
        key=lambda report: report["iterations_per_second"],
    )
    usage = {
        name: {"cpu_seconds": report["cpu_seconds"], "peak_rss_mb": report["peak_rss_mb"]}
        for name, report in reports.items()
    }
    counts = {
        name: max(report[name] for report in reports.values() if report.get(name) is not None)
        for name in ("cpu_ms_per_iteration", "bytes_per_iteration", "rounds_per_iteration")
        if slowest[name] is not None
    }
    told = {name: value for name, value in slowest.items() if name not in {"cpu_seconds", "peak_rss_mb"}}
    return told | counts | {"iterations": iterations, "processes": usage}
