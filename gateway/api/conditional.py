"""Answers that a client may have already: an entity tag each, and 304 for whoever shows it."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Header, Response

from gateway.api.examples import ETAG, header

IfNoneMatch = Annotated[
    str | None,
    Header(
        alias="if-none-match",
        max_length=4096,
        description="tags of what the client has; 304 if it is that",
        examples=[ETAG],
    ),
]
TAGGED: dict[int | str, dict[str, Any]] = {
    int(HTTPStatus.OK): {"headers": header("ETag", "of this answer", ETAG)},
    int(HTTPStatus.NOT_MODIFIED): {"description": "What the client has holds; no body"},
}


def answer(content: bytes, known: str | None, tag: str = "") -> Response:
    """JSON with its tag, by default the content's SHA-256; no body for a client that knows it."""
    etag = f'"{tag or hashlib.sha256(content).hexdigest()}"'
    headers = {"etag": etag, "cache-control": "private, no-cache"}  # kept, but never shown without asking
    if known is not None and _names(known, etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(content, media_type="application/json", headers=headers)


def _names(known: str, etag: str) -> bool:
    """RFC 9110's weak comparison: one of the tags, or any by `*`. Our tags have no comma in them."""
    shown = [one.strip() for one in known.split(",")]
    return shown == ["*"] or any(one.removeprefix("W/") == etag for one in shown)
