"""What the gateway's REST interface refuses beyond the parties' errors.

PrivityError (mpc.errors)
└── RestError
    ├── NotFound         no such session or page
    ├── BadCursor        a page after a session that there is not
    ├── Unauthorised     no token, or not this gateway's
    ├── Forbidden        a request that a foreign web page could have made
    ├── KeyReused        an idempotency key that another plan was proposed with
    ├── TooLarge         a body over the limit, or of unstated length
    └── Busy             as many open sessions as the settings allow
"""

from __future__ import annotations

from mpc.errors import PrivityError


class RestError(PrivityError):
    code = "rest"


class NotFound(RestError):
    code = "rest.not-found"


class BadCursor(RestError):
    code = "rest.request"


class Unauthorised(RestError):
    code = "rest.unauthorised"


class Forbidden(RestError):
    code = "rest.forbidden"


class KeyReused(RestError):
    code = "rest.key-reused"


class TooLarge(RestError):
    code = "rest.too-large"


class Busy(RestError):
    code = "rest.busy"
