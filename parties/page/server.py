"""Serves a node's page in the node's own event loop, on loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from parties.audit import events
from parties.audit.events import Reader
from parties.audit.refusals import Refusals
from parties.page.access import Logins
from parties.page.app import make_app
from parties.web.server import Port

if TYPE_CHECKING:
    from parties.service.node import Node

FAREWELL_S = 2  # how long open requests may take to end


class Page(Port):
    """The page's port and its logins."""

    def __init__(self, node: Node) -> None:
        super().__init__(node.settings.page, "page", FAREWELL_S)
        self._node, self._logins = node, Logins()
        self._refusals: Refusals[Literal["link"]] = Refusals(self._record)

    async def open(self) -> None:
        """Raises: SettingsError if the port is taken."""
        await self.serve(make_app(self._node, self._logins, self._refusals))

    async def close(self) -> None:
        """And write how many links were refused of late."""
        await super().close()
        self._refusals.close()

    def _record(self, way: Literal["link"], count: int) -> None:
        self._node.journal.append(events.LoginRefused(by=way, count=count))

    def offer(self, role: Reader) -> str:
        """A link that logs one browser in, once."""
        self._node.journal.append(events.LoginOffered(role=role))
        return f"{self.url}/login?code={self._logins.offer(role)}"
