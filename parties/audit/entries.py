"""An event's place in a log and the bytes that are hashed: canonical JSON under CloudEvents' field names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from parties.audit.events import VOCABULARY, Event
from parties.errors import AuditError

SPEC_VERSION: Final = "1.0"
MAX_ENTRY_BYTES: Final = 65_535

ORIGIN_PATTERN: Final = r"^[a-z0-9][a-z0-9._/-]{0,127}$"  # also a signed note's key name: no space, no plus


@dataclass(frozen=True)
class Entry:
    """An event with its place in the log."""

    index: int
    origin: str
    time: datetime
    event: Event

    def envelope(self) -> dict[str, Any]:
        """CloudEvents' fields, as a security monitor reads them, in the order of their names."""
        return {
            "data": dict(sorted(self.event.model_dump(mode="json", exclude_none=True).items())),
            "id": str(self.index),
            "source": self.origin,
            "specversion": SPEC_VERSION,
            "subject": self.event.subject,
            "time": f"{self.time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z",
            "type": self.event.type,
        }

    def encode(self) -> bytes:
        """The bytes that are hashed: RFC 8785, which for plain ASCII, whole numbers and truth values is sorted keys.

        The library for the whole of RFC 8785 takes ten times as long, and verification encodes every entry.
        Raises: AuditError if they are too many.
        """
        content = to_json(self.envelope())
        if len(content) > MAX_ENTRY_BYTES:
            raise AuditError(
                f"an event {self.event.type} takes {len(content)} bytes; an entry may have {MAX_ENTRY_BYTES}",
                action="log a digest of what is big",
            )
        return content


class _Envelope(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    specversion: str
    id: Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,15})$")]
    source: Annotated[str, Field(pattern=ORIGIN_PATTERN)]
    type: str
    time: str
    subject: str
    data: dict[str, Any]


def decode(content: bytes) -> Entry:
    """Raises: AuditError, fit to follow the words "entry N", if these are not the bytes of one entry."""
    try:
        envelope = _Envelope.model_validate_json(content)
    except ValidationError as exc:
        raise AuditError("is not an event in JSON") from exc
    if envelope.specversion != SPEC_VERSION:
        raise AuditError(
            f"has CloudEvents version {envelope.specversion[:20]!r}; {SPEC_VERSION} is known",
            action="verify with the release of Privity that wrote it, or a later one",
        )
    kind = VOCABULARY.get(envelope.type)
    if kind is None:
        raise AuditError(
            f"has an event type that this release does not know: {envelope.type[:80]!r}",
            action="verify with the release of Privity that wrote it, or a later one",
        )
    try:
        time = datetime.fromisoformat(envelope.time)
        entry = Entry(int(envelope.id), envelope.source, time, kind.model_validate(envelope.data))
    except ValueError as exc:  # pydantic's ValidationError too
        raise AuditError(f"does not fit the schema of {envelope.type}") from exc
    if entry.encode() != content:
        raise AuditError("is not in canonical form, or its subject is not the one of its data")
    return entry
