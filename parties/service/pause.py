"""Whether a node takes new contracts: a file in its home that stands while it does not, whatever restarts.

What was signed goes on to its end, and what waits for the operator goes on waiting.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from parties.durable import sync_directory
from parties.errors import Paused
from parties.service.home import Home

PAUSED_FILE: Final = "paused"


class Pause:
    """Of one home; the file's time is when the pause began."""

    def __init__(self, home: Home) -> None:
        self._name = home.settings.name
        self._path = home.path(PAUSED_FILE)

    @property
    def since(self) -> datetime | None:
        """None while contracts are taken."""
        try:
            return datetime.fromtimestamp(self._path.stat().st_mtime, UTC)
        except FileNotFoundError:
            return None

    def check(self) -> None:
        """Raises: Paused while it lasts."""
        if self.since is not None:
            raise Paused(self._name)

    def begin(self) -> datetime:
        """When it began, durable when this returns."""
        self._path.touch(mode=0o600)
        sync_directory(self._path.parent)
        return datetime.fromtimestamp(self._path.stat().st_mtime, UTC)

    def end(self) -> None:
        """Durable when this returns."""
        self._path.unlink(missing_ok=True)
        sync_directory(self._path.parent)
