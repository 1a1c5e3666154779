"""The REST application: routes, problems and the guard before them."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI

from gateway import problems
from gateway.access.accounts import Accounts
from gateway.access.guard import Authentication, Guard, Rates
from gateway.access.logins import Logins
from gateway.access.permissions import Permissions
from gateway.access.tokens import Token
from gateway.api import log as own_log
from gateway.api import logins as browsers
from gateway.api import metrics as figures
from gateway.api import oidc, participants, plans, sessions, tokens
from gateway.api.description import Described
from gateway.console import pages
from gateway.console.explained import Explained
from gateway.coordination.sessions import Sessions
from gateway.metrics import Metrics, Stopwatch
from gateway.request_id import RequestIds
from gateway.settings import GatewaySettings
from parties.audit.events import LoginFailed, LoginWay
from parties.audit.refusals import Refusals

if TYPE_CHECKING:
    from gateway.access.oidc import Provider


def make_app(
    coordinator: Sessions,
    accounts: Accounts,
    logins: Logins,
    token: Token,
    settings: GatewaySettings,
    metrics: Metrics,
    log: Path,
    provider: Provider | None = None,
) -> FastAPI:
    """The application for one coordinator, which must run in its event loop; `log` is the gateway's audit log.

    Raises: SettingsError if a route has no rule of who may use it.
    """
    app = Described(title="Privity gateway", version=version("privity"), docs_url=None, redoc_url=None)
    app.state.sessions, app.state.accounts, app.state.name = coordinator, accounts, settings.name
    app.state.logins, app.state.log, app.state.provider, app.state.metrics = logins, log, provider, metrics
    refusals: Refusals[LoginWay] = Refusals(lambda way, count: coordinator.record(LoginFailed(by=way, count=count)))
    app.state.refusals = refusals
    for routes in (plans, sessions, own_log, participants, tokens, browsers, oidc, figures, pages):
        app.include_router(routes.router)
    problems.install(app)
    permissions = Permissions()
    permissions.check_routes(app.routes)
    app.add_middleware(problems.Failures)
    app.add_middleware(
        Guard,
        authentication=Authentication(token, logins, accounts),
        permissions=permissions,
        places=settings.places,
        rates=Rates(settings.request_rate, settings.failures_a_minute),
        refusals=refusals,
        sign_in="/oidc/login" if provider else None,
    )
    app.add_middleware(Explained, name=settings.name)
    app.add_middleware(Stopwatch, metrics=metrics)
    app.add_middleware(RequestIds)  # the last that is added is the first to see a request
    return app
