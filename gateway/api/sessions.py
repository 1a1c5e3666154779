"""Sessions: propose, list, show, watch, cancel. Approving is no route: operators approve at their own nodes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Header, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from gateway.api.dependencies import Coordinator, SessionId, Watched
from gateway.api.examples import PLANS
from gateway.once import MAX_KEY
from gateway.problems import responses
from gateway.views import SessionCreated, SessionView
from parties.kinds import AnyPlan
from parties.lifecycle import State

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="idempotency-key",
        pattern=f"^[!-~]{{1,{MAX_KEY}}}$",
        description="the client's own name for this proposal, such as a random UUID",
    ),
]

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


@router.get("", responses=responses())
async def list_sessions(sessions: Coordinator) -> list[SessionView]:
    """All sessions, newest first."""
    return sessions.sessions()


@router.get("/{session}", responses=responses("rest.not-found", "rest.request"))
async def show(session: SessionId, sessions: Coordinator) -> SessionView:
    """A session, with who is being waited for."""
    return sessions.session(session)


@router.get("/{session}/contract", responses=responses("rest.not-found", "rest.request"))
async def contract(session: SessionId, sessions: Coordinator) -> Response:
    """The contract in canonical JSON: the very bytes whose SHA-256 is the session's id."""
    return Response(sessions.contract(session), media_type="application/json")


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
    """State changes and progress as they happen, the present state first; ends after a final state."""
    async for update in watcher:
        yield ServerSentEvent(event=update.kind, data=update.data)
