"""Starts the processes of one measurement with exec, one thread of arithmetic each, and waits for their reports."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[1]
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")
ENDING_S = 10.0
TOLD_LINES = 40  # of a failed process's standard error


class MeasurementFailed(Exception):
    """A process ended without its report."""


@dataclass(frozen=True)
class Start:
    """A process to be started: `python -m module`, and its job."""

    name: str
    module: str
    job: Mapping[str, Any]
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()  # of sockets that it inherits


@dataclass(frozen=True)
class _Running:
    start: Start
    process: subprocess.Popen[str]
    said: IO[str]  # its standard error


def run_together(starts: Sequence[Start], timeout_s: float) -> dict[str, dict[str, Any]]:
    """Start all, wait for all. Returns the reports by name.

    Raises: MeasurementFailed if one fails or the time is over; then all are ended.
    """
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(_started(start)) for start in starts]
        watch = threading.Timer(timeout_s, _end, [running])
        watch.daemon = True
        watch.start()
        stack.callback(watch.cancel)
        return {each.start.name: _report(each, running) for each in running}


@contextlib.contextmanager
def background(start: Start) -> Iterator[None]:
    """A process that runs until the block ends."""
    with _started(start):
        yield


@contextlib.contextmanager
def _started(start: Start) -> Iterator[_Running]:
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(
            [start.python, "-m", start.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            cwd=ROOT,
            env=os.environ | ONE_THREAD | start.environment,
            pass_fds=start.descriptors,
            text=True,
        )
        running = _Running(start, process, said)
        try:
            with contextlib.suppress(BrokenPipeError):  # its report says why
                assert process.stdin is not None  # noqa: S101 - a pipe was asked for
                process.stdin.write(json.dumps(start.job) + "\n")
                process.stdin.flush()
            yield running
        finally:
            _end([running])
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _report(running: _Running, others: Sequence[_Running]) -> dict[str, Any]:
    assert running.process.stdout is not None  # noqa: S101 - a pipe was asked for
    line = running.process.stdout.readline()
    if line:
        return json.loads(line)
    _end(others)
    reasons = [f"{each.start.name}: {reason}" for each in others if (reason := _last_words(each))]
    raise MeasurementFailed(f"{running.start.name} ended without a report\n" + "\n".join(reasons))


def _last_words(running: _Running) -> str:
    running.said.seek(0)
    return "\n".join(running.said.read().splitlines()[-TOLD_LINES:])


def _end(running: Sequence[_Running]) -> None:
    for each in running:
        if each.process.poll() is None:
            each.process.terminate()
    for each in running:
        try:
            each.process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            each.process.kill()
            each.process.wait()
