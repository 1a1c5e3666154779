"""Logins of browsers by the identity provider that the settings name."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse

from gateway.access.guard import cookie_of
from gateway.access.logins import CODE_S, Attempt
from gateway.api.dependencies import AllLogins, Whole, counted
from gateway.api.logins import set_cookie
from gateway.errors import Forbidden, NotFound, Unauthorised
from parties.audit.events import ConsoleOpened, ConsoleRefused

if TYPE_CHECKING:
    from gateway.access.oidc import Provider

router = APIRouter(include_in_schema=False)
_AGAIN = "log in again, and finish it in the same browser within ten minutes"


def _provider(request: Request) -> Provider:
    found: Provider | None = request.app.state.provider
    if found is None:
        raise NotFound("this gateway has no identity provider", action="use `privity gateway login`, or a token")
    return found


def _cookie_name(request: Request) -> str:
    return "__Host-privity-attempt" if request.state.is_secure else "privity-attempt"


@router.get("/oidc/login", response_class=RedirectResponse)
async def begin(request: Request, logins: AllLogins) -> RedirectResponse:
    """Send the browser to the identity provider."""
    provider, attempt = _provider(request), Attempt.begin(logins.clock())
    response = RedirectResponse(await provider.address(attempt), HTTPStatus.SEE_OTHER)
    response.set_cookie(
        _cookie_name(request),
        attempt.cookie,
        max_age=int(CODE_S),
        httponly=True,
        samesite="lax",  # it comes back by a link of the provider's
        secure=request.state.is_secure,
    )
    return response


@router.get("/oidc/callback", response_class=RedirectResponse)
async def finish(
    request: Request,
    logins: AllLogins,
    sessions: Whole,
    state: Annotated[str, Query(max_length=200)] = "",
    code: Annotated[str, Query(max_length=4096)] = "",
    iss: Annotated[str, Query(max_length=500)] = "",
    error: Annotated[str, Query(max_length=200)] = "",
) -> RedirectResponse:
    """Take what the provider says of the browser's user, and log them in."""
    provider, shown = _provider(request), cookie_of(request.headers, _cookie_name(request))
    with counted(request, "provider"):
        attempt = Attempt.of(shown, state, logins.clock())
        if attempt is None:
            raise Unauthorised("this login was not begun in this browser, or is over", action=_AGAIN)
        if iss and iss != provider.issuer:
            raise Unauthorised("another identity provider than this gateway's answered", action=_AGAIN)
        if error or not code:
            reason = error if re.fullmatch(r"[a-z_]{1,60}", error) else "no code"
            raise Unauthorised(f"the identity provider refused the login: {reason}", action=_AGAIN)
        principal, account = await provider.principal(attempt, code)
    if principal is None:
        sessions.record(ConsoleRefused(account=account, reason="no-grant"))
        raise Forbidden(
            f"the identity provider knows you, and nobody has given you a role here (account {account})",
            action="ask the gateway's operator for a grant in its settings",
        )
    sessions.record(ConsoleOpened(**principal.recorded, by="provider"))
    response = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    set_cookie(request, response, logins.open(principal), same_site="lax")
    response.delete_cookie(_cookie_name(request), secure=request.state.is_secure, httponly=True, samesite="lax")
    return response
