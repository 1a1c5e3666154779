"""What every event is, and what is told of one."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from parties.audit.events.fields import Participant


class Event(BaseModel):
    """What callers append; `subject_field` names the field that says what the event is about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: ClassVar[str]
    subject_field: ClassVar[str] = "session"

    @property
    def subject(self) -> str:
        return str(getattr(self, self.subject_field))


def session_of(event: Event) -> str | None:
    """The session that an event is about, if it is about one; of a model that is kept, the one that left it."""
    found: str | None = getattr(event, "session", None) or getattr(event, "model", None)
    return found


def participants_of(event: Event) -> frozenset[str]:
    """The participants that an event names, as who did it, whom it is about, or to whom something was disclosed."""
    named = {
        str(getattr(event, field))
        for field, info in type(event).model_fields.items()
        if any(isinstance(item, Participant) for item in info.metadata)
    }
    for recipient in getattr(event, "recipients", ()):
        named |= set(recipient.partition(":")[2].split(",")) - {""}
    return frozenset(named)
