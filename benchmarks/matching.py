"""How long parties take to match records: python -m benchmarks.matching [--records N] [--parties K] [--estimate].

Each party is a process of its own, with its list as a vault has it; they talk TLS 1.3 and share this machine's cores.
Half of each party's records are common to all. What a node does before and after is not measured here.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from benchmarks.meeting import appointed
from benchmarks.processes import run_together

TIMEOUT_S = 4 * 3600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000, help="of each party")
    parser.add_argument("--parties", type=int, default=2)
    parser.add_argument("--workers", type=int, default=None, help="threads of each party; default: the cores")
    parser.add_argument("--estimate", action="store_true", help="a rounded count of a sample instead of the records")
    chosen = parser.parse_args()
    names = [f"party-{rank}" for rank in range(chosen.parties)]
    job = {"records": chosen.records, "workers": chosen.workers, "estimate": chosen.estimate}
    with appointed("benchmarks.matching_process", names, job) as starts:
        reports = run_together(starts, TIMEOUT_S)
    print(json.dumps(vars(chosen) | _joined(list(reports.values()))))


def _joined(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The slowest and the largest of all processes."""
    return {
        "as_expected": all(report["as_expected"] for report in reports),
        "seconds": round(max(report["seconds"] for report in reports), 1),
        "of_which_own_ids": round(max(report["own_ids_seconds"] for report in reports), 1),
        "cpu_seconds_of_each": [round(report["cpu_seconds"], 1) for report in reports],
        "peak_rss_mb_of_each": [report["peak_rss_mb"] for report in reports],
        "mb_sent_by_each": [round(report["bytes_sent"] / 1e6, 1) for report in reports],
        "load": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
