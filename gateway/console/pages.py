"""The console's pages: what is going on, and who is being waited for."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse
from jinja2 import Environment, FileSystemLoader, select_autoescape

from gateway.api.dependencies import Coordinator, SessionId
from parties import curves
from parties.telling import convergence
from parties.web import STYLE, TEMPLATES

HERE = Path(__file__).parent
POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

router = APIRouter(include_in_schema=False)
_templates = Environment(loader=FileSystemLoader([HERE / "templates", TEMPLATES]), autoescape=select_autoescape())


def _page(name: str, **shown: object) -> HTMLResponse:
    return HTMLResponse(_templates.get_template(name).render(shown), headers=HEADERS)


@router.get("/", response_class=HTMLResponse)
async def overview(request: Request, sessions: Coordinator) -> HTMLResponse:
    """All sessions and participants."""
    return _page(
        "overview.html",
        gateway=request.app.state.name,
        sessions=sessions.sessions(),
        participants=sessions.participants(),
    )


@router.get("/sessions/{session}", response_class=HTMLResponse)
async def session(request: Request, session: SessionId, sessions: Coordinator) -> HTMLResponse:
    """One session: where it stands, what each participant says of it, and what its contract opens."""
    return _page(
        "session.html",
        gateway=request.app.state.name,
        session=sessions.session(session),
        contract=sessions.agreed(session),
        convergence=convergence,
        readings=curves,
    )


@router.get("/static/console.css")
async def style() -> FileResponse:
    return FileResponse(STYLE, media_type="text/css")
