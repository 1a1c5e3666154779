"""Who may use REST: this machine, with the token that `privity gateway init` wrote; no foreign web page.

A loopback port is open to every user of the machine and, by DNS rebinding, to pages in its browsers: hence the token,
and the checks of Host and Origin before anything of a request is looked at.
"""

from __future__ import annotations

import http.cookies
import secrets
from contextlib import suppress
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import Forbidden, TooLarge, Unauthorised
from gateway.logins import COOKIE, Logins
from gateway.problems import problem_of
from mpc.errors import PrivityError
from parties.errors import SettingsError
from parties.identity import write_private
from parties.web.addresses import names_loopback

TOKEN_FILE = "token"  # noqa: S105  (a file's name)
MAX_BODY_BYTES = 1 << 20
OPEN_PATHS = frozenset({"/v1/health", "/openapi.json", "/login", "/static/console.css"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Token:
    """What a client must show. Redacted in print; not comparable but in constant time, not picklable."""

    def __init__(self, value: str) -> None:
        self._value = value

    @classmethod
    def create(cls, home: Path) -> Token:
        """Raises: SettingsError if there is one already."""
        value = secrets.token_urlsafe(32)
        write_private(home / TOKEN_FILE, value.encode() + b"\n")
        return cls(value)

    @classmethod
    def load(cls, path: Path) -> Token:
        """Raises: SettingsError if the file is missing, readable by others or empty."""
        try:
            mode, value = path.stat().st_mode, path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise SettingsError(f"there is no token at {path}", action="run `privity gateway init` first") from exc
        if mode & 0o077:
            raise SettingsError(f"{path} is readable by others", action=f"run: chmod 600 {path}")
        if not value:
            raise SettingsError(f"{path} is empty", action="restore it from a backup")
        return cls(value)

    def reveal(self) -> str:
        """The token itself, for the client that shows it."""
        return self._value

    def admits(self, shown: str) -> bool:
        return secrets.compare_digest(shown.encode(), self._value.encode())

    def __repr__(self) -> str:
        return "Token(redacted)"

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("tokens are not compared; use admits")

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a token is not serialised")


class Guard:
    """Refuses, before the application sees it, every request that is not this machine's with the token."""

    def __init__(self, app: ASGIApp, token: Token, logins: Logins) -> None:
        self._app, self._token, self._logins = app, token, logins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope["method"], scope["path"], Headers(scope=scope))
            except PrivityError as exc:
                await problem_of(exc)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, method: str, path: str, headers: Headers) -> None:
        check_host(headers.get("host", ""))
        if method not in _READING:
            check_origin(headers)
            check_length(headers)
        if path not in OPEN_PATHS and not self._is_logged_in(headers):
            self._check_token(headers.get("authorization", ""))

    def _is_logged_in(self, headers: Headers) -> bool:
        cookies = http.cookies.SimpleCookie()
        with suppress(http.cookies.CookieError):
            cookies.load(headers.get("cookie", ""))
        shown = cookies.get(COOKIE)
        return shown is not None and self._logins.admits(shown.value)

    def _check_token(self, authorization: str) -> None:
        scheme, _, shown = authorization.partition(" ")
        if scheme.lower() != "bearer" or not self._token.admits(shown):
            raise Unauthorised(
                "the request carries no token of this gateway",
                action=f"send the content of its file {TOKEN_FILE}; for a browser, `privity gateway login`",
            )


def check_host(host: str) -> None:
    """Raises: Forbidden for a name that is not loopback: a page could have made the browser resolve it to here."""
    if not names_loopback(host):
        raise Forbidden("the request names another host than this machine", action="use http://127.0.0.1:PORT")


def check_origin(headers: Headers) -> None:
    """Raises: Forbidden if another site's page made the request."""
    origin, host = headers.get("origin"), headers.get("host", "")
    foreign = origin is not None and urlsplit(origin).netloc != host
    if foreign or headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        raise Forbidden("another site's page made this request", action="use the gateway's own pages or client")


def check_length(headers: Headers) -> None:
    """Raises: TooLarge if a body is over the limit, or does not say how long it is."""
    stated = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not stated.isdigit() or int(stated) > MAX_BODY_BYTES:
        raise TooLarge(
            f"a body may have {MAX_BODY_BYTES} bytes and must state its length", action="send a smaller plan"
        )
