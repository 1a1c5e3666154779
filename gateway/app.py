"""The REST application: routes, problems and the guard before them."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI

from gateway import problems
from gateway.access import Guard, Token
from gateway.api import logins, participants, plans, sessions
from gateway.console import pages
from gateway.logins import Logins
from gateway.request_id import RequestIds
from gateway.sessions import Sessions


def make_app(coordinator: Sessions, token: Token, name: str) -> FastAPI:
    """The application for one coordinator; it must run in the coordinator's event loop."""
    app = FastAPI(title="Privity gateway", version=version("privity"), docs_url=None, redoc_url=None)
    app.state.sessions, app.state.name, app.state.logins = coordinator, name, Logins()
    app.include_router(plans.router)
    app.include_router(sessions.router)
    app.include_router(participants.router)
    app.include_router(logins.router)
    app.include_router(pages.router)
    problems.install(app)
    app.add_middleware(Guard, token=token, logins=app.state.logins)
    app.add_middleware(RequestIds)  # the last that is added is the first to see a request
    return app
