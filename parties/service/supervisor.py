"""Starts a session's process with exec, speaks JSON lines with it, and says how it ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import structlog

from parties.process.job import REPORT, Answer, DealerJob, PartyJob, Report, job_line

WORKER = (sys.executable, "-P", "-m", "parties.process.worker")
MATCH_WORKER = (sys.executable, "-P", "-m", "parties.process.match_worker")  # without the engine
LINE_LIMIT = 1 << 24
EXIT_S = 10.0  # between a process's last word and its end
KEPT_ENVIRONMENT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "SSL_CERT_FILE",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "NUMBA_CACHE_DIR",  # where the engine's machine code is kept
)

log = structlog.get_logger("privity")


def kept_environment() -> dict[str, str]:
    """What a daemon's child may have of its environment, in which a key may stand."""
    return {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}


class Process:
    """One worker, from start to exit."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(
        cls, job: PartyJob | DealerJob, descriptors: tuple[int, ...], command: Sequence[str] = WORKER
    ) -> Process:
        """Start it; the job, with its secrets, goes through the pipe and nowhere else."""
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=descriptors,
            env={**kept_environment(), **threads},
            limit=LINE_LIMIT,
            start_new_session=True,
        )
        if process.stdin is not None:
            process.stdin.write(job_line(job))  # not waited for: it may never read
        return cls(process)

    async def run(self, on_report: Callable[[Report], Awaitable[Answer | None]]) -> int:
        """Hand each report to the handler, write back its answer; the exit status, once it has ended.

        Whatever the handler raises ends the process too: without a record it must not wait for its answer.
        """
        errors = asyncio.create_task(self._drain_errors())
        try:
            async for report in self._reports():
                answer = await on_report(report)
                if answer is not None:
                    await self._write(answer.model_dump_json().encode() + b"\n")
            await self._exit()
        finally:
            self.kill()
            status = await self._process.wait()
            await errors
        return status

    async def _reports(self) -> AsyncIterator[Report]:
        """What it says, until it ends or says something else."""
        while self._process.stdout is not None:
            try:
                line = await self._process.stdout.readline()
                if not line:
                    return
                report = REPORT.validate_json(line)
            except ValueError:  # no report, or a line without end
                log.warning("a worker said something that is no report; it is killed", pid=self.pid)
                self.kill()
                return
            yield report

    async def _exit(self) -> None:
        try:
            await asyncio.wait_for(self._process.wait(), EXIT_S)
        except TimeoutError:
            log.warning("a worker had no more to say and stayed; it is killed", pid=self.pid)

    async def _write(self, line: bytes) -> None:
        if self._process.stdin is None:
            return
        try:
            self._process.stdin.write(line)
            await self._process.stdin.drain()
        except ConnectionError:
            return  # it died: `run` says so

    async def _drain_errors(self) -> None:
        while self._process.stderr is not None:
            try:
                line = await self._process.stderr.readline()
            except ValueError:  # longer than any line of use
                continue
            if not line:
                return
            log.info("worker", line=line.decode(errors="replace").rstrip()[:500])

    def kill(self) -> None:
        if self._process.returncode is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return

    @property
    def pid(self) -> int:
        return self._process.pid
