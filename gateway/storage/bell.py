"""Rings when another process notifies: PostgreSQL's LISTEN on a connection of its own, watched by the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine

from gateway.errors import StoreAway


class Bell:
    """One channel. What it misses while it is down is found at the next look, which comes in any case."""

    def __init__(self, engine: Engine, channel: str) -> None:
        """Raises: StoreAway."""
        self._dialect = engine.dialect
        with self._reachable():
            taken: Any = engine.raw_connection()
            self._connection = taken.driver_connection
            taken.detach()  # it is no other transaction's
        try:
            with self._reachable():
                self._connection.autocommit = True
                self._connection.execute(f'LISTEN "{channel}"')
        except StoreAway:
            self.close()
            raise

    async def ring(self) -> None:
        """Wait until it rings. Raises: StoreAway if the server is gone."""
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        with self._reachable():
            number: int = self._connection.fileno()
        loop.add_reader(number, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(number)
        with self._reachable():
            list(self._connection.notifies(timeout=0))

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        """The driver's own errors, which SQLAlchemy does not see here. Raises: StoreAway."""
        try:
            yield
        except self._dialect.loaded_dbapi.Error as exc:
            raise StoreAway("the database's server is gone") from exc
