"""Proposals that a client may send twice: the second under one idempotency key finds the first."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.errors import KeyReused
from gateway.store import Rows, SessionRecord

MAX_KEY = 200  # characters
KEPT = timedelta(days=1)


@dataclass(frozen=True)
class Proposed:
    """A proposed session, and whether this very call proposed it."""

    record: SessionRecord
    is_new: bool = True


class Once:
    """One proposal's key, within its transaction: what is remembered is so exactly if the session is stored."""

    def __init__(self, rows: Rows, key: str, plan_sha256: str, now: datetime) -> None:
        self._rows, self._plan_sha256, self._now = rows, plan_sha256, now
        self._key_sha256 = hashlib.sha256(key.encode()).hexdigest()

    def earlier(self) -> str | None:
        """The session that this plan was proposed as under this key. Raises: KeyReused if the plan was another."""
        self._rows.forget_keys(self._now - KEPT)
        found = self._rows.keyed(self._key_sha256)
        if found is None:
            return None
        plan_sha256, session = found
        if plan_sha256 != self._plan_sha256:
            raise KeyReused(
                "another plan was proposed under this Idempotency-Key within a day",
                action="send a key of its own with each plan",
            )
        return session

    def remember(self, session: str) -> None:
        self._rows.remember_key(self._key_sha256, self._plan_sha256, session, self._now)
