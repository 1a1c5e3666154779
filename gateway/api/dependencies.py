"""What routes are given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from gateway.access.accounts import Accounts
from gateway.access.logins import Logins
from gateway.access.principal import Principal
from gateway.access.seen_tokens import SeenTokens
from gateway.api.examples import EVENT_ID, IDEMPOTENCY_KEY, SESSION_ID, header
from gateway.coordination.feed import Watcher
from gateway.coordination.once import MAX_KEY
from gateway.coordination.seen import SeenSessions
from gateway.coordination.sessions import Sessions
from gateway.errors import Unauthorised
from parties.audit.events import LoginWay

BEARER = HTTPBearer(scheme_name="token", description="a personal token, or the gateway's own", auto_error=False)
Described = Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]  # for OpenAPI; the guard has looked


async def principal(request: Request, _shown: Described = None) -> Principal:
    """Who is logged in, as the guard found; no route that is open to strangers may ask."""
    found: Principal = request.state.principal
    return found


async def whole(request: Request) -> Sessions:
    """The coordinator that this application was made with; only the event loop's own thread touches it."""
    found: Sessions = request.app.state.sessions
    return found


async def logins(request: Request) -> Logins:
    """The browsers that are logged in."""
    found: Logins = request.app.state.logins
    return found


async def accounts(request: Request) -> Accounts:
    """Who has personal tokens."""
    found: Accounts = request.app.state.accounts
    return found


@contextmanager
def counted(request: Request, way: LoginWay) -> Iterator[None]:
    """A login that is refused meanwhile is counted in the audit log."""
    try:
        yield
    except Unauthorised:
        request.app.state.refusals.add(way)
        raise


LoggedIn = Annotated[Principal, Depends(principal)]
Whole = Annotated[Sessions, Depends(whole)]  # for what is open to strangers, and to record
AllLogins = Annotated[Logins, Depends(logins)]
AllAccounts = Annotated[Accounts, Depends(accounts)]


async def coordinator(sessions: Whole, principal: LoggedIn) -> SeenSessions:
    """The coordinator, as whoever is logged in sees it."""
    return SeenSessions(sessions, principal)


async def tokens(accounts: AllAccounts, principal: LoggedIn) -> SeenTokens:
    """Personal tokens, as whoever is logged in sees them."""
    return SeenTokens(accounts, principal)


Coordinator = Annotated[SeenSessions, Depends(coordinator)]
Tokens = Annotated[SeenTokens, Depends(tokens)]
SessionId = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="the contract's SHA-256", examples=[SESSION_ID])]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="idempotency-key",
        pattern=f"^[!-~]{{1,{MAX_KEY}}}$",
        description="the client's own name for this request, such as a random UUID",
        examples=[IDEMPOTENCY_KEY],
    ),
]
REPLAYED: dict[str, Any] = header("Idempotency-Replayed", "true: an earlier call did it", "true")
LastEventId = Annotated[
    str,
    Header(
        alias="last-event-id",
        max_length=100,
        description="of the last event seen, to go on after it",
        examples=[EVENT_ID],
    ),
]


async def watched(session: SessionId, sessions: Coordinator, last_id: LastEventId = "") -> AsyncIterator[Watcher]:
    """A subscription, made before the response begins: an unknown session is a problem, not an empty stream."""
    with sessions.watch(session, last_id) as watcher:
        yield watcher


Watched = Annotated[Watcher, Depends(watched)]
