"""Browsers' logins: a code that works once and soon, for a cookie that any gateway on the database knows.

Whoever may use REST may ask for a code; it stands in an address that can be clicked on in a terminal, and the browser
that uses it may do what they may. Digests are kept, never codes or cookies: they have 256 random bits each.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.access.principal import Principal
from gateway.errors import Unauthorised
from gateway.storage.store import Store
from parties.keys.tls import utc_now

COOKIE = "privity-login"
CODE_S = 600.0
LOGIN_S = 12 * 3600.0


@dataclass(frozen=True)
class Attempt:
    """A login by the identity provider, all of it in the browser's cookie: another browser can't finish it.

    The cookie says when it was begun, in seconds, and has a secret; what the provider is shown is hashes of it.
    """

    cookie: str

    @classmethod
    def begin(cls, now: datetime) -> Attempt:
        return cls(f"{int(now.timestamp())}.{secrets.token_urlsafe(32)}")

    @classmethod
    def of(cls, cookie: str, state: str, now: datetime) -> Attempt | None:
        """The one that came back with this state; None if it is another's, or over."""
        found = cls(cookie)
        begun = re.match(r"([0-9]{1,15})\.", cookie)
        if begun is None or not secrets.compare_digest(found.state.encode(), state.encode()):
            return None
        return found if 0 <= now.timestamp() - int(begun[1]) <= CODE_S else None

    @property
    def state(self) -> str:
        return self._derived("state")

    @property
    def nonce(self) -> str:
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        return self._derived("verifier")

    def _derived(self, what: str) -> str:
        return hashlib.sha256(f"privity login by a provider\n{what}\n{self.cookie}".encode()).hexdigest()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(redacted)"


def cookie_name(*, is_secure: bool) -> str:
    """By the prefix a browser takes the cookie over TLS alone, and from this very host."""
    return f"__Host-{COOKIE}" if is_secure else COOKIE


class Logins:
    """All codes that were not used yet, and all browsers that are logged in. Every call raises StoreAway."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = utc_now) -> None:
        self._store, self.clock = store, clock

    def offer(self, principal: Principal) -> str:
        """A fresh code."""
        code, now = secrets.token_urlsafe(32), self.clock()
        with self._store.transaction() as rows:
            rows.logins.add("code", _digest(code), principal, now + timedelta(seconds=CODE_S), now)
        return code

    def redeem(self, code: str) -> tuple[Principal, str]:
        """Who a code was for, and the cookie that it turns into, once. Raises: Unauthorised."""
        with self._store.transaction() as rows:
            principal = rows.logins.take("code", _digest(code), self.clock())
        if principal is None:
            raise Unauthorised(
                "this login was used before, or is older than ten minutes",
                action="ask for a new one with `privity gateway login`",
            )
        return principal, self.open(principal)

    def open(self, principal: Principal) -> str:
        """A cookie for a browser that has proved who uses it."""
        cookie, now = secrets.token_urlsafe(32), self.clock()
        with self._store.transaction() as rows:
            rows.logins.add("cookie", _digest(cookie), principal, now + timedelta(seconds=LOGIN_S), now)
        return cookie

    def principal(self, cookie: str) -> Principal | None:
        """Whose login a cookie is; None if it never was one, or is over."""
        if not cookie:
            return None
        with self._store.reading() as rows:
            return rows.logins.find("cookie", _digest(cookie), self.clock())

    def close(self, cookie: str) -> Principal | None:
        """End a login."""
        with self._store.transaction() as rows:
            return rows.logins.take("cookie", _digest(cookie), self.clock())

    def close_all(self) -> int:
        """End every login, and all codes; tells how many logins there were. A gateway that runs records it."""
        with self._store.transaction() as rows:
            return rows.logins.end_all()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
