"""How often somebody may ask: a bucket of tokens for each, that fills steadily and is emptied by requests."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_BUCKETS = 10_000  # of so many asked last; whoever is forgotten has a full bucket again


@dataclass
class _Bucket:
    left: float
    at: float


class Buckets:
    """One bucket a name. Cost: constant time a request, memory for at most MAX_BUCKETS names."""

    def __init__(
        self,
        a_second: float,
        burst: float,
        monotonic: Callable[[], float] = time.monotonic,
        most_buckets: int = MAX_BUCKETS,
    ) -> None:
        """`a_second` requests on the average, `burst` at once."""
        self._rate, self._burst, self._monotonic, self._most = a_second, burst, monotonic, most_buckets
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, name: str) -> float:
        """Count a request of this name: 0 if it may be made, else in how many seconds one may."""
        now = self._monotonic()
        bucket = self._buckets.setdefault(name, _Bucket(self._burst, now))
        self._buckets.move_to_end(name)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._rate)
        bucket.at = now
        if bucket.left < 1:
            return (1 - bucket.left) / self._rate
        bucket.left -= 1
        return 0.0
