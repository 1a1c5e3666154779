"""Logins of browsers: whoever holds the token asks for one, a browser uses it once."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse

from gateway.logins import COOKIE, LOGIN_S, Logins
from gateway.problems import responses
from gateway.views import LoginOffered
from parties.audit.events import ConsoleOffered, ConsoleOpened

router = APIRouter(tags=["logins"])


def _logins(request: Request) -> Logins:
    found: Logins = request.app.state.logins
    return found


@router.post("/v1/logins", status_code=HTTPStatus.CREATED, responses=responses())
async def offer(request: Request) -> LoginOffered:
    """A one-time address for a browser on this machine; it works once, within ten minutes."""
    request.app.state.sessions.record(ConsoleOffered(role="analyst"))
    return LoginOffered(path=f"/login?code={_logins(request).offer()}")


@router.get("/login", response_class=RedirectResponse, include_in_schema=False)
async def login(request: Request, code: Annotated[str, Query(max_length=100)]) -> RedirectResponse:
    """Turn a code into a cookie, and go to the first page."""
    cookie = _logins(request).redeem(code)
    request.app.state.sessions.record(ConsoleOpened(role="analyst"))
    response = RedirectResponse("/", HTTPStatus.SEE_OTHER, {"referrer-policy": "no-referrer"})
    response.set_cookie(COOKIE, cookie, max_age=int(LOGIN_S), httponly=True, samesite="strict")
    return response
