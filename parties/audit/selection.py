"""Which of a log's entries somebody asked for, and the same as a table for spreadsheets."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, Self, TextIO

from parties.audit.agreements import Agreement
from parties.audit.entries import Entry
from parties.audit.events import NAME_PATTERN, participants_of, session_of
from parties.errors import ContractError, SettingsError

COLUMNS: Final = ("entry", "time", "log", "event", "about", "data")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Selection:
    """What is left out lets everything through.

    Days are UTC, both included; `sessions` are those of `partner`; `after` is the number of an entry.
    """

    since: date | None = None
    until: date | None = None
    partner: str = ""
    sessions: frozenset[str] = frozenset()
    after: int | None = None

    @classmethod
    def of(
        cls,
        since: datetime | None,
        until: datetime | None,
        partner: str,
        agreements: Mapping[str, Agreement],
        after: int | None = None,
    ) -> Self:
        """Raises: SettingsError if nobody can have that name, or the days are in the wrong order."""
        if partner and not re.fullmatch(NAME_PATTERN, partner):
            raise SettingsError(
                f"'{partner[:64]}' is not a participant's name", action="write it as contracts do, such as clinic-a"
            )
        if since and until and since > until:
            raise SettingsError("--from is later than --to", action="give the earlier day as --from")
        sessions = frozenset(digest for digest, item in agreements.items() if _takes_part(partner, item))
        return cls(since and since.date(), until and until.date(), partner, sessions, after)

    def admits(self, entry: Entry) -> bool:
        if self.after is not None and entry.index <= self.after:
            return False
        day = entry.time.astimezone(UTC).date()
        if (self.since is not None and day < self.since) or (self.until is not None and day > self.until):
            return False
        event = entry.event
        about = {session_of(event), getattr(event, "model", None)}  # a model's id is that of its training session
        return not self.partner or bool(about & self.sessions) or self.partner in participants_of(event)


def _takes_part(partner: str, agreement: Agreement) -> bool:
    try:
        contract = agreement.parsed()
    except ContractError:  # of another release; entries that name the partner are found all the same
        return False
    return partner in {participant.name for participant in (*contract.parties, contract.dealer)}


def write_csv(entries: Iterable[Entry], file: TextIO) -> None:
    """RFC 4180, one entry a row, its data as JSON in one cell; no cell is taken for a formula."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for entry in entries:
        envelope = entry.envelope()
        data = json.dumps(envelope["data"])
        cells = (envelope["id"], envelope["time"], envelope["source"], envelope["type"], envelope["subject"], data)
        writer.writerow([as_text(cell) for cell in cells])


def as_text(cell: str) -> str:
    """The cell, behind an apostrophe where a spreadsheet would take it for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
