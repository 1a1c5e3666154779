"""Which sessions a list shows, and where its next page begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from parties.agreement.kinds import Kind
from parties.service.lifecycle import State

TEXT_PATTERN: Final = r"^[^\x00-\x1f\x7f]*$"  # what is searched for: PostgreSQL's text can't hold NUL


@dataclass(frozen=True)
class Selection:
    """Of all sessions, newest first: those in one of the states, of the kind, with the participant.

    `cursor` is the last session of the page before; it stays good, as a session is never deleted and keeps its place.
    """

    states: tuple[State, ...] = ()  # empty: any
    kind: Kind | None = None
    participant: str | None = None  # a party's or the dealer's name
    cursor: str | None = None
    limit: int | None = None  # None: all of them
    organisation: str | None = None  # that it concerns: a participant, or who proposed it
    text: str | None = None  # that its id begins with, or its purpose holds, in capitals or not


EVERY = Selection()
