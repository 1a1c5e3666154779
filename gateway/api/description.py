"""The OpenAPI description: FastAPI's, with what holds of every answer said at each, and problems as what they are."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI

from gateway.access.permissions import all_routes
from gateway.problems import Problem

# of each answer, or of those of one status, and which
HEADERS: Final[dict[str, tuple[HTTPStatus | None, str, dict[str, Any], object]]] = {
    "X-Request-Id": (
        None,
        "this very request, as the gateway's log and a problem's `instance` name it",
        {"type": "string", "pattern": "^[0-9a-f]{16}$"},
        "9f86d081884c7d65",
    ),
    "Retry-After": (
        HTTPStatus.TOO_MANY_REQUESTS,
        "seconds to wait before the next request",
        {"type": "integer", "minimum": 1},
        3,
    ),
    "WWW-Authenticate": (HTTPStatus.UNAUTHORIZED, "how to say who one is", {"const": "Bearer"}, "Bearer"),
}


class Described(FastAPI):
    """An application that says all of this at `/openapi.json`."""

    def openapi(self) -> dict[str, Any]:
        is_new = self.openapi_schema is None
        found = super().openapi()
        if is_new:
            _complete(found)
            for route in all_routes(self.routes):
                if route.include_in_schema:
                    _show_whole(found["paths"][route.path], route)
        return found


def _complete(description: dict[str, Any]) -> None:
    parts = description["components"]
    parts["schemas"][Problem.__name__] = Problem.model_json_schema()
    parts["headers"] = {
        name: {"description": words, "schema": schema, "example": example}
        for name, (_, words, schema, example) in HEADERS.items()
    }
    for operations in description["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                answer["headers"] = answer.get("headers", {}) | _sent_with(status)


def _show_whole(path: dict[str, Any], route: Any) -> None:
    """FastAPI leaves out whatever is null, in an answer's example too, where it is a part of the answer."""
    for status, declared in getattr(route, "responses", {}).items():
        for kind, body in declared.get("content", {}).items():
            if "example" in body:
                for method in route.methods:
                    path[method.lower()]["responses"][str(status)]["content"][kind]["example"] = body["example"]


def _sent_with(status: str) -> dict[str, dict[str, str]]:
    return {
        name: {"$ref": f"#/components/headers/{name}"}
        for name, (only, *_) in HEADERS.items()
        if only is None or status == str(int(only))
    }
