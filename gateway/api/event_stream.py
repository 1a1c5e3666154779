"""A session's events as a browser and every client takes them: `text/event-stream`, with signs of life between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import Response
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.types import Receive, Scope, Send

from gateway.api.examples import EVENTS
from gateway.coordination.feed import Update, Watcher

SILENCE_S: Final = 15.0  # after which a sign of life is sent
MEDIA_TYPE: Final = "text/event-stream"
_TEXT: Final = {"type": "string"}
DECLARED: Final[dict[int | str, dict[str, Any]]] = {
    int(HTTPStatus.OK): {
        "content": {
            MEDIA_TYPE: {
                "itemSchema": {"type": "object", "properties": dict.fromkeys(("event", "id", "data"), _TEXT)},
                "example": EVENTS,
            }
        }
    }
}


class EventStream(Response):
    """What one watcher is told, until the session is over or the client gone.

    What waits together is sent together. FastAPI's own take more tasks and a queue between each two.
    """

    def __init__(self, watcher: Watcher, admits: Callable[[], bool], silence_s: float = SILENCE_S) -> None:
        """`admits` is asked before anything is told: whether the client may still see it."""
        super().__init__(media_type=MEDIA_TYPE, headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._watcher, self._admits, self._silence_s = watcher, admits, silence_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        tasks = asyncio.create_task(self._tell(send)), asyncio.create_task(_left(receive))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            told, _ = await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(told, Exception):
            raise told

    async def _tell(self, send: Send) -> None:
        while True:
            try:
                async with asyncio.timeout(self._silence_s):
                    updates = await self._watcher.take()
            except TimeoutError:
                await send(_part(KEEPALIVE_COMMENT))
                continue
            if not updates or not self._admits():
                break
            await send(_part(_encoded(updates)))
            if updates[-1].final:
                break
        await send({"type": "http.response.body", "body": b""})


def _encoded(updates: Sequence[Update]) -> bytes:
    return b"".join(format_sse_event(event=each.kind, data_str=each.text, id=each.id) for each in updates)


def _part(content: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": content, "more_body": True}


async def _left(receive: Receive) -> None:
    """Until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
