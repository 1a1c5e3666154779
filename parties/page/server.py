"""Serves a node's page in the node's own event loop, on loopback."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from parties.audit import events
from parties.audit.events import Reader
from parties.page.access import Logins
from parties.page.app import make_app
from parties.web.addresses import parse_address
from parties.web.server import Server, listen

if TYPE_CHECKING:
    from parties.node import Node

FAREWELL_S = 2  # how long open requests may take to end


class Page:
    """The page's port and its logins."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._address = parse_address(node.settings.page)
        self._logins = Logins()
        self._server = Server(make_app(node, self._logins), FAREWELL_S)
        self._listener: socket.socket | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it is served; port 0 until it is open."""
        port = self._listener.getsockname()[1] if self._listener is not None else self._address.port
        return f"http://{self._address._replace(port=port)}"

    async def open(self) -> None:
        """Raises: SettingsError if the port is taken."""
        self._listener = listen(self._address, "page")
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))

    async def close(self) -> None:
        if self._serving is not None:
            self._server.should_exit = True
            await self._serving
        if self._listener is not None:
            self._listener.close()

    def offer(self, role: Reader) -> str:
        """A link that logs one browser in, once."""
        self._node.journal.append(events.LoginOffered(role=role))
        return f"{self.url}/login?code={self._logins.offer(role)}"
