"""How long whole nodes take to match records: python -m benchmarks.matching_nodes [--records N] [--keep DIR].

A gateway, a dealer and two nodes, each a process of its own, as a sandbox starts them: lists are taken into vaults, the
matching is proposed, signed by both operators, run by workers, and what it leaves is kept, sealed. Half of the records
are common. Each process is looked at now and then for the most memory that it has had since its exec.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.matching_process import made_up
from gateway.commands.following import follow
from gateway.sandbox.consortium import Consortium
from parties.agreement.match_plan import MatchingPlan, parse_matching_plan
from parties.data.vault import Vault

PARTIES = ("clinic-a", "clinic-b")
RESULT, ID = "common", "id"
LOOK_EVERY_S = 0.25
KIB = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000, help="of each party")
    parser.add_argument("--columns", type=int, default=3, help="of numbers beside the id")
    parser.add_argument("--keep", type=Path, default=None, help="a new directory for all homes; default: thrown away")
    chosen = parser.parse_args()
    if chosen.keep is not None:
        chosen.keep.mkdir(parents=True, mode=0o700)
        print(json.dumps(measured(chosen.keep, chosen.records, chosen.columns)))
        return
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(measured(Path(place), chosen.records, chosen.columns)))


def measured(place: Path, records: int, columns: int) -> dict[str, Any]:
    """A matching from its proposal to its end at both nodes."""
    files = {name: _written(place / f"{name}.parquet", rank, records, columns) for rank, name in enumerate(PARTIES)}
    plan, load_before, marks = _plan(), os.getloadavg()[0], [time.monotonic()]
    with Consortium(place / "homes", plan) as consortium:
        consortium.start(files, ID, lambda _: None)
        marks.append(time.monotonic())
        with Watch({name: daemon.pid for name, daemon in consortium.daemons.items()}) as watch:
            session = consortium.propose(plan)
            consortium.approve(session, lambda _: None)
            marks.append(time.monotonic())
            view = follow(consortium, session, lambda _: None)
            marks.append(time.monotonic())
        as_expected = _as_expected(consortium, records)
    reports = {each.name: each.report for each in view.participants if each.report is not None}
    taking_in, signing, matching = np.diff(marks).round(1).tolist()
    return {
        "records": records,
        "as_expected": as_expected,
        "seconds": {"starting and taking in": taking_in, "signing": signing, "matching and keeping": matching},
        "stages": {name: report.stages for name, report in reports.items() if report.stages},
        "mb_sent": {name: round(report.bytes_sent / 1e6, 1) for name, report in reports.items()},
        "peak_rss_mb": dict(sorted(watch.peaks_mb.items())),
        "load": [round(load, 1) for load in (load_before, os.getloadavg()[0])],
        "cores": os.cpu_count(),
    }


class Watch:
    """The most resident memory of some daemons and of every process that they start, looked at by a thread."""

    def __init__(self, daemons: dict[str, int]) -> None:
        self.peaks_mb: dict[str, float] = {}
        self._daemons = daemons
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            for name, peak_mb in peaks_mb(self._daemons):
                self.peaks_mb[name] = max(self.peaks_mb.get(name, 0.0), peak_mb)


def peaks_mb(daemons: dict[str, int]) -> list[tuple[str, float]]:
    """The most that each daemon, and each process that it started, has had since its exec."""
    known, found = {pid: name for name, pid in daemons.items()}, []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            lines = (process / "status").read_text(encoding="utf-8").splitlines()
            status = dict(line.split(":", 1) for line in lines if ":" in line)
            pid, parent, peak_mb = int(status["Pid"]), int(status["PPid"]), int(status["VmHWM"].split()[0]) * KIB / 1e6
        except (OSError, KeyError):  # it ended meanwhile, or is the kernel's
            continue
        if pid in known or parent in known:
            found.append((known.get(pid) or f"{known[parent]}'s worker", round(peak_mb, 1)))
    return found


def _written(path: Path, rank: int, records: int, columns: int) -> Path:
    """A made-up list with columns of numbers."""
    ids, generator = made_up(rank, records).arrow[ID], np.random.default_rng(rank)
    numbers = {f"x{place}": generator.normal(size=records) for place in range(columns)}
    pq.write_table(pa.table({ID: ids, **numbers}), path)
    return path


def _plan() -> MatchingPlan:
    parties = [{"name": name, "data": "list"} for name in PARTIES]
    return parse_matching_plan({"kind": "matching", "purpose": "measure", "result": RESULT, "parties": parties})


def _as_expected(consortium: Consortium, records: int) -> bool:
    """Whether both nodes kept the common records, under the same ids."""
    kept = [Vault(home.path("vault"), home.master_key()).open(RESULT) for home in map(consortium.home, PARTIES)]
    return all(len(table.ids) == records // 2 for table in kept) and list(kept[0].ids) == list(kept[1].ids)


if __name__ == "__main__":
    main()
