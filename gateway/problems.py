"""RFC 9457 problems: one table of types, and the handlers that turn every error into one of them."""

from __future__ import annotations

import contextvars
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import request_id
from gateway.errors import RestError
from mpc.errors import PrivityError
from parties.agreement.plan import Frozen

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:privity:problem:"
INSTANCE_PREFIX = "urn:privity:request:"
NO_HEADERS: Mapping[str, str] = MappingProxyType({})

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
    "rest.token": (HTTPStatus.UNPROCESSABLE_ENTITY, "No such token can be made"),
    "rest.too-many": (HTTPStatus.TOO_MANY_REQUESTS, "Too many requests"),
    "rest.head-too-large": (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's head is too large"),
    "rest.too-large": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Too large"),
    "rest.no-provider": (HTTPStatus.BAD_GATEWAY, "The identity provider can't be asked"),
    "rest.busy": (HTTPStatus.SERVICE_UNAVAILABLE, "The gateway is at its limit"),
    "rest.store": (HTTPStatus.SERVICE_UNAVAILABLE, "The gateway can't reach its database"),
    "internal": (HTTPStatus.INTERNAL_SERVER_ERROR, "The gateway failed"),
}
EVERYWHERE = ("rest.unauthorised", "rest.forbidden", "rest.too-many", "rest.store", "internal")  # on whatever route
_BODIES = {"/v1/tokens": "rest.token"}  # what a body that does not hold is; elsewhere a plan
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


SCHEMA = {"$ref": f"#/components/schemas/{Problem.__name__}"}  # where the OpenAPI description has it


def problem(code: str, detail: str, action: str = "", headers: Mapping[str, str] = NO_HEADERS) -> JSONResponse:
    """The response for a code of the table, or a kind of one; any other code is the gateway's own fault."""
    known = next((known for known in (code, code.partition(".")[0]) if known in TABLE), "internal")
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
    shown = {request_id.HEADER: request_id.current(), **headers}  # of a failure that no middleware sees, too
    return JSONResponse(body.model_dump(), status_code=status, media_type=MEDIA_TYPE, headers=shown)


def problem_of(error: PrivityError) -> JSONResponse:
    headers = error.headers if isinstance(error, RestError) else NO_HEADERS
    return problem(error.code, error.outward, error.action, headers)


def responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """What a route declares of the problems that it answers with; any other is one of the table's too."""
    by_status: dict[int | str, list[str]] = {}
    for code in (*codes, *EVERYWHERE):
        by_status.setdefault(int(TABLE[code][0]), []).append(code)
    by_status["default"] = ["internal"]
    return {
        status: {
            "description": "; or: ".join(TABLE[code][1] for code in found)
            if status != "default"
            else "Any other problem",
            "content": {
                MEDIA_TYPE: {"schema": SCHEMA, "examples": {code: {"value": _example(code)} for code in found}}
            },
        }
        for status, found in by_status.items()
    }


def _example(code: str) -> dict[str, Any]:
    status, title = TABLE[code]
    return {
        "type": TYPE_PREFIX + code,
        "title": title,
        "status": int(status),
        "detail": "what exactly, where, and what was expected instead",
        "code": code,
        "action": "what to do about it",
        "instance": f"{INSTANCE_PREFIX}9f86d081884c7d65",
    }


def install(app: FastAPI) -> None:
    """Every error of this application becomes a problem."""
    app.add_exception_handler(PrivityError, _privity)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def no_http(found: HTTPStatus, headers: Mapping[str, str] = NO_HEADERS) -> JSONResponse:
    """The answer to what can't be read as a request: no application sees it, so its id is made here."""
    is_endless = found == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    code = "rest.head-too-large" if is_endless else "rest.request"
    detail = "the request's head is too long" if is_endless else "what came is no request of HTTP/1.1"
    return contextvars.copy_context().run(_under_new_id, code, detail, headers)


def _under_new_id(code: str, detail: str, headers: Mapping[str, str]) -> JSONResponse:
    request_id.begin()
    return problem(code, detail, "see /openapi.json for what there is", headers)


class Failures:
    """Answers what an application fails at. An error that got out of it would cost the connection, too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_begun = False

        async def noted(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as exc:
            if is_begun:
                raise  # half an answer is no answer: the connection ends
            await _unexpected(Request(scope), exc)(scope, receive, send)


def _privity(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, PrivityError):
        raise error
    return problem_of(error)


def _invalid(request: Request, error: Exception) -> JSONResponse:
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
    code = _BODIES.get(request.url.path, "plan") if is_body else "rest.request"
    return problem(code, "; ".join(details), "mend what is named and send it again")


def _http(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    code = _CODES_BY_STATUS.get(HTTPStatus(error.status_code), "rest.request")
    return problem(code, str(error.detail), "see /openapi.json for what there is", error.headers or NO_HEADERS)


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("request failed", path=request.url.path, exc_info=error)
    return problem("internal", "the gateway failed at this request", "see its log, at this request's id")
