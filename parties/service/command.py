"""The operator's own command, which is told something on its standard input.

It has neither the daemon's environment, which may hold the vault's key, nor a shell.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from typing import Final

import structlog

from parties.service.supervisor import kept_environment

TIME_LIMIT_S: Final = 20.0  # for one call; below it, systemd would not wait for a daemon that ends

log = structlog.get_logger("privity")


class Command:
    """A program and its arguments, run once for each thing that is told."""

    def __init__(self, words: Sequence[str], time_limit_s: float = TIME_LIMIT_S) -> None:
        self._words, self._time_limit_s = tuple(words), time_limit_s

    async def tell(self, line: bytes) -> None:
        """A failure stands in the operational log."""
        try:
            async with asyncio.timeout(self._time_limit_s):
                status = await self._run(line)
        except TimeoutError:
            log.warning("notify: the command took too long and was ended", limit_s=self._time_limit_s)
        except (OSError, ValueError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "a word of it is no argument"
            log.warning("notify: the command can't be run", why=why)
        else:
            if status:
                log.warning("notify: the command failed", exit=status)

    async def _run(self, line: bytes) -> int:
        """Its exit status; broken off, it and what it started are ended.

        Raises: OSError, ValueError if it can't start.
        """
        process = await asyncio.create_subprocess_exec(
            *self._words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=kept_environment(),
            start_new_session=True,
        )
        try:
            await process.communicate(line)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            status = await process.wait()
        return status
