"""Refused logins in a log: the first at once, and from then on one entry a minute with their number.

So a stranger who tries without end writes no more than that. Nothing of what was shown is kept.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import structlog

from parties.errors import AuditError

EVERY_S: Final = 60.0
W = TypeVar("W", bound=str)

log = structlog.get_logger()


class Refusals(Generic[W]):
    """Refusals by the way in which somebody tried; all calls are of one event loop's thread."""

    def __init__(self, record: Callable[[W, int], object], every_s: float = EVERY_S) -> None:
        """`record` writes that so many were refused."""
        self._record, self._every_s = record, every_s
        self._counts: Counter[W] = Counter()  # of those that no entry has
        self._timers: dict[W, asyncio.TimerHandle] = {}  # by way, when its next entry may be written

    def add(self, way: W) -> None:
        """One more was refused; it stays so, whether or not that can be written."""
        self._counts[way] += 1
        if way not in self._timers:
            self._write(way)

    def close(self) -> None:
        """Write what no entry has yet."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for way in list(self._counts):
            self._put(way)

    def _write(self, way: W) -> None:
        """An entry, and none within the next minute; if there was nothing to write, the next refusal is written."""
        self._timers.pop(way, None)
        if self._counts[way]:
            self._put(way)
            self._timers[way] = asyncio.get_running_loop().call_later(self._every_s, self._write, way)

    def _put(self, way: W) -> None:
        if not (count := self._counts[way]):
            return
        try:
            self._record(way, count)
        except AuditError:
            log.exception("refused logins could not be recorded")  # they are counted on
        else:
            self._counts[way] = 0
