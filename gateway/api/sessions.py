"""Sessions: propose, list, show, watch, cancel. Approving is no route: operators approve at their own nodes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import Field

from gateway.api.conditional import TAGGED, IfNoneMatch, answer
from gateway.api.dependencies import Coordinator, SessionId, Watched
from gateway.api.examples import PLANS
from gateway.once import MAX_KEY
from gateway.problems import responses
from gateway.selection import Selection
from gateway.views import SessionCreated, SessionView
from parties.kinds import AnyPlan, Kind
from parties.lifecycle import State
from parties.plan import Frozen, Name

MAX_PAGE = 500
PAGED: dict[int | str, dict[str, Any]] = {
    int(HTTPStatus.OK): {"headers": {"Link": {"description": "the next page's address", "schema": {"type": "string"}}}}
}
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="idempotency-key",
        pattern=f"^[!-~]{{1,{MAX_KEY}}}$",
        description="the client's own name for this proposal, such as a random UUID",
    ),
]


class SessionQuery(Frozen):
    """Which sessions a list shows."""

    state: Annotated[tuple[State, ...], Field(description="one or several; left out: any")] = ()
    kind: Kind | None = None
    participant: Annotated[Name | None, Field(description="a party or a dealer")] = None
    limit: Annotated[int | None, Field(ge=1, le=MAX_PAGE, description="sessions on a page; left out: all")] = None
    cursor: Annotated[
        str | None, Field(pattern="^[0-9a-f]{64}$", description="the last session of the page before, as `Link` has it")
    ] = None

    @property
    def selection(self) -> Selection:
        """With one session more than the page has, by whose presence there is a next."""
        limit = None if self.limit is None else self.limit + 1
        return Selection(self.state, self.kind, self.participant, self.cursor, limit)


router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=responses("plan", "rest.busy", "rest.key-reused", "rest.request", "rest.too-large"),
)
async def propose(
    plan: Annotated[AnyPlan, Body(openapi_examples=PLANS)],
    sessions: Coordinator,
    response: Response,
    key: IdempotencyKey = None,
) -> SessionCreated:
    """Resolve a plan into a contract and send it to every participant.

    Under one `Idempotency-Key` a plan is proposed once within a day: every answer is the first.
    """
    proposed = sessions.propose(plan, key)
    record = proposed.record
    response.headers["location"] = f"/v1/sessions/{record.digest}"
    if not proposed.is_new:
        response.headers["idempotency-replayed"] = "true"
    return SessionCreated(id=record.digest, state=State.PROPOSED, contract=json.loads(record.text))


@router.get("", responses=responses("rest.request") | PAGED)
async def list_sessions(
    request: Request, response: Response, sessions: Coordinator, asked: Annotated[SessionQuery, Query()]
) -> list[SessionView]:
    """Sessions, newest first: all of them or, with `limit`, a page. The header `Link` has the next one's address."""
    found = sessions.sessions(asked.selection)
    if asked.limit is None or len(found) <= asked.limit:
        return found
    page = found[: asked.limit]
    following = request.url.include_query_params(cursor=page[-1].id)
    response.headers["link"] = f'<{following.path}?{following.query}>; rel="next"'
    return page


@router.get("/{session}", response_model=SessionView, responses=responses("rest.not-found", "rest.request") | TAGGED)
async def show(session: SessionId, sessions: Coordinator, known: IfNoneMatch = None) -> Response:
    """A session, with who is being waited for."""
    return answer(sessions.session(session).model_dump_json().encode(), known)


@router.get("/{session}/contract", responses=responses("rest.not-found", "rest.request") | TAGGED)
async def contract(session: SessionId, sessions: Coordinator, known: IfNoneMatch = None) -> Response:
    """The contract in canonical JSON: the very bytes whose SHA-256 is the session's id, and its entity tag."""
    return answer(sessions.contract(session).encode(), known)


@router.post("/{session}/cancel", responses=responses("rest.not-found", "rest.request", "lifecycle"))
async def cancel(session: SessionId, sessions: Coordinator) -> SessionView:
    """End a session that is not at its end yet, for every participant."""
    return sessions.cancel(session)


@router.get(
    "/{session}/events",  # noqa: FAST003  (`Watched` takes it)
    response_class=EventSourceResponse,
    responses=responses("rest.not-found", "rest.request"),
)
async def events(watcher: Watched) -> AsyncIterable[ServerSentEvent]:
    """State changes and progress as they happen, the present state first; ends after a final state.

    A client that comes back with `Last-Event-ID` gets what it missed instead of the present state.
    """
    async for update in watcher:
        yield ServerSentEvent(event=update.kind, data=update.data, id=update.id)
