"""What stands before the application: every request is identified and authorised here, or goes no further.

In this order: the host that it names, how often its sender asks, whether another site's page made it, its size, the
route's rule (`permissions.py`), who makes it, and whether that role may. What the application then finds as
`request.state.principal` is who makes it.
"""

from __future__ import annotations

import http.cookies
import ipaddress
from contextlib import suppress
from typing import Protocol

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.access.limits import Buckets
from gateway.access.logins import Logins, cookie_name
from gateway.access.permissions import Permissions
from gateway.access.places import Places
from gateway.access.principal import BOOTSTRAP, Principal
from gateway.access.tokens import PersonalToken, Token
from gateway.errors import TooLarge, TooMany, Unauthorised
from gateway.problems import problem_of
from mpc.errors import PrivityError
from parties.audit.events import LoginWay
from parties.audit.refusals import Refusals

MAX_BODY_BYTES = 1 << 20
BURST_S = 5.0  # seconds' worth of requests that may come at once
MINUTE_S, MINUTES_AT_ONCE = 60.0, 2.0  # of wrong tokens, and of uses of what is open to guesses
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
GUESSABLE = frozenset({"/login", "/oidc/login", "/oidc/callback"})  # open, and take a secret or make one
HEADERS = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "same-origin",  # with none at all browsers hide the Origin of a form, which is checked
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
STRICT_TRANSPORT = "max-age=31536000"
_PLAIN = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
_SECURE = [*_PLAIN, (b"strict-transport-security", STRICT_TRANSPORT.encode())]


class Known(Protocol):
    """Whom personal tokens belong to."""

    def principal(self, token: PersonalToken) -> Principal | None:
        """None if it is not one of this gateway's. Raises: Unauthorised if it holds no longer."""

    def holds(self, token_id: str) -> bool:
        """Whether a token is neither revoked nor expired."""


class Authentication:
    """Who makes a request, by what it shows: the gateway's own token, a personal one, or a browser's login."""

    def __init__(self, token: Token, logins: Logins, known: Known) -> None:
        self._token, self._logins, self._known = token, logins, known

    def principal(self, headers: Headers, *, is_secure: bool) -> Principal:
        """Raises: Unauthorised."""
        found = self._by_token(headers) if "authorization" in headers else self._by_login(headers, is_secure)
        if found is None:
            raise Unauthorised(
                "the request carries no token of this gateway that holds",
                action="send a personal token, or what the gateway's file token holds; in a browser, log in",
            )
        return found

    def _by_token(self, headers: Headers) -> Principal | None:
        scheme, _, shown = headers["authorization"].partition(" ")
        if scheme.lower() != "bearer":
            return None
        if personal := PersonalToken.parse(shown):
            return self._known.principal(personal)
        return BOOTSTRAP if self._token.admits(shown) else None

    def _by_login(self, headers: Headers, is_secure: bool) -> Principal | None:
        found = self._logins.principal(cookie_of(headers, cookie_name(is_secure=is_secure)))
        if found is not None and found.token and not self._known.holds(found.token):
            return None  # a login ends with the token that it was asked for by
        return found


class Rates:
    """How often one sender may ask, and fail."""

    def __init__(self, a_second: float, failures_a_minute: int) -> None:
        self._requests = Buckets(a_second, a_second * BURST_S)
        self._failures = Buckets(failures_a_minute / MINUTE_S, failures_a_minute * MINUTES_AT_ONCE)

    def check(self, sender: str) -> None:
        """Raises: TooMany."""
        if wait := self._requests.take(sender):
            raise TooMany("more requests came than this gateway takes from one sender", wait)

    def check_failure(self, sender: str) -> None:
        """Raises: TooMany."""
        if wait := self._failures.take(sender):
            raise TooMany("too many logins were tried from this address", wait)


class Guard:
    """Refuses what may not be asked; every answer has the headers that confine a browser."""

    def __init__(
        self,
        app: ASGIApp,
        authentication: Authentication,
        permissions: Permissions,
        places: Places,
        rates: Rates,
        refusals: Refusals[LoginWay],
        sign_in: str | None = None,
    ) -> None:
        """`sign_in` is where browsers that are not logged in are sent; `refusals` takes those of shown tokens."""
        self._app, self._authentication, self._permissions = app, authentication, permissions
        self._places, self._rates, self._refusals, self._sign_in = places, rates, refusals, sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        is_secure = self._places.is_secure(Headers(scope=scope).get("host", ""))

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                added = [one for one in (_SECURE if is_secure else _PLAIN) if one[0] not in given]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        try:
            principal = self._admitted(scope, is_secure=is_secure)
        except PrivityError as exc:
            is_lost = isinstance(exc, Unauthorised) and scope["method"] == "GET" and asks_for_page(scope)
            answer = RedirectResponse(self._sign_in, 303) if is_lost and self._sign_in else problem_of(exc)
            await answer(scope, receive, send_guarded)
            return
        scope.setdefault("state", {})["is_secure"] = is_secure
        if principal is not None:
            scope["state"]["principal"] = principal
        await self._app(scope, receive, send_guarded)

    def _admitted(self, scope: Scope, *, is_secure: bool) -> Principal | None:
        """Who makes the request; None where the route is open to strangers. Raises: PrivityError."""
        headers, sender = Headers(scope=scope), sender_of(scope)
        self._places.check_host(headers)
        self._rates.check(sender)
        if scope["method"] not in _READING:
            self._places.check_origin(headers)
            check_length(headers)
        if self._permissions.is_open(scope["method"], scope["path"]):
            if scope["path"] in GUESSABLE:
                self._rates.check_failure(sender)
            return None
        try:
            principal = self._authentication.principal(headers, is_secure=is_secure)
        except Unauthorised:
            if "authorization" in headers:  # without one nobody tried: a login is over, or a page was opened
                self._refusals.add("token")
            self._rates.check_failure(sender)
            raise
        self._rates.check(principal.token or principal.account)
        self._permissions.check(principal, scope["method"], scope["path"])
        return principal


def asks_for_page(scope: Scope) -> bool:
    """Whether a browser is shown what is answered."""
    return "text/html" in Headers(scope=scope).get("accept", "")


def cookie_of(headers: Headers, name: str) -> str:
    cookies = http.cookies.SimpleCookie()
    with suppress(http.cookies.CookieError):
        cookies.load(headers.get("cookie", ""))
    return cookies[name].value if name in cookies else ""


def sender_of(scope: Scope) -> str:
    """The address that a request came from; of IPv6 the network, as one machine has a whole one."""
    host = (scope.get("client") or ("", 0))[0]
    with suppress(ValueError):
        if ipaddress.ip_address(host).version == 6:
            return str(ipaddress.ip_network((host, 64), strict=False))
    return f"address {host}"


def check_length(headers: Headers) -> None:
    """Raises: TooLarge if a body is over the limit, or does not say how long it is."""
    stated = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not stated.isdigit() or int(stated) > MAX_BODY_BYTES:
        raise TooLarge(
            f"a body may have {MAX_BODY_BYTES} bytes and must state its length", action="send a smaller plan"
        )
