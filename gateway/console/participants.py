"""The console's page of participants: who is connected, since when, with which release, and what each publishes."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from gateway.api.dependencies import Coordinator
from gateway.console.rendering import page
from parties.keys.identity import fingerprint_words

router = APIRouter(include_in_schema=False)


@router.get("/participants", response_class=HTMLResponse)
async def participants(request: Request, sessions: Coordinator) -> HTMLResponse:
    """All who were invited."""
    return page(
        request,
        "participants.html",
        participants=sessions.participants(),
        own_version=request.app.version,
        words=fingerprint_words,
    )
