"""Starts a session's process with exec, speaks JSON lines with it, and says how it ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import structlog
from pydantic import ValidationError

from parties.job import REPORT, Answer, DealerJob, PartyJob, Report, job_line

LINE_LIMIT = 1 << 24
KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "PYTHONPATH", "VIRTUAL_ENV")

log = structlog.get_logger("privity")


class Process:
    """One worker, from start to exit."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, job: PartyJob | DealerJob, descriptors: tuple[int, ...]) -> Process:
        """Start it; the job, with its secrets, goes through the pipe and nowhere else."""
        environment = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "parties.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=descriptors,
            env={**environment, **threads},
            limit=LINE_LIMIT,
            start_new_session=True,
        )
        started = cls(process)
        await started._write(job_line(job))
        return started

    async def _write(self, line: bytes) -> None:
        if self._process.stdin is None:
            return
        try:
            self._process.stdin.write(line)
            await self._process.stdin.drain()
        except ConnectionError:
            return  # it died: `run` says so

    async def run(self, on_report: Callable[[Report], Awaitable[Answer | None]]) -> int:
        """Hand each report to the handler, write back its answer; the exit status, once it has ended."""
        errors = asyncio.create_task(self._drain_errors())
        if self._process.stdout is not None:
            async for line in self._process.stdout:
                try:
                    report = REPORT.validate_json(line)
                except ValidationError:
                    log.warning("a worker said something that is no report")
                    self.kill()
                    break
                answer = await on_report(report)
                if answer is not None:
                    await self._write(answer.model_dump_json().encode() + b"\n")
        status = await self._process.wait()
        await errors
        return status

    async def _drain_errors(self) -> None:
        if self._process.stderr is None:
            return
        async for line in self._process.stderr:
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
