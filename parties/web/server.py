"""An HTTP server inside a daemon's own event loop."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from parties.errors import SettingsError
from parties.web.addresses import Address

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class Server(uvicorn.Server):
    """Signals are the process's own business: whoever runs this sets `should_exit`."""

    def __init__(self, app: ASGIApp, farewell_s: int) -> None:
        """`farewell_s` is how long open requests may take to end."""
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=farewell_s,
        )
        super().__init__(config)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(address: Address, setting: str) -> socket.socket:
    """Raises: SettingsError that names the setting if the port is taken."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server(address, family=family)
    except OSError as exc:
        raise SettingsError(
            f"{setting}: can't listen on {address}: {exc.strerror}",
            action="see what else listens there, or choose another port",
        ) from exc
