"""One-time logins for browsers: a code that works once and soon, for a cookie that lives in this process.

Whoever holds the gateway's token may ask for a code; it stands in an address that can be clicked on in a terminal.
Digests are kept, never codes or cookies; all are gone with the process.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable

from gateway.errors import Unauthorised

COOKIE = "privity-login"
CODE_S = 600.0
LOGIN_S = 12 * 3600.0
MAX_CODES = 100


class Logins:
    """All codes that were not used yet, and all browsers that used one."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._codes: dict[str, float] = {}
        self._cookies: dict[str, float] = {}

    def offer(self) -> str:
        """A fresh code; of too many the oldest is forgotten."""
        self._forget()
        while len(self._codes) >= MAX_CODES:
            del self._codes[next(iter(self._codes))]
        return self._add(self._codes, CODE_S)

    def redeem(self, code: str) -> str:
        """The cookie that a code turns into, once. Raises: Unauthorised."""
        self._forget()
        if self._codes.pop(_digest(code), None) is None:
            raise Unauthorised(
                "this login was used before, or is older than ten minutes",
                action="ask for a new one with `privity gateway login`",
            )
        return self._add(self._cookies, LOGIN_S)

    def admits(self, cookie: str) -> bool:
        """Whether a cookie is that of a login that still holds. Digests are looked up: timing tells nothing of them."""
        self._forget()
        return _digest(cookie) in self._cookies

    def _add(self, kept: dict[str, float], seconds: float) -> str:
        value = secrets.token_urlsafe(32)
        kept[_digest(value)] = self._monotonic() + seconds
        return value

    def _forget(self) -> None:
        now = self._monotonic()
        for kept in (self._codes, self._cookies):
            for digest in [digest for digest, until in kept.items() if until <= now]:
                del kept[digest]


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
