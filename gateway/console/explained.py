"""Problems as pages, for browsers: whoever asks for HTML reads what is wrong and what to do, not JSON."""

from __future__ import annotations

import json
from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.access.guard import asks_for_page
from gateway.console.rendering import POLICY, cookie_of, form_token
from gateway.console.rendering import message as message_page
from gateway.problems import MEDIA_TYPE, Problem


class Explained:
    """Stands before the guard: what it refuses is explained as well."""

    def __init__(self, app: ASGIApp, name: str) -> None:
        self._app, self._name = app, name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not asks_for_page(scope):
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Explaining(self._name, scope, send))


class _Explaining:
    """Holds a problem back until its body is there, and sends the page in its place; passes on all else."""

    def __init__(self, name: str, scope: Scope, send: Send) -> None:
        self._name, self._scope, self._send = name, scope, send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_problem(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._explain(self._start)

    async def _explain(self, start: Message) -> None:
        """Under the problem's own status and headers, but for what is of its body."""
        problem = Problem.model_validate(json.loads(self._body))
        knows = problem.status != HTTPStatus.UNAUTHORIZED  # else there is no login whose pages could be offered
        token = form_token(cookie_of(Request(self._scope))) if knows else ""
        content = message_page(self._name, problem, token).encode()
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["content-type"], headers["content-length"] = "text/html; charset=utf-8", str(len(content))
        headers["content-security-policy"] = POLICY
        await self._send({**start, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": content})


def _is_problem(start: Message) -> bool:
    return MutableHeaders(raw=start["headers"]).get("content-type", "") == MEDIA_TYPE
