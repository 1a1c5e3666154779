"""A stream of events: what waits is sent, silence is broken, and an end of either side is the stream's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.api.event_stream import EventStream
from gateway.coordination.feed import Update, Watcher

DEADLINE_S = 60
FIRST = Update("state", {"state": "running"}, id="1")
LAST = Update("state", {"state": "completed"}, final=True, id="2")


class Client:
    """What an application is called with."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def body(self) -> bytes:
        """The next part, empty at the end."""
        message = await self.sent.get()
        assert message["type"] == "http.response.body"
        return bytes(message["body"])


async def served(watcher: Watcher, admits: Callable[[], bool] = lambda: True, silence_s: float = DEADLINE_S):
    """A client, whose answer has begun, and the task that answers it."""
    client = Client()
    stream = EventStream(watcher, admits, silence_s)
    task = asyncio.create_task(stream({"type": "http"}, client.receive, client.sent.put))
    start = await client.sent.get()
    headers = dict(start["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert b"content-length" not in headers
    return client, task


def run(work: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(work(), DEADLINE_S))


def test_what_waits_is_sent_together_up_to_the_end():
    """Nothing follows a final state, and the stream ends with it."""

    async def work() -> None:
        watcher = Watcher()
        for update in (FIRST, LAST, Update("progress", {"who": "clinic-a"}, id="3")):
            watcher.put(update)
        client, task = await served(watcher)
        state = b'event: state\ndata: {"state": "%s"}\nid: %s\n\n'
        assert await client.body() == state % (b"running", b"1") + state % (b"completed", b"2")
        assert await client.body() == b""
        await task
        assert client.sent.empty()

    run(work)


def test_silence_is_broken():
    """A client hears that the gateway is there, and misses nothing that is told afterwards."""

    async def work() -> None:
        watcher = Watcher()
        client, task = await served(watcher, silence_s=0.01)
        assert [await client.body() for _ in range(3)] == [b": ping\n\n"] * 3
        watcher.put(LAST)
        while (part := await client.body()) == b": ping\n\n":
            pass
        assert b"completed" in part
        await task

    run(work)


def test_a_client_that_is_gone_ends_it():
    """Its connection's end is noticed in the midst of silence."""

    async def work() -> None:
        client, task = await served(Watcher())
        client.gone.set()
        await task

    run(work)


def test_a_watcher_that_is_closed_ends_it():
    """At the gateway's own end what was told before is still sent."""

    async def work() -> None:
        watcher = Watcher()
        watcher.put(FIRST)
        watcher.close()
        client, task = await served(watcher)
        assert b"running" in await client.body()
        assert await client.body() == b""
        await task

    run(work)


def test_who_may_no_longer_see_it_is_told_nothing():
    """A token that was revoked ends the stream before the next event."""

    async def work() -> None:
        watcher, admitted = Watcher(), [True, False]
        watcher.put(FIRST)
        client, task = await served(watcher, lambda: admitted.pop(0))
        assert b"running" in await client.body()
        watcher.put(LAST)
        assert await client.body() == b""
        await task

    run(work)


def test_a_connection_that_breaks_is_no_secret():
    """What sending raises is raised."""

    async def work() -> None:
        watcher = Watcher()
        watcher.put(FIRST)

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                raise OSError("broken")

        await EventStream(watcher, lambda: True)({"type": "http"}, Client().receive, send)

    with pytest.raises(OSError, match="broken"):
        run(work)
