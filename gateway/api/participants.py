"""Participants, and the gateway's own health."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter

from gateway.api.conditional import TAGGED, IfNoneMatch, answer
from gateway.api.dependencies import Coordinator
from gateway.api.examples import HEALTH, PARTICIPANT, merged, shown
from gateway.problems import responses
from gateway.views import Health, ParticipantView

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


@router.get("/health", responses=merged(responses(), shown(HEALTH)))
async def health(request: Request) -> Health:
    """That the gateway serves; needs no token, and so tells nothing else."""
    return Health(name=request.app.state.name, version=request.app.version)
