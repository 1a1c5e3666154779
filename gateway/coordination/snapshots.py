"""How sessions look, kept from one request to the next: most are over, and look as they did before."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

from gateway.storage.store import Mark
from gateway.views import SessionView

KEPT = 2048  # of those shown last


@dataclass(frozen=True)
class Snapshot:
    """A session as it stood at one moment."""

    view: SessionView

    @cached_property
    def json(self) -> bytes:
        """As REST shows it."""
        return self.view.model_dump_json().encode()


class Snapshots:
    """The newest of each session; it holds until the session changes, or somebody comes or goes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Mark, frozenset[str], Snapshot]] = OrderedDict()

    def find(self, mark: Mark, present: frozenset[str]) -> Snapshot | None:
        mark_then, present_then, snapshot = self._kept.get(mark.digest, (None, None, None))
        if mark_then != mark or present_then != present:
            return None
        self._kept.move_to_end(mark.digest)
        return snapshot

    def keep(self, mark: Mark, present: frozenset[str], snapshot: Snapshot) -> None:
        """Requires: both were read in one moment, of what is committed."""
        self._kept[mark.digest] = mark, present, snapshot
        self._kept.move_to_end(mark.digest)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
