"""Pages out of templates, and the headers that hold a browser to them: scripts and styles of this gateway alone."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from gateway.access import guard as access
from gateway.access.logins import cookie_name
from gateway.access.permissions import TABLE
from gateway.access.principal import Principal
from gateway.problems import Problem
from parties.web import TEMPLATES

HERE: Final = Path(__file__).parent
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_COMMAND: Final = re.compile("`([^`]+)`")
HEADERS: Final = access.HEADERS | {"content-security-policy": POLICY}


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "–"


def _worded(text: str) -> Markup:
    """Words of an error; commands in it, which stand between backticks, as such."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", escape(text)))  # noqa: S704  (escaped before)


_templates = Environment(
    loader=FileSystemLoader([HERE / "templates", TEMPLATES]),
    autoescape=select_autoescape(),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["moment"] = _moment
_templates.filters["worded"] = _worded
_templates.filters["thousands"] = lambda count: f"{count:,}"


def page(request: Request, template: str, *, status: int = HTTPStatus.OK, **shown: object) -> HTMLResponse:
    """A page for whoever is logged in; it offers what the role may do alone."""
    principal: Principal = request.state.principal
    content = _templates.get_template(template).render(
        gateway=request.app.state.name,
        path=request.url.path,
        form_token=form_token(cookie_of(request)),
        principal=principal,
        may=lambda method, path: TABLE[method, path].allows(principal),
        **shown,
    )
    return HTMLResponse(content, status, HEADERS)


def message(gateway: str, problem: Problem, token: str) -> str:
    """What went wrong, for people; without `token` for whoever is not logged in."""
    template = _templates.get_template("message.html")
    return template.render(
        gateway=gateway, path="", form_token=token, principal=None, may=lambda *_: True, problem=problem
    )


def goodbye(gateway: str, *, by_provider: bool) -> HTMLResponse:
    """For whoever has just logged out, and how they come in again."""
    content = _templates.get_template("goodbye.html").render(
        gateway=gateway, path="", form_token="", principal=None, by_provider=by_provider
    )
    return HTMLResponse(content, headers=HEADERS)


def cookie_of(request: Request) -> str:
    """The login's cookie, over TLS or not; empty where there is none."""
    names = (cookie_name(is_secure=secure) for secure in (True, False))
    return next((found for name in names if (found := access.cookie_of(request.headers, name))), "")


def form_token(cookie: str) -> str:
    """What stands in a login's forms: nobody computes it without the cookie, and it does not tell the cookie."""
    return hashlib.sha256(b"privity console form\n" + cookie.encode()).hexdigest() if cookie else ""
