"""One id for each request: in the answer's header, in its problem, in the gateway's log.

The gateway makes it; what a client sends as such is not taken over, so nothing of a request gets into the log by it but
the id of the session that its path names.
"""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-request-id"
_OF_SESSION = re.compile(r"/(?:v1/)?sessions/([0-9a-f]{64})(?:/.*)?")
_current: ContextVar[str] = ContextVar("request_id", default="")


def current() -> str:
    """The id of the request that is being answered; empty outside of one."""
    return _current.get()


def begin() -> None:
    """A new id, for the rest of this task."""
    _current.set(secrets.token_hex(8))


class RequestIds:
    """Gives each request its id, also those that the guard refuses."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin()  # for all of this request's task: its failure is handled outside of here
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request=current())
        if found := _OF_SESSION.fullmatch(scope["path"]):
            structlog.contextvars.bind_contextvars(session=found[1])

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = current()
            await send(message)

        await self._app(scope, receive, send_named)
