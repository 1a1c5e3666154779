"""Tells the operator when an approval waits or a session failed: one line of JSON, to a command or a webhook.

The line holds this daemon's name, what happened, the session's id and kind, and a reason code: no word of anybody
else's. What becomes of it stands in the operational log and changes nothing.
"""

from __future__ import annotations

import asyncio
import json
from typing import Final, Literal, Protocol

import structlog

from parties.service.command import Command
from parties.service.home import Home
from parties.service.oplog import about
from parties.service.webhook import Webhook, load_secret
from parties.web.trust import trusted

Happening = Literal["approval-waits", "session-failed"]

CLOSING_S: Final = 5.0  # for what is still to be told when the daemon ends
MAX_WAITING: Final = 100  # calls that wait for their turn: whoever proposes without end does not fill the memory

log = structlog.get_logger("privity")


class Way(Protocol):
    """How an operator hears of something."""

    async def tell(self, line: bytes) -> None:
        """Once. What goes wrong stands in the operational log; it raises nothing, but when it is cancelled."""


def way_of(home: Home) -> Way | None:
    """What the settings name. Raises: SettingsError if a webhook's secret can't be read."""
    settings = home.settings
    if isinstance(settings.notify, str):
        return Webhook(settings.notify, load_secret(home.path(settings.notify_secret_file)), trusted())
    return Command(settings.notify) if settings.notify else None


class Notifier:
    """One call after the other, beside the daemon's work; without a way nothing is done."""

    def __init__(self, way: Way | None, name: str) -> None:
        self._way, self._name = way, name
        self._turn = asyncio.Lock()
        self._calls: set[asyncio.Task[None]] = set()

    def tell(self, happening: Happening, session: str, kind: str, code: str | None = None) -> None:
        """Returns at once, and never raises."""
        if self._way is None:
            return
        if len(self._calls) >= MAX_WAITING:
            with about(session):
                log.warning("notify: too many wait, one is left out", happening=happening)
            return
        line = {"name": self._name, "happening": happening, "session": session, "kind": kind, "code": code}
        with about(session):  # also where it is told of what a daemon finds as it starts
            call = asyncio.get_running_loop().create_task(self._call(self._way, json.dumps(line).encode() + b"\n"))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def close(self, wait_s: float = CLOSING_S) -> None:
        """Let what was begun end, for a moment; then end it."""
        if not self._calls:
            return
        _, late = await asyncio.wait(self._calls, timeout=wait_s)
        if late:
            log.warning("notify: the daemon ended before all was told", untold=len(late))
        for call in late:
            call.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _call(self, way: Way, line: bytes) -> None:
        async with self._turn:
            await way.tell(line)
