"""One-time logins for browsers: a code that works once and soon, for a cookie that lives in this process.

Whoever holds the gateway's token may ask for a code; it stands in an address that can be clicked on in a terminal.
Digests are kept, never codes or cookies; all are gone with the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.errors import Unauthorised
from parties.web.passes import Passes

COOKIE = "privity-login"
CODE_S = 600.0
LOGIN_S = 12 * 3600.0


class Logins:
    """All codes that were not used yet, and all browsers that used one."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._codes = Passes[bool](CODE_S, monotonic)
        self._cookies = Passes[bool](LOGIN_S, monotonic)

    def offer(self) -> str:
        """A fresh code."""
        return self._codes.issue(True)

    def redeem(self, code: str) -> str:
        """The cookie that a code turns into, once. Raises: Unauthorised."""
        if not self._codes.redeem(code):
            raise Unauthorised(
                "this login was used before, or is older than ten minutes",
                action="ask for a new one with `privity gateway login`",
            )
        return self._cookies.issue(True)

    def admits(self, cookie: str) -> bool:
        """Whether a cookie is that of a login that still holds."""
        return bool(self._cookies.value(cookie))
