"""What pages load: the style, the pictures and the scripts, which are ES modules as they were written."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path
from fastapi.responses import FileResponse

from gateway.console.rendering import HEADERS, HERE
from gateway.errors import NotFound
from parties.web import STYLE

MEDIA_TYPES: Final = {".js": "text/javascript", ".svg": "image/svg+xml", ".css": "text/css"}
FILES: Final = {path.name: path for path in (HERE / "static").iterdir() if path.suffix in MEDIA_TYPES}
_HEADERS: Final = HEADERS | {"cache-control": "no-cache"}

router = APIRouter(include_in_schema=False)


@router.get("/static/console.css")
async def style() -> FileResponse:
    """What it shares with the nodes' pages."""
    return FileResponse(STYLE, media_type="text/css", headers=_HEADERS)


@router.get("/favicon.ico")
async def favicon() -> FileResponse:
    """What a browser asks for whatever it was shown."""
    return FileResponse(FILES["icon.svg"], media_type=MEDIA_TYPES[".svg"], headers=_HEADERS)


@router.get("/static/{name}")
async def static(name: Annotated[str, Path(max_length=64)]) -> FileResponse:
    """One of the files that were there when the gateway started; no path leads anywhere else."""
    if name not in FILES:
        raise NotFound("there is no such file")
    return FileResponse(FILES[name], media_type=MEDIA_TYPES[FILES[name].suffix], headers=_HEADERS)
