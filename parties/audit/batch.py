"""What one caller appends to a log, while it waits for the commit that takes it along."""

from __future__ import annotations

from collections.abc import Sequence

from parties.audit.events import Event
from parties.errors import AuditError


class Batch:
    """What one caller appends, and what became of it; only whoever holds the log's mutex settles it."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = tuple(events)
        self.is_settled = False
        self._first = 0
        self._error: AuditError | None = None

    def place(self, first: int) -> None:
        """Its first event's index, if it is written."""
        self._first = first

    def succeed(self) -> None:
        self.is_settled = True

    def fail(self, error: AuditError) -> None:
        """What failed by itself keeps its own error."""
        self._error, self.is_settled = self._error or error, True

    def indices(self) -> range:
        """Raises: AuditError if it failed; one of its own for each caller."""
        if self._error is not None:
            raise AuditError(self._error.what, action=self._error.action) from self._error
        return range(self._first, self._first + len(self.events))
