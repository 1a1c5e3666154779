"""What routes are given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Header, Path, Request

from gateway.feed import Watcher
from gateway.sessions import Sessions


async def coordinator(request: Request) -> Sessions:
    """The coordinator that this application was made with; only the event loop's own thread touches it."""
    found: Sessions = request.app.state.sessions
    return found


Coordinator = Annotated[Sessions, Depends(coordinator)]
SessionId = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="the contract's SHA-256")]
LastEventId = Annotated[
    str, Header(alias="last-event-id", max_length=100, description="of the last event seen, to go on after it")
]


async def watched(session: SessionId, sessions: Coordinator, last_id: LastEventId = "") -> AsyncIterator[Watcher]:
    """A subscription, made before the response begins: an unknown session is a problem, not an empty stream."""
    with sessions.watch(session, last_id) as watcher:
        yield watcher


Watched = Annotated[Watcher, Depends(watched)]
