"""Participants, and the gateway's own health."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter

from gateway.api.conditional import TAGGED, IfNoneMatch, answer
from gateway.api.dependencies import Coordinator, LoggedIn
from gateway.api.examples import HEALTH, LOG_HEAD, PARTICIPANT, merged, shown
from gateway.console.audit import own_log
from gateway.problems import responses
from gateway.views import Health, LogHead, ParticipantView

router = APIRouter(prefix="/v1", tags=["participants"])


_PARTICIPANTS: TypeAdapter[list[ParticipantView]] = TypeAdapter(list[ParticipantView])


@router.get(
    "/participants",
    response_model=list[ParticipantView],
    responses=merged(responses("rest.request"), TAGGED, shown([PARTICIPANT])),
)
async def participants(sessions: Coordinator, known: IfNoneMatch = None) -> Response:
    """Who is invited or has joined, whether it is connected, and what it publishes."""
    return answer(_PARTICIPANTS.dump_json(sessions.participants()), known)


@router.get("/log/head", response_model=LogHead, responses=merged(responses("rest.request"), TAGGED, shown(LOG_HEAD)))
async def log_head(request: Request, _by: LoggedIn, known: IfNoneMatch = None) -> Response:
    """The newest signed head of the gateway's own audit log, and the key that signed it: keep it to compare later."""
    found = await asyncio.to_thread(own_log, request.app.state.log)
    head = LogHead(
        name=found.name,
        public_key=found.public_key,
        fingerprint=found.fingerprint,
        head=found.notes[0] if found.notes else None,
    )
    return answer(head.model_dump_json().encode(), known)


@router.get("/health", responses=merged(responses(), shown(HEALTH)))
async def health(request: Request) -> Health:
    """That the gateway serves; needs no token, and so tells nothing else."""
    return Health(name=request.app.state.name, version=request.app.version)
