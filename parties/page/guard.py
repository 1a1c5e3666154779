"""What stands before a page's application: foreign requests end here, and no response leaves without its headers."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parties.errors import PageError
from parties.page.access import check_request
from parties.service.oplog import about

_OF_SESSION = re.compile(r"/[^/]+/sessions/([0-9a-f]{64})(?:/.*)?")
POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "referrer-policy": "same-origin",  # with none at all browsers hide the Origin of a form, which is checked
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Refuses foreign requests before anything of them is looked at, and gives responses the headers that they lack."""

    def __init__(self, app: ASGIApp, refuse: Callable[[Request, Exception], Response]) -> None:
        self._app, self._refuse = app, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if scope["type"] == "http":
            try:
                check_request(scope["method"], Headers(scope=scope))
            except PageError as exc:
                await self._refuse(Request(scope), exc)(scope, receive, send_guarded)
                return
        # what fails is answered and logged by `unexpected`; the server would print its text
        with about(session_in(scope.get("path", ""))), suppress(Exception):
            await self._app(scope, receive, send_guarded)


def session_in(path: str) -> str:
    """The id of the session that a page is about; empty if it is about none."""
    found = _OF_SESSION.fullmatch(path)
    return found[1] if found else ""
