"""A daemon's door as workers of other organisations find it, its loop in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from parties.service.door import Door
from tests.parties.wires import DEADLINE_S


class Opened:
    """An open door, to which one may speak from any thread."""

    def __init__(self, door: Door, loop: asyncio.AbstractEventLoop) -> None:
        self._door, self._loop = door, loop
        self.endpoint = door.endpoint
        host, port = door.endpoint.rsplit(":", 1)
        self.address = host, int(port)

    def inbox(self, session: str):
        return self._do(lambda: self._door.inbox(session))

    def shut(self, session: str) -> None:
        self._do(lambda: self._door.shut(session))

    def _do(self, act: Callable[[], Any]) -> Any:
        async def done() -> Any:
            return act()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(DEADLINE_S)


@contextmanager
def opened() -> Iterator[Opened]:
    """A door on a free port of loopback."""
    loop, door = asyncio.new_event_loop(), Door("127.0.0.1:0", "")
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def end() -> None:
        door.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(door.open(), loop).result(DEADLINE_S)
    try:
        yield Opened(door, loop)
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(DEADLINE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE_S)
        loop.close()
