"""Figures for Prometheus, for those who run the gateway: they are of all organisations together."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from gateway.api.dependencies import LoggedIn
from gateway.metrics import MEDIA_TYPE, Metrics
from gateway.problems import responses

router = APIRouter(tags=["participants"])
EXAMPLE = 'privity_gateway_sessions{state="running"} 2.0'
TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": EXAMPLE}}}
}


@router.get("/metrics", response_class=Response, responses=responses() | TEXT)
async def metrics(request: Request, _by: LoggedIn) -> Response:
    """Counts, sizes and times of this gateway, in Prometheus' text format; nobody's name and no session's id."""
    found: Metrics = request.app.state.metrics
    return Response(found.render(), media_type=MEDIA_TYPE)
