"""What the gateway's REST interface refuses beyond the parties' errors.

PrivityError (mpc.errors)
└── RestError
    ├── NotFound         no such page, or no such session that the account's organisation is part of
    ├── NoSuchMethod     a path that is there, asked for in another way
    ├── BadCursor        a page after a session that there is not
    ├── BadForm          a form of the console that can't be read
    ├── Unauthorised     no token or login, or one that does not hold
    ├── BadToken         a personal token that can't be made so
    ├── Forbidden        a request that the role may not make, or that a foreign web page could have made
    ├── KeyReused        an idempotency key that came with another request
    ├── TooLarge         a body over the limit, or of unstated length
    ├── TooMany          more requests than the settings allow
    ├── NoProvider       the identity provider can't be asked
    ├── Busy             as many open sessions as the settings allow
    └── StoreAway        the database is not reached, or takes too long
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from mpc.errors import PrivityError


class RestError(PrivityError):
    code = "rest"
    headers: Mapping[str, str] = {}  # of the answer


class NotFound(RestError):
    code = "rest.not-found"


class NoSuchMethod(RestError):
    code = "rest.method"

    def __init__(self, allowed: Iterable[str]) -> None:
        methods = ", ".join(sorted(allowed))
        super().__init__(f"this path is for {methods} alone", action="see /openapi.json for what there is")
        self.headers = {"allow": methods}


class BadCursor(RestError):
    code = "rest.request"


class BadForm(RestError):
    code = "rest.request"


class BadToken(RestError):
    code = "rest.token"


class Unauthorised(RestError):
    code = "rest.unauthorised"
    headers = {"www-authenticate": "Bearer"}  # noqa: RUF012  (never changed)


class Forbidden(RestError):
    code = "rest.forbidden"


class KeyReused(RestError):
    code = "rest.key-reused"


class TooLarge(RestError):
    code = "rest.too-large"


class TooMany(RestError):
    code = "rest.too-many"

    def __init__(self, what: str, wait_s: float) -> None:
        seconds = max(1, math.ceil(wait_s))
        super().__init__(what, action=f"wait {seconds} s, and ask less often")
        self.headers = {"retry-after": str(seconds)}


class NoProvider(RestError):
    code = "rest.no-provider"


class Busy(RestError):
    code = "rest.busy"


class StoreAway(RestError):
    code = "rest.store"
