"""What watchers of a session see: state changes and progress, the present first, nothing after a final state."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

Kind = Literal["state", "progress"]
KEPT_SESSIONS = 256  # whose past is kept for watchers that come back
KEPT_UPDATES = 1000  # of each: what participants say of themselves must not fill the memory


@dataclass(frozen=True)
class Update:
    """One event of a session's stream; `final` if none follows."""

    kind: Kind
    data: dict[str, Any]
    final: bool = False
    id: str = ""  # by which a watcher that comes back says what it has; the feed gives it

    @cached_property
    def text(self) -> str:
        """What it tells, in JSON: made once for all who watch."""
        return json.dumps(self.data)

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

    async def take(self) -> list[Update]:
        """What waits, once something does; nothing after a final update. Nothing at all: the subscription is over."""
        if not self._closed:
            await self._ready.wait()
        self._ready.clear()
        taken, self._waiting = list(self._waiting.values()), {}
        last = next((place for place, update in enumerate(taken) if update.final), len(taken))
        return taken[: last + 1]


class _Past:
    """What was told of one session after number `began`, one update a slot, as a slow watcher would have it."""

    def __init__(self, began: int) -> None:
        self._began = began
        self._told: dict[tuple[object, ...], tuple[int, Update]] = {}

    def add(self, number: int, update: Update) -> None:
        self._told.pop(update.slot, None)
        self._told[update.slot] = number, update
        if len(self._told) > KEPT_UPDATES:
            self._began, _ = self._told.pop(next(iter(self._told)))

    def after(self, number: int) -> list[Update] | None:
        """None if more was told since than is known here."""
        if number < self._began:
            return None
        return [update for told_at, update in self._told.values() if told_at > number]


class Feed:
    """All watchers, by session, and what they would have to catch up with if their connections broke."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[Watcher]] = defaultdict(set)
        self._life = secrets.token_hex(4)  # another gateway process numbers anew
        self._number = 0
        self._past: OrderedDict[str, _Past] = OrderedDict()

    @property
    def watchers(self) -> int:
        """How many watch, any session."""
        return sum(map(len, self._watchers.values()))

    @contextmanager
    def watch(self, session: str, present: Update, last_id: str = "") -> Iterator[Watcher]:
        """A subscription: the present first or, for a watcher that says what it saw last, what it missed.

        Whoever missed nothing of a session that is over, or what is no longer known, sees the present.
        """
        watcher = Watcher()
        past = self._past_of(session)
        missed = None if (seen := self._number_of(last_id)) is None else past.after(seen)
        if missed is None or (present.final and not any(update.final for update in missed)):
            missed = [replace(present, id=self._id())]
        for update in missed:
            watcher.put(update)
        self._watchers[session].add(watcher)
        try:
            yield watcher
        finally:
            self._watchers[session].discard(watcher)
            if not self._watchers[session]:
                del self._watchers[session]

    def tell(self, session: str, update: Update) -> None:
        past = self._past_of(session)
        self._number += 1
        told = replace(update, id=self._id())
        past.add(self._number, told)
        for watcher in self._watchers.get(session, ()):
            watcher.put(told)

    def close(self) -> None:
        """End every stream, for the gateway's own end."""
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.close()

    def _past_of(self, session: str) -> _Past:
        """Of the sessions last told or watched alone: the past takes memory."""
        past = self._past.setdefault(session, _Past(self._number))
        self._past.move_to_end(session)
        if len(self._past) > KEPT_SESSIONS:
            self._past.popitem(last=False)
        return past

    def _id(self) -> str:
        return f"{self._life}-{self._number}"

    def _number_of(self, last_id: str) -> int | None:
        """None if this process gave no such id."""
        life, _, number = last_id.partition("-")
        if life != self._life or re.fullmatch(r"[0-9]{1,15}", number) is None or int(number) > self._number:
            return None
        return int(number)
