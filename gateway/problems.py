"""RFC 9457 problems: one table of types, and the handlers that turn every error into one of them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway import request_id
from mpc.errors import PrivityError
from parties.plan import Frozen

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:privity:problem:"
INSTANCE_PREFIX = "urn:privity:request:"

# code of an error: status and title
TABLE: dict[str, tuple[HTTPStatus, str]] = {
    "plan": (HTTPStatus.UNPROCESSABLE_ENTITY, "The plan does not fit"),
    "data": (HTTPStatus.UNPROCESSABLE_ENTITY, "The plan does not fit the published data"),
    "contract": (HTTPStatus.UNPROCESSABLE_ENTITY, "No contract comes of the plan"),
    "engine.program": (HTTPStatus.UNPROCESSABLE_ENTITY, "The engine can't run this plan"),
    "lifecycle": (HTTPStatus.CONFLICT, "The session's state does not allow this"),
    "rest.not-found": (HTTPStatus.NOT_FOUND, "Not found"),
    "rest.method": (HTTPStatus.METHOD_NOT_ALLOWED, "Not allowed here"),
    "rest.request": (HTTPStatus.BAD_REQUEST, "The request does not hold"),
    "rest.unauthorised": (HTTPStatus.UNAUTHORIZED, "A token is needed"),
    "rest.forbidden": (HTTPStatus.FORBIDDEN, "Refused"),
    "rest.key-reused": (HTTPStatus.UNPROCESSABLE_ENTITY, "The key belongs to another request"),
    "rest.too-large": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Too large"),
    "rest.busy": (HTTPStatus.SERVICE_UNAVAILABLE, "The gateway is at its limit"),
    "internal": (HTTPStatus.INTERNAL_SERVER_ERROR, "The gateway failed"),
}
_CODES_BY_STATUS = {HTTPStatus.NOT_FOUND: "rest.not-found", HTTPStatus.METHOD_NOT_ALLOWED: "rest.method"}


class Problem(Frozen):
    """What went wrong (detail) and what to do about it (action); `code` is for programs."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    action: str = ""
    instance: str = ""  # this very request, as the gateway's log and the header X-Request-Id name it


def problem(code: str, detail: str, action: str = "") -> JSONResponse:
    """The response for a code of the table; any other code is the gateway's own fault."""
    known = code if code in TABLE else "internal"
    status, title = TABLE[known]
    instance = INSTANCE_PREFIX + request_id.current()
    body = Problem(
        type=TYPE_PREFIX + known,
        title=title,
        status=status,
        detail=detail,
        code=known,
        action=action,
        instance=instance,
    )
    headers = {request_id.HEADER: request_id.current()}  # of a failure that no middleware sees
    return JSONResponse(body.model_dump(), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def problem_of(error: PrivityError) -> JSONResponse:
    return problem(error.code, error.outward, error.action)


def responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """What a route declares of the problems that it answers with; any other is one of the table's too."""
    titles: dict[int | str, list[str]] = {}
    for code in (*codes, "rest.unauthorised", "rest.forbidden"):
        status, title = TABLE[code]
        titles.setdefault(int(status), []).append(title)
    titles["default"] = ["Any other problem"]
    return {
        status: {"description": "; or: ".join(found), "model": Problem, "content": {MEDIA_TYPE: {}}}
        for status, found in titles.items()
    }


def install(app: FastAPI) -> None:
    """Every error of this application becomes a problem."""
    app.add_exception_handler(PrivityError, _privity)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def _privity(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, PrivityError):
        raise error
    return problem_of(error)


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    """Where and what, never the value that came."""
    if not isinstance(error, RequestValidationError):
        raise error
    details, is_body = [], False
    for item in error.errors():
        place, *steps = item["loc"]
        is_body |= place == "body"
        where = ".".join(str(step) for step in steps) if item["type"] != "json_invalid" else ""
        what = str(item["msg"]).removeprefix("Value error, ")
        details.append(f"{where}: {what}" if where else what)
    code = "plan" if is_body else "rest.request"
    return problem(code, "; ".join(details), "mend what is named and send it again")


def _http(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    code = _CODES_BY_STATUS.get(HTTPStatus(error.status_code), "rest.request")
    return problem(code, str(error.detail), "see /openapi.json for what there is")


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("request failed", request=request_id.current(), path=request.url.path, exc_info=error)
    return problem("internal", "the gateway failed at this request", "see its log, at this request's id")
