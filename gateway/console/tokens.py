"""The console's page of personal tokens: those that the account sees, making one, ending one."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from gateway.access.accounts import USUAL_DAYS
from gateway.access.principal import BOOTSTRAP, CONSORTIUM, ROLES, Principal
from gateway.access.seen_tokens import SeenTokens, TokenWanted
from gateway.access.tokens import ID_PATTERN
from gateway.api.dependencies import Coordinator, LoggedIn, Tokens
from gateway.console.complaints import Errors, errors_of, parse
from gateway.console.forms import Form, read_form
from gateway.console.rendering import page
from gateway.coordination.seen import SeenSessions
from gateway.errors import BadToken, Forbidden
from gateway.views import TokenIssued
from parties.keys.tls import utc_now

FIELDS = ("account", "organisation", "role", "days")

router = APIRouter(include_in_schema=False)
Fields = Annotated[Form, Depends(read_form)]
TokenId = Annotated[str, Path(pattern=ID_PATTERN)]


@router.get("/tokens", response_class=HTMLResponse)
async def overview(request: Request, tokens: Tokens, principal: LoggedIn, sessions: Coordinator) -> HTMLResponse:
    """Those that the account sees, and the form for another."""
    return _page(request, tokens, sessions, _first(tokens, principal))


@router.post("/tokens", response_class=HTMLResponse)
async def create(request: Request, tokens: Tokens, sessions: Coordinator, form: Fields) -> HTMLResponse:
    """The fresh token, which this page alone shows; or the form again, with what is wrong."""
    wanted, errors = parse(TokenWanted, _content(form), _field_of)
    if wanted is None:
        return _page(request, tokens, sessions, form, errors)
    try:
        token, record = tokens.make(wanted)
    except (BadToken, Forbidden) as exc:
        return _page(request, tokens, sessions, form, errors_of(exc, _field_of))
    return page(request, "token.html", issued=TokenIssued(token=record.view(), secret=token.reveal()))


@router.post("/tokens/{token}/revoke", response_class=RedirectResponse)
async def revoke(token: TokenId, tokens: Tokens, _: Fields) -> RedirectResponse:
    """End one."""
    tokens.revoke(token)
    return RedirectResponse("/tokens", HTTPStatus.SEE_OTHER)


def _first(tokens: SeenTokens, principal: Principal) -> Form:
    """The fields as they stand at first: one more of the account's own, unless it is the gateway's own token's."""
    account = "" if principal == BOOTSTRAP else principal.account
    own = (("account", account), ("organisation", principal.organisation), ("role", principal.role))
    return Form((*own, ("days", str(min(USUAL_DAYS, tokens.most_days)))))


def _content(form: Form) -> dict[str, Any]:
    """What is empty is left out, so that the account's own counts."""
    return {name: value for name in FIELDS if (value := form.get(name))} | {"is_read_only": form.has("is_read_only")}


def _field_of(where: str) -> str:
    return where if where in FIELDS else ""


def _page(
    request: Request, tokens: SeenTokens, sessions: SeenSessions, form: Form, errors: Errors | None = None
) -> HTMLResponse:
    return page(
        request,
        "tokens.html",
        status=HTTPStatus.UNPROCESSABLE_ENTITY if errors else HTTPStatus.OK,
        tokens=list(reversed(tokens.all())),
        now=utc_now(),
        form=form,
        errors=errors or {},
        administers=tokens.administers,
        makes=tokens.makes,
        most_days=tokens.most_days,
        organisations=[CONSORTIUM, *(one.name for one in sessions.participants())],
        roles=ROLES,
    )
