"""Ends a connection to a database on which nothing has come for too long.

A driver waits inside its library for as long as the other machine's kernel answers. So another thread watches the time,
and shuts the socket down under the driver, which then finds it closed.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Patience:
    """With one connection, once it is there. `is_over`: whether it was shut down."""

    def __init__(self) -> None:
        self.is_over = False
        self._socket: socket.socket | None = None

    def watch(self, descriptor: int) -> None:
        """The connection's; a copy is kept, so that a number that is used again hits nobody else's."""
        self.close()
        self._socket = socket.socket(fileno=os.dup(descriptor))

    @contextmanager
    def lasting(self, seconds: float) -> Iterator[None]:
        """What is done inside may take so long."""
        timer = threading.Timer(seconds, self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end(self) -> None:
        if (watched := self._socket) is not None:
            self.is_over = True
            with suppress(OSError):  # it is closed already
                watched.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
