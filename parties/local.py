"""The operator's door to a running daemon: a Unix socket in its home, JSON lines, one request a connection.

Whoever may open the home directory may use it: the socket is 0600 in a 0700 directory. Commands that work on files
when no daemon runs go through the daemon when one does, because the audit log has one writer.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from mpc.errors import PrivityError
from parties.errors import PartyError

SOCKET = "daemon.sock"
TIMEOUT_S = 3600
Handler = Callable[[dict[str, Any]], Awaitable[Any]]


class RemoteError(PartyError):
    """An error that the daemon reported."""

    def __init__(self, code: str, what: str, action: str) -> None:
        super().__init__(what, action=action)
        self.code = code  # type: ignore[misc] # the daemon's own


async def serve_local(home: Path, handlers: Mapping[str, Handler]) -> asyncio.Server:
    """Answer requests `{"do": NAME, ...}` by the handler of that name."""

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await reader.readline())
            answer = {"ok": await handlers[request.pop("do")](request)}
        except PrivityError as exc:
            answer = {"error": {"code": exc.code, "what": exc.what, "action": exc.action}}
        except (ValueError, KeyError, TypeError) as exc:
            answer = {
                "error": {
                    "code": "local",
                    "what": f"the request is not understood ({type(exc).__name__})",
                    "action": "",
                }
            }
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
        writer.close()

    path = home / SOCKET
    path.unlink(missing_ok=True)
    previous = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(attend, path=_short(path), limit=1 << 24)
    finally:
        os.umask(previous)


def _short(path: Path) -> str:
    """Unix socket paths end at 107 bytes; the working directory makes a long one short."""
    relative = os.path.relpath(path)
    return min((str(path), relative), key=len)


def call(home: Path, do: str, **fields: Any) -> Any:
    """Ask the running daemon. Raises: ConnectionError if none runs, RemoteError for what it reports."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(TIMEOUT_S)
        try:
            stream.connect(_short(home / SOCKET))
        except FileNotFoundError as exc:
            raise ConnectionRefusedError from exc
        stream.sendall(json.dumps({"do": do, **fields}).encode() + b"\n")
        content = stream.makefile("rb").readline()
    answer = json.loads(content)
    if "error" in answer:
        raise RemoteError(**answer["error"])
    return answer["ok"]
