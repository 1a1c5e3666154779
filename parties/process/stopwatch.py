"""How long each stage of a session took at one party, to a hundredth of a second.

Stages follow each other by the contract's schedule, and what is done in them takes as long whatever the data: their
times tell of machines, links and sizes, which the gateway could measure by the progress that it is told anyway.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mpc.stages import Stage

HUNDREDTHS = 2  # finer times would tell nobody more of a machine


class Stopwatch:
    """Runs from one stage to the next; what comes before the first is of none."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._began: list[tuple[Stage, float]] = []

    def stage(self, name: Stage) -> None:
        """The stage before ends, this one begins."""
        self._began.append((name, self._monotonic()))

    def seconds(self) -> dict[Stage, float]:
        """Of all stages until now, in their order; of one that came twice both times together."""
        found: dict[Stage, float] = {}
        moments = [*(began for _, began in self._began), self._monotonic()]
        for (name, began), end in zip(self._began, moments[1:], strict=True):
            found[name] = found.get(name, 0.0) + end - began
        return {name: round(spent, HUNDREDTHS) for name, spent in found.items()}
