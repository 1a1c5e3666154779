"""Refused logins are in the log, and a stranger can't fill it by them."""

from __future__ import annotations

import asyncio

from parties.audit.refusals import Refusals
from parties.errors import AuditError

DEADLINE_S = 30


class Log:
    """Entries as they are written; full until it is told otherwise."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, int]] = []
        self.is_full = False
        self.written = asyncio.Event()

    def __call__(self, way: str, count: int) -> None:
        if self.is_full:
            raise AuditError("the log could not be written", action="make room on the disk")
        self.entries.append((way, count))
        self.written.set()

    async def next(self) -> tuple[str, int]:
        """The entry that is written next."""
        self.written.clear()
        async with asyncio.timeout(DEADLINE_S):
            await self.written.wait()
        return self.entries[-1]


def test_the_first_is_written_at_once_and_the_rest_together():
    """However many follow within the minute, they are one entry at its end; each way has its own minute."""

    async def act() -> None:
        log = Log()
        refusals: Refusals[str] = Refusals(log, 0.2)
        for _ in range(1000):
            refusals.add("link")
        refusals.add("token")
        assert log.entries == [("link", 1), ("token", 1)]
        assert await log.next() == ("link", 999)
        refusals.add("link")
        assert len(log.entries) == 3  # another minute has begun
        assert await log.next() == ("link", 1)

    asyncio.run(act())


def test_after_a_quiet_minute_the_next_is_written_at_once():
    """Of a minute without a refusal there is no entry."""

    async def act() -> None:
        log, over = Log(), asyncio.Event()
        refusals: Refusals[str] = Refusals(log, 0.0)
        refusals.add("link")
        asyncio.get_running_loop().call_later(0.01, over.set)  # after the minute's own timer
        await over.wait()
        assert log.entries == [("link", 1)]
        refusals.add("link")
        assert log.entries == [("link", 1)] * 2

    asyncio.run(act())


def test_what_no_entry_has_is_written_at_the_end():
    """A daemon that stops loses no count; what was written already is not written twice."""

    async def act() -> None:
        log = Log()
        refusals: Refusals[str] = Refusals(log)
        for way in ("link", "link", "link", "token"):
            refusals.add(way)
        refusals.close()
        refusals.close()
        assert log.entries == [("link", 1), ("token", 1), ("link", 2)]

    asyncio.run(act())


def test_what_can_not_be_written_is_counted_on():
    """A full disk lets nobody in: the refusal stands, and is in the first entry for which there is room."""

    async def act() -> None:
        log = Log()
        log.is_full = True
        refusals: Refusals[str] = Refusals(log)
        for _ in range(3):
            refusals.add("link")
        assert log.entries == []
        log.is_full = False
        refusals.close()
        assert log.entries == [("link", 3)]

    asyncio.run(act())
