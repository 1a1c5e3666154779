"""Sessions: propose, list, show, watch, cancel. Approving is no route: operators approve at their own nodes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import Field, TypeAdapter

from gateway.api.conditional import TAGGED, IfNoneMatch, answer
from gateway.api.dependencies import REPLAYED, AllAccounts, Coordinator, IdempotencyKey, LoggedIn, SessionId, Watched
from gateway.api.event_stream import DECLARED, EventStream
from gateway.api.examples import (
    APPROVALS,
    CANCELLED,
    CONTRACT,
    CREATED,
    LINK,
    PLANS,
    SESSION,
    SESSION_ID,
    TRAINING,
    header,
    merged,
    shown,
)
from gateway.api.strict import as_json
from gateway.console.timeline import signings, timeline
from gateway.problems import responses
from gateway.storage.selection import TEXT_PATTERN, Selection
from gateway.views import ApprovalView, SessionCreated, SessionView
from parties.agreement.kinds import AnyPlan, Kind
from parties.agreement.plan import Frozen, Name
from parties.service.lifecycle import State

USUAL_PAGE, MAX_PAGE = 100, 500
_APPROVALS: TypeAdapter[dict[str, ApprovalView]] = TypeAdapter(dict[str, ApprovalView])
PAGED: dict[int | str, dict[str, Any]] = {
    int(HTTPStatus.OK): {"headers": header("Link", "the next page's address", LINK)}
}
PROPOSED: dict[int | str, dict[str, Any]] = {
    int(HTTPStatus.CREATED): {
        "headers": header("Location", "the session's address", f"/v1/sessions/{SESSION_ID}") | REPLAYED
    }
}


class SessionQuery(Frozen):
    """Which sessions a list shows."""

    state: Annotated[
        tuple[State, ...], Field(description="one or several; left out: any", examples=[["approved", "running"]])
    ] = ()
    kind: Annotated[Kind | None, Field(description="left out: any", examples=["training"])] = None
    participant: Annotated[Name | None, Field(description="a party or a dealer", examples=["clinic-a"])] = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="sessions on a page", examples=[20])] = USUAL_PAGE
    find: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=100,
            pattern=TEXT_PATTERN,
            description="what an id begins with, or a purpose holds",
            examples=["readmission"],
        ),
    ] = None
    cursor: Annotated[
        str | None,
        Field(
            pattern="^[0-9a-f]{64}$",
            description="the last session of the page before, as `Link` has it",
            examples=[SESSION_ID],
        ),
    ] = None

    @property
    def selection(self) -> Selection:
        """With one session more than the page has, by whose presence there is a next."""
        return Selection(self.state, self.kind, self.participant, self.cursor, self.limit + 1, text=self.find)


router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses=merged(
        responses("plan", "rest.busy", "rest.key-reused", "rest.request", "rest.too-large"),
        PROPOSED,
        shown(CREATED, HTTPStatus.CREATED),
    ),
)
async def propose(
    plan: Annotated[AnyPlan, as_json(AnyPlan), Body(openapi_examples=PLANS)],
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


@router.get(
    "",
    response_model=list[SessionView],
    responses=merged(responses("rest.request"), PAGED, TAGGED, shown([SESSION])),
)
async def list_sessions(
    request: Request, sessions: Coordinator, asked: Annotated[SessionQuery, Query()], known: IfNoneMatch = None
) -> Response:
    """Sessions, newest first, a page at a time. While there are more, the header `Link` has the next page's address."""
    found = sessions.sessions(asked.selection)
    page, link = found[: asked.limit], ""
    if len(found) > len(page):
        following = request.url.include_query_params(cursor=page[-1].view.id)
        link = f'<{following.path}?{following.query}>; rel="next"'
    content = b"[" + b",".join(each.json for each in page) + b"]"
    response = answer(content, known, tag=hashlib.sha256(link.encode() + content).hexdigest())
    if link:
        response.headers["link"] = link
    return response


@router.get(
    "/{session}",
    response_model=SessionView,
    responses=merged(responses("rest.not-found", "rest.request"), TAGGED, shown(SESSION)),
)
async def show(session: SessionId, sessions: Coordinator, known: IfNoneMatch = None) -> Response:
    """A session, with who is being waited for."""
    return answer(sessions.session(session).json, known)


@router.get(
    "/{session}/contract",
    response_model=dict[str, Any],
    responses=merged(responses("rest.not-found", "rest.request"), TAGGED, shown(CONTRACT)),
)
async def contract(session: SessionId, sessions: Coordinator, known: IfNoneMatch = None) -> Response:
    """The contract in canonical JSON: the very bytes whose SHA-256 is the session's id, and its entity tag."""
    return answer(sessions.contract(session).encode(), known, tag=session)


@router.get(
    "/{session}/approvals",
    response_model=dict[Name, ApprovalView],
    responses=merged(responses("rest.not-found", "rest.request"), TAGGED, shown(APPROVALS)),
)
async def approvals(request: Request, session: SessionId, sessions: Coordinator, known: IfNoneMatch = None) -> Response:
    """The signatures under the contract, by participant; verify them with the contract's keys."""
    envelopes = sessions.approvals(session)
    when = signings(await asyncio.to_thread(timeline, request.app.state.log, session))
    found = {name: ApprovalView(envelope=envelope, stored=when.get(name)) for name, envelope in envelopes.items()}
    return answer(_APPROVALS.dump_json(found), known)


@router.get(
    "/{session}/plan",
    response_model=AnyPlan,
    responses=merged(responses("rest.not-found", "rest.request", "plan"), TAGGED, shown(TRAINING)),
)
async def plan(session: SessionId, sessions: Coordinator, known: IfNoneMatch = None) -> Response:
    """The plan that the session was proposed by, every default filled in: mend it and propose again."""
    return answer(sessions.plan(session).model_dump_json().encode(), known)


@router.post(
    "/{session}/cancel",
    responses=merged(
        responses("rest.not-found", "rest.request", "rest.key-reused", "lifecycle"),
        {int(HTTPStatus.OK): {"headers": REPLAYED}},
        shown(CANCELLED),
    ),
)
async def cancel(
    session: SessionId, sessions: Coordinator, response: Response, key: IdempotencyKey = None
) -> SessionView:
    """End a session that is not at its end yet, for every participant; under one `Idempotency-Key` once."""
    cancelled = sessions.cancel(session, key)
    if not cancelled.is_new:
        response.headers["idempotency-replayed"] = "true"
    return cancelled.view


@router.get(
    "/{session}/events",  # noqa: FAST003  (`Watched` takes it)
    status_code=HTTPStatus.OK,
    response_class=EventStream,
    responses=merged(responses("rest.not-found", "rest.request"), DECLARED),
)
async def events(watcher: Watched, principal: LoggedIn, accounts: AllAccounts) -> EventStream:
    """State changes and progress as they happen, the present state first; ends after a final state.

    A client that comes back with `Last-Event-ID` gets what it missed instead of the present state.
    """
    return EventStream(watcher, lambda: accounts.admits(principal))
