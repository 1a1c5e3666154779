"""What a report says of one session: names, counts, times and digests, never a value of anybody's data."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from parties.agreement.kinds import Kind
from parties.agreement.plan import Frozen
from parties.columns.division import Kind as Partition

State: TypeAlias = Literal["waiting", "agreed", "running", "completed", "refused", "cancelled", "failed", "expired"]
GATEWAY = "gateway"  # among those who are told something


class Involved(Frozen):
    """One organisation of the session, and what is known here of its agreement."""

    name: str
    role: Literal["party", "dealer"]
    fingerprint: str
    data: str = ""
    schema_sha256: str = ""
    rows: int = 0
    id_column: str = ""
    columns: tuple[str, ...] = ()
    label: str = ""
    agreed: str  # in words
    agreed_at: datetime | None = None  # known of this participant itself
    withdrew_at: datetime | None = None  # when this participant's log says so


class Told(Frozen):
    """One disclosure: what the contract allows, against what the log has of it."""

    clause: str
    name: str
    what: str
    to: str
    recipients: tuple[str, ...]  # names; "gateway" for one
    numbers: int
    allowed: int
    recorded: int
    digests: int = 0  # of values that were told here, in the log
    first: datetime | None = None
    last: datetime | None = None


class Moment(Frozen):
    """One step of the session, as a line of the timeline."""

    at: datetime
    what: str
    acting: tuple[str, ...]  # who did it, or gave its part
    told: tuple[str, ...] = ()  # who was told something by it


class Incident(Frozen):
    """Something that was refused, or did not fit."""

    at: datetime
    what: str


class Share(Frozen):
    """What became of this participant's share of the model; times are those of the log."""

    days: int
    stored: datetime | None = None
    until: datetime | None = None
    used: tuple[tuple[datetime, str], ...] = ()  # by which prediction sessions
    deleted: datetime | None = None
    deleted_by: str = ""


class MatchedSet(Frozen):
    """The data set of common records that a matching left here; times are those of the log."""

    name: str
    days: int
    rows: int = 0
    stored: datetime | None = None

    @property
    def until(self) -> datetime | None:
        """When it is deleted at the latest."""
        return self.stored + timedelta(days=self.days) if self.stored else None


class Recording(Frozen):
    """The recording for a replay here, and what replays found; times are those of the log."""

    days: int
    kept: datetime | None = None
    deleted: datetime | None = None
    deleted_by: str = ""
    replayed: tuple[tuple[datetime, bool], ...] = ()  # and whether all was equal

    @property
    def until(self) -> datetime | None:
        """When it is destroyed at the latest."""
        return self.kept + timedelta(days=self.days) if self.kept else None


class OwnRecords(Frozen):
    """Until when this participant can tell which of its own records took part; times are those of the log."""

    until: datetime | None = None
    destroyed: datetime | None = None


class Bound(Frozen):
    """How often one organisation signed all that it had sent so far, and whether each time that is what came here."""

    name: str
    stages: int
    equal: bool = True


class Checked(Frozen):
    """The verdict on the log that all of this was read from."""

    intact: bool
    entries: int
    root: str  # of the newest head
    fingerprint: str
    failure: str = ""
    action: str = ""
    remarks: tuple[str, ...] = ()


class Facts(Frozen):
    """All that a report says."""

    organisation: str
    role: Literal["party", "dealer"]
    made: datetime
    session: str
    kind: Kind
    purpose: str
    legal_basis: str
    impact_assessment: str
    impact_assessment_sha256: str
    model: str = ""  # of a prediction: the session that left it
    created: datetime
    expires: datetime
    state: State
    began: datetime | None = None  # all had agreed, and computing began
    ended: datetime | None = None
    reason: str = ""  # why it did not complete, in words
    blamed: str = ""  # where it failed first, or who ended it
    told_apart: tuple[str, ...] = ()  # of a training: the label's classes that have a model each
    partition: Partition | None = None  # how the parties' tables make the joint one; None of a matching
    training_rows: int = 0
    held_out_rows: int = 0
    involved: tuple[Involved, ...]
    told: tuple[Told, ...]
    inferences: tuple[str, ...]
    matched_rows: int | None = None  # None: the log has no comparison of records
    compared: tuple[tuple[str, bool], ...] = ()  # with whom the record of all that was opened was compared; equal
    bound: tuple[Bound, ...] = ()  # this organisation's first
    masked_words: int | None = None
    share: Share
    found: MatchedSet | None = None  # of a matching
    recording: Recording | None = None  # where the contract keeps one
    records: OwnRecords
    incidents: tuple[Incident, ...]
    moments: tuple[Moment, ...]
    checked: Checked

    @property
    def parties(self) -> tuple[Involved, ...]:
        return tuple(one for one in self.involved if one.role == "party")
