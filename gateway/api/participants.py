"""Participants, and the gateway's own health."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, Request

from gateway.api.dependencies import Coordinator
from gateway.problems import responses
from gateway.views import Health, ParticipantView

router = APIRouter(prefix="/v1", tags=["participants"])


@router.get("/participants", responses=responses())
async def participants(sessions: Coordinator) -> list[ParticipantView]:
    """Who is invited or has joined, whether it is connected, and what it publishes."""
    return sessions.participants()


@router.get("/health")
async def health(request: Request, sessions: Coordinator) -> Health:
    """That the gateway serves; needs no token."""
    return Health(name=request.app.state.name, version=version("privity"), bytes_sent=sessions.bytes_sent)
