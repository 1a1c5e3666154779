"""The operator's door to a running daemon: a Unix socket in its home, JSON lines, one request a connection.

Whoever may open the home directory may use it: the socket is 0600 in a 0700 directory. Commands that work on files
when no daemon runs go through the daemon when one does, because the audit log has one writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from mpc.errors import PrivityError
from parties.errors import PartyError, SettingsError
from parties.service.oplog import about

SOCKET = "daemon.sock"
TIMEOUT_S = 3600
MAX_REQUEST_BYTES = 1 << 24
MAX_PATH_BYTES = 107
Handler = Callable[[dict[str, Any]], Awaitable[Any]]

log = structlog.get_logger("privity")


class RemoteError(PartyError):
    """An error that the daemon reported."""

    def __init__(self, code: str, what: str, action: str) -> None:
        super().__init__(what, action=action)
        self.code = code  # the daemon's own


def direct(act: Callable[..., Any]) -> Handler:
    """A handler that does this in the daemon's loop, the request's fields its arguments."""

    async def handle(request: dict[str, Any]) -> Any:
        return act(**request)

    return handle


def threaded(act: Callable[..., Any]) -> Handler:
    """The same beside the loop, for what takes its time."""

    async def handle(request: dict[str, Any]) -> Any:
        return await asyncio.to_thread(act, **request)

    return handle


async def serve_local(
    home: Path, handlers: Mapping[str, Handler], whole: Callable[[str], str] = lambda _: ""
) -> asyncio.Server:
    """Answer requests `{"do": NAME, ...}` by the handler of that name.

    `whole` tells the id of the one session that begins as a request says, for lines of the log; empty if there is none.
    """

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):  # whoever asked went away
            writer.write(json.dumps(await _answer(reader, handlers, whole)).encode() + b"\n")
            await writer.drain()
        writer.close()

    path = home / SOCKET
    path.unlink(missing_ok=True)
    previous = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(attend, path=_short(path), limit=MAX_REQUEST_BYTES)
    finally:
        os.umask(previous)


async def _answer(
    reader: asyncio.StreamReader, handlers: Mapping[str, Handler], whole: Callable[[str], str]
) -> dict[str, Any]:
    """What to say to one request; a handler's error too is an answer."""
    try:
        request = json.loads(await reader.readline())
        wanted = str(request.pop("do"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return _error("local", "the request is not understood", "use the command line of the daemon's own version")
    if (handler := handlers.get(wanted)) is None:
        return _error(
            "local", f"this daemon does not do '{wanted[:40]}'", "a dealer has no data and nothing to approve"
        )
    named = request.get("session") or request.get("beginning")
    with about(whole(named) if isinstance(named, str) else ""):
        return await _done(handler, request)


async def _done(handler: Handler, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"ok": await handler(request)}
    except PrivityError as exc:
        return _error(exc.code, exc.what, exc.action)
    except Exception as exc:  # noqa: BLE001 - a daemon outlives what one of its operator's requests does
        # Where, never what: the text of an error that is not ours could hold anything.
        log.error("a request failed", kind=type(exc).__name__, at=traceback.format_tb(exc.__traceback__))  # noqa: TRY400
        return _error("local", f"the daemon met an unexpected {type(exc).__name__}", "see its operational log")


def _error(code: str, what: str, action: str) -> dict[str, Any]:
    return {"error": {"code": code, "what": what, "action": action}}


def _short(path: Path) -> str:
    """A Unix socket's path ends at 107 bytes; seen from the working directory a long one may be short.

    Raises: SettingsError if it is not.
    """
    shorter = min((str(path), os.path.relpath(path)), key=len)
    if len(os.fsencode(shorter)) > MAX_PATH_BYTES:
        raise SettingsError(f"{path.parent} is too long a path for a socket", action="choose a shorter --home")
    return shorter


def call(home: Path, do: str, *, timeout_s: float = TIMEOUT_S, **fields: Any) -> Any:
    """Ask the running daemon.

    Raises: ConnectionRefusedError if none runs, TimeoutError if it says nothing in time, RemoteError for what it
    reports, or if it ends before it answers.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(timeout_s)
        try:
            stream.connect(_short(home / SOCKET))
        except FileNotFoundError as exc:
            raise ConnectionRefusedError from exc
        content = b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError), stream.makefile("rb") as lines:
            stream.sendall(json.dumps({"do": do, **fields}).encode() + b"\n")
            content = lines.readline()
    if not content.endswith(b"\n"):
        raise RemoteError("local", "the daemon ended before it answered", "see its operational log, and start it again")
    answer = json.loads(content)
    if "error" in answer:
        raise RemoteError(**answer["error"])
    return answer["ok"]
