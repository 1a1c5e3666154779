"""Who may use a node's page: this machine's browsers, after a link that works once; and what each role may ask for.

A loopback port is open to every user of the machine and, by DNS rebinding, to pages in its browsers. Browsers send a
cookie of one loopback port to every other, so each login has a path of its own, which nobody can guess: its cookie
goes to no other server, and several nodes, or both roles, fit in one browser.
"""

from __future__ import annotations

import http.cookies
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import Request

from parties.audit.events import Reader
from parties.errors import PageError
from parties.web.addresses import names_loopback
from parties.web.passes import Passes

COOKIE = "privity-node"
LINK_S = 600.0
LOGIN_S = 3600.0
MAX_FORM_BYTES = 4096
READING = frozenset({"GET", "HEAD"})
_AGAIN = "ask for a new link with `privity node login`"


@dataclass(frozen=True)
class Login:
    """One browser's; `place` is its path, `form_token` stands in its forms."""

    role: Reader
    place: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    form_token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)


class Logins:
    """Links that were not used yet, and browsers that used one; all are gone with the process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._links = Passes[Reader](LINK_S, monotonic)
        self._logins = Passes[Login](LOGIN_S, monotonic)

    def offer(self, role: Reader) -> str:
        """A code that a browser turns into a login of this role, once."""
        return self._links.issue(role)

    def enter(self, code: str) -> tuple[Login, str]:
        """The login and its cookie. Raises: PageError if the code was used, is over, or never was."""
        role = self._links.redeem(code)
        if role is None:
            raise PageError(
                HTTPStatus.UNAUTHORIZED, "this link was used before, or is older than ten minutes", action=_AGAIN
            )
        login = Login(role)
        return login, self._logins.issue(login)

    def find(self, place: str, cookie: str) -> Login:
        """Raises: PageError if there is no such login, or no longer."""
        login = self._logins.value(cookie)
        if login is None or not secrets.compare_digest(login.place.encode(), place.encode()):
            raise PageError(HTTPStatus.UNAUTHORIZED, "you are not logged in, or no longer", action=_AGAIN)
        return login

    def leave(self, cookie: str) -> None:
        self._logins.redeem(cookie)


def cookie_of(request: Request) -> str:
    cookies = http.cookies.SimpleCookie()
    with suppress(http.cookies.CookieError):
        cookies.load(request.headers.get("cookie", ""))
    return cookies[COOKIE].value if COOKIE in cookies else ""


def check_request(method: str, headers: Headers) -> None:
    """Raises: PageError for a request that another site could have made this browser make, or a large one."""
    host = headers.get("host", "")
    if not names_loopback(host):
        raise PageError(
            HTTPStatus.FORBIDDEN,
            "the request names another host than this machine",
            action="use the link's own address",
        )
    if method in READING:
        return
    if headers.get("origin") != f"http://{host}" or headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise PageError(
            HTTPStatus.FORBIDDEN, "another site's page made this request", action="use the buttons of this node's page"
        )
    stated = headers.get("content-length", "")
    if "transfer-encoding" in headers or not stated.isdigit() or int(stated) > MAX_FORM_BYTES:
        raise PageError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a form has at most {MAX_FORM_BYTES} bytes")


async def read_form(request: Request, login: Login) -> dict[str, str]:
    """The fields of a form that this login's page showed. Raises: PageError for any other."""
    content = (await request.body()).decode("ascii", errors="replace")
    try:
        fields = {name: values[0] for name, values in parse_qs(content, max_num_fields=8).items()}
    except ValueError:
        fields = {}
    if not secrets.compare_digest(fields.pop("form_token", "").encode(), login.form_token.encode()):
        raise PageError(
            HTTPStatus.FORBIDDEN, "this form is not one that your login was shown", action="load the page again"
        )
    return fields
