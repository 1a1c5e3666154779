"""What watchers of a session see: state changes and progress, the present first, nothing after a final state."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["state", "progress"]


@dataclass(frozen=True)
class Update:
    """One event of a session's stream; `final` if none follows."""

    kind: Kind
    data: dict[str, Any]
    final: bool = False

    @property
    def slot(self) -> tuple[object, ...]:
        """Of updates with one slot a slow watcher gets the newest alone; a state or a loss is never left out."""
        if self.kind == "progress":
            loss_at = None if self.data.get("loss") is None else self.data.get("iteration")
            return self.kind, self.data.get("who"), loss_at
        return self.kind, self.data.get("state")


class Watcher:
    """One subscription. Updates wait here, one a slot, until they are taken."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[object, ...], Update] = {}
        self._ready = asyncio.Event()
        self._closed = False

    def put(self, update: Update) -> None:
        self._waiting.pop(update.slot, None)
        self._waiting[update.slot] = update
        self._ready.set()

    def close(self) -> None:
        self._closed = True
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[Update]:
        while True:
            await self._ready.wait()
            self._ready.clear()
            taken, self._waiting = list(self._waiting.values()), {}
            for update in taken:
                yield update
                if update.final:
                    return
            if self._closed:
                return


class Feed:
    """All watchers, by session."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[Watcher]] = defaultdict(set)

    @contextmanager
    def watch(self, session: str) -> Iterator[Watcher]:
        watcher = Watcher()
        self._watchers[session].add(watcher)
        try:
            yield watcher
        finally:
            self._watchers[session].discard(watcher)
            if not self._watchers[session]:
                del self._watchers[session]

    def tell(self, session: str, update: Update) -> None:
        for watcher in self._watchers.get(session, ()):
            watcher.put(update)

    def close(self) -> None:
        """End every stream, for the gateway's own end."""
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.close()
