"""An HTTP server inside a daemon's own event loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from parties.errors import SettingsError
from parties.web.addresses import Address, parse_address
from parties.web.malformed import Refusal, answering

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class Server(uvicorn.Server):
    """Signals are the process's own business: whoever runs this sets `should_exit`."""

    def __init__(
        self, app: ASGIApp, farewell_s: int, tls: ssl.SSLContext | None = None, refusal: Refusal | None = None
    ) -> None:
        """`farewell_s` is how long open requests may take to end; without `tls` it speaks plain HTTP.

        `refusal` answers what is no HTTP; without it the library does, in a line of text.
        """
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            log_level="error",  # what strangers send that is no HTTP is no line of the operational log
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=farewell_s,
            http="h11" if refusal is None else answering(refusal),
            ws="none",
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        )
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(address: Address, setting: str) -> socket.socket:
    """What it accepts sends at once: an answer's head does not wait for 40 ms until the other side says that it came.

    Raises: SettingsError that names the setting if the port is taken.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listener = socket.create_server(address, family=family)
    except OSError as exc:
        raise SettingsError(
            f"{setting}: can't listen on {address}: {exc.strerror}",
            action="see what else listens there, or choose another port",
        ) from exc
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets take it over
    return listener


class Port:
    """One port on which a daemon serves an application, in its own event loop."""

    def __init__(self, address: str, setting: str, farewell_s: int) -> None:
        """`setting` is what the address is called in the settings; `farewell_s` as `Server` says."""
        self._address, self._setting, self._farewell_s = parse_address(address), setting, farewell_s
        self._listener: socket.socket | None = None
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it is served; port 0 until it is open."""
        port = self._listener.getsockname()[1] if self._listener is not None else self._address.port
        return f"http://{self._address._replace(port=port)}"

    async def serve(self, app: ASGIApp) -> None:
        """Raises: SettingsError if the port is taken."""
        self._listener = listen(self._address, self._setting)
        self._server = Server(app, self._farewell_s)
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))

    async def close(self) -> None:
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
        if self._listener is not None:
            self._listener.close()
