"""Runs the operator's own command when an approval waits or a session failed: one line of JSON on its standard input.

The line holds this daemon's name, what happened, the session's id and kind, and a reason code: no word of anybody
else's. The command has neither the daemon's environment, which may hold the vault's key, nor a shell. What becomes of
it stands in the operational log and changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Sequence
from typing import Final, Literal

import structlog

from parties.supervisor import kept_environment

Happening = Literal["approval-waits", "session-failed"]

TIME_LIMIT_S: Final = 20.0  # for one call; below it, systemd would not wait for a daemon that ends
CLOSING_S: Final = 5.0  # for what is still to be told when the daemon ends
MAX_WAITING: Final = 100  # calls that wait for their turn: whoever proposes without end does not fill the memory

log = structlog.get_logger("privity")


class Notifier:
    """One call after the other, beside the daemon's work; without a command nothing is done."""

    def __init__(self, command: Sequence[str], name: str, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._command, self._name, self._time_limit_s = tuple(command), name, time_limit_s
        self._turn = asyncio.Lock()
        self._calls: set[asyncio.Task[None]] = set()

    def tell(self, happening: Happening, session: str, kind: str, code: str | None = None) -> None:
        """Returns at once, and never raises."""
        if not self._command:
            return
        if len(self._calls) >= MAX_WAITING:
            log.warning("notify: too many wait, one is left out", happening=happening, session=session[:12])
            return
        line = {"name": self._name, "happening": happening, "session": session, "kind": kind, "code": code}
        call = asyncio.get_running_loop().create_task(self._call(json.dumps(line).encode() + b"\n"))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def close(self, wait_s: float = CLOSING_S) -> None:
        """Let what was begun end, for a moment; then end it."""
        if not self._calls:
            return
        _, late = await asyncio.wait(self._calls, timeout=wait_s)
        for call in late:
            call.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _call(self, line: bytes) -> None:
        async with self._turn:
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
            *self._command,
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
