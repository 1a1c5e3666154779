"""Which data sets contracts are about while they are looked at to be signed: none of these goes meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Claims:
    """One node's. Who destroys a data set holds `lock` from the look at its users to the end."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._held: list[tuple[str, str]] = []  # (data set, session)

    def user_of(self, data: str) -> str:
        """A session that is about to use it, or nothing."""
        return next((session for name, session in self._held if name == data), "")

    @contextmanager
    def held(self, data: str, session: str) -> Iterator[None]:
        """Until the contract is approved, which the sessions' store tells from then on, or refused."""
        with self.lock:
            self._held.append((data, session))
        try:
            yield
        finally:
            with self.lock:
                self._held.remove((data, session))
