"""Passes: random secrets that admit whoever shows them, for a time. Only digests are kept, and only in memory."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
MAX_PASSES = 100


class Passes(Generic[T]):
    """Each pass stands for a value, such as a role. Digests are looked up: timing tells nothing of a secret."""

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._monotonic = seconds, monotonic
        self._kept: dict[str, tuple[T, float]] = {}

    def issue(self, value: T) -> str:
        """A fresh secret; of too many the oldest is forgotten."""
        self._forget()
        while len(self._kept) >= MAX_PASSES:
            del self._kept[next(iter(self._kept))]
        secret = secrets.token_urlsafe(32)
        self._kept[_digest(secret)] = value, self._monotonic() + self._seconds
        return secret

    def value(self, secret: str) -> T | None:
        """What a pass stands for; None if it never was one, or is over."""
        self._forget()
        found = self._kept.get(_digest(secret))
        return None if found is None else found[0]

    def redeem(self, secret: str) -> T | None:
        """The same, and the pass is over: it works once."""
        value = self.value(secret)
        self._kept.pop(_digest(secret), None)
        return value

    def _forget(self) -> None:
        """Those that are over: all last equally long, so the oldest come first."""
        now = self._monotonic()
        while self._kept:
            oldest, (_, until) = next(iter(self._kept.items()))
            if until > now:
                return
            del self._kept[oldest]


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
