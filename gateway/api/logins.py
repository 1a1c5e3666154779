"""Logins of browsers: whoever may use REST asks for one, and a browser uses it once."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from gateway.access.guard import cookie_of
from gateway.access.logins import LOGIN_S, cookie_name
from gateway.access.permissions import allowed
from gateway.api.dependencies import AllAccounts, AllLogins, LoggedIn, Whole, counted
from gateway.api.examples import LOGIN, ME, merged, shown
from gateway.console.rendering import goodbye
from gateway.problems import responses
from gateway.views import LoginOffered, Me
from parties.audit.events import ConsoleClosed, ConsoleOffered, ConsoleOpened

router = APIRouter(tags=["logins"])


@router.post(
    "/v1/logins", status_code=HTTPStatus.CREATED, responses=merged(responses(), shown(LOGIN, HTTPStatus.CREATED))
)
async def offer(principal: LoggedIn, logins: AllLogins, sessions: Whole) -> LoginOffered:
    """A one-time address for a browser, which then may do what you may; it works once, within ten minutes."""
    sessions.record(ConsoleOffered(**principal.recorded))
    return LoginOffered(path=f"/login?code={logins.offer(principal)}")


@router.get("/v1/me", responses=merged(responses(), shown(ME)))
async def me(principal: LoggedIn, accounts: AllAccounts) -> Me:
    """Who you are to this gateway, what you may, and until when."""
    ends = accounts.ends(principal.token) if principal.token else None
    return Me(**vars(principal), expires=ends, sees=principal.sees, may=allowed(principal))


@router.get("/login", response_class=RedirectResponse, include_in_schema=False)
async def login(
    request: Request, logins: AllLogins, sessions: Whole, code: Annotated[str, Query(max_length=100)]
) -> RedirectResponse:
    """Turn a code into a cookie, and go to the first page."""
    with counted(request, "code"):
        principal, cookie = logins.redeem(code)
    sessions.record(ConsoleOpened(**principal.recorded, by="code"))
    response = RedirectResponse("/", HTTPStatus.SEE_OTHER, {"referrer-policy": "no-referrer"})
    set_cookie(request, response, cookie, same_site="strict")
    return response


@router.post("/logout", response_class=HTMLResponse, include_in_schema=False)
async def logout(request: Request, logins: AllLogins, sessions: Whole) -> HTMLResponse:
    """End the browser's login. What follows is a page: a form may not lead on to the identity provider."""
    name = cookie_name(is_secure=request.state.is_secure)
    if principal := logins.close(cookie_of(request.headers, name)):
        sessions.record(ConsoleClosed(account=principal.account, by="browser"))
    response = goodbye(request.app.state.name, by_provider=request.app.state.provider is not None)
    response.delete_cookie(name, secure=request.state.is_secure, httponly=True)
    return response


def set_cookie(
    request: Request, response: Response, cookie: str, *, same_site: Literal["strict", "lax"], seconds: float = LOGIN_S
) -> None:
    """For this host alone, out of scripts' reach, over TLS alone where there is TLS."""
    is_secure = request.state.is_secure
    name = cookie_name(is_secure=is_secure)
    response.set_cookie(name, cookie, max_age=int(seconds), httponly=True, samesite=same_site, secure=is_secure)
