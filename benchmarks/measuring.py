"""What a measured process tells of itself. Standard library alone: peers run it in environments of their own.

A process reads its job, one JSON line, from standard input and writes its report, one JSON line, to standard output;
whatever libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WARM_UP = 20  # iterations that do not count, a fifth of them at most


def live(run: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """A measured process from its job to its report."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    report = run(json.loads(sys.stdin.readline()))
    out.write(json.dumps(report | usage()) + "\n")
    out.flush()


def usage() -> dict[str, float]:
    """Computing time and the greatest resident memory of this process since its exec.

    Not getrusage's memory: in Linux that one begins with the parent's.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    return {"cpu_seconds": round(time.process_time(), 3), "peak_rss_mb": round(peak_kib * 1024 / 1e6, 1)}


def age() -> float:
    """Seconds since this process's exec."""
    began_ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began_ticks / os.sysconf("SC_CLK_TCK")


class Pace:
    """Iterations a second, computing time, rounds and bytes of a loop, from the end of its warm-up to its end."""

    def __init__(self, iterations: int) -> None:
        self.warm_up, self._of = min(WARM_UP, iterations // 5), iterations
        self._marks: list[tuple[float, float, int, int, int]] = []

    def tick(self, iteration: int, rounds: int = 0, bytes_sent: int = 0) -> None:
        """So many iterations are done. The counts are totals since the process began."""
        if iteration in {self.warm_up, self._of}:
            mark = (time.perf_counter(), time.process_time(), iteration, rounds, bytes_sent)
            self._marks[1:] = [mark] if self._marks else []
            self._marks = self._marks or [mark]

    def report(self) -> dict[str, float]:
        (began, cpu_before, first, *before), (ended, cpu_after, last, *after) = self._marks
        count = last - first
        rounds, sent = (end - begin for begin, end in zip(before, after, strict=True))
        return {
            "iterations_per_second": count / (ended - began),
            "cpu_ms_per_iteration": 1000 * (cpu_after - cpu_before) / count,
            "rounds_per_iteration": rounds / count,
            "bytes_per_iteration": sent / count,
        }
