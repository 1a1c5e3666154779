"""What a client may send twice: the second under one idempotency key finds the first."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.errors import KeyReused
from gateway.storage.store import Rows, SessionRecord
from gateway.views import SessionView

MAX_KEY = 200  # characters
KEPT = timedelta(days=1)


@dataclass(frozen=True)
class Proposed:
    """A proposed session, and whether this very call proposed it."""

    record: SessionRecord
    is_new: bool = True


@dataclass(frozen=True)
class Cancelled:
    """A session that was cancelled, and whether this very call did it."""

    view: SessionView
    is_new: bool = True


class Once:
    """One request's key, within its transaction: what is remembered is so exactly if what it asks for is done."""

    def __init__(self, rows: Rows, account: str, key: str, asked_sha256: str, now: datetime) -> None:
        """A key is the account's own: another's under the same one is another request."""
        self._rows, self._asked_sha256, self._now = rows, asked_sha256, now
        self._key_sha256 = hashlib.sha256(f"{account} {key}".encode()).hexdigest()

    def earlier(self) -> str | None:
        """The session of which this was asked under this key. Raises: KeyReused if something else was."""
        self._rows.forget_keys(self._now - KEPT)
        found = self._rows.keyed(self._key_sha256)
        if found is None:
            return None
        asked_sha256, session = found
        if asked_sha256 != self._asked_sha256:
            raise KeyReused(
                "another request came under this Idempotency-Key within a day",
                action="send a key of its own with each request",
            )
        return session

    def remember(self, session: str) -> None:
        self._rows.remember_key(self._key_sha256, self._asked_sha256, session, self._now)
