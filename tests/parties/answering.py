"""A daemon's local socket that answers in a thread, without the daemon."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from parties.service.local import Handler, serve_local

DEADLINE_S = 30


@contextmanager
def answering(
    home: Path, handlers: Mapping[str, Handler], whole: Callable[[str], str] = lambda _: ""
) -> Iterator[None]:
    """These requests are answered while inside."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    ready: queue.Queue[None] = queue.Queue()

    async def main() -> None:
        server = await serve_local(home, handlers, whole)
        ready.put(None)
        await stop.wait()
        server.close()
        await server.wait_closed()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        ready.get(timeout=DEADLINE_S)
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
