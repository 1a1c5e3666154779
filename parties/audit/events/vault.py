"""What a node keeps under the vault's key: data sets, models, digests of records."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from parties.audit.events.event import Event
from parties.audit.events.fields import (
    Count,
    DataSet,
    DataVersion,
    Flag,
    Model,
    Reader,
    Session,
)


class DataAdded(Event):
    """A data set was put into the vault."""

    type = "vault:data:added"
    subject_field = "name"
    name: DataSet
    version: DataVersion
    rows: Count
    columns: Count


class DataMatched(Event):
    """Rows of a data set that all parties of a matching have were put into the vault, as a data set of their own."""

    type = "vault:data:matched"
    subject_field = "name"
    name: DataSet
    version: DataVersion
    rows: Count
    columns: Count
    session: Session
    source: Annotated[DataSet, Field(description="the data set whose rows they are")]
    days: Annotated[Count, Field(description="for how many days, as the contract says")]


class DataShared(Event):
    """A data set's schema may be published from here on, and sessions may use it; or no longer."""

    type = "vault:data:shared"
    subject_field = "name"
    name: DataSet
    version: DataVersion
    shareable: Flag


class VaultKeyRotated(Event):
    """Every data set's key was wrapped anew, and every model's share sealed anew, under another vault key."""

    type = "vault:key:rotated"
    subject_field = "to"
    data_sets: Count
    models: Count
    to: Annotated[Literal["file", "env", "command"], Field(description="`file`, `env` or `command`: where it is")]


class DataRead(Event):
    """A data set's key was handed out: to a session's worker, to its replay, or to the operator."""

    type = "vault:data:read"
    subject_field = "name"
    name: DataSet
    version: DataVersion
    rows: Count
    columns: Annotated[Count, Field(description="how many columns were asked for")]
    session: Session | None = None  # None: the operator, at the command line


class DataRemoved(Event):
    """A data set's key was destroyed."""

    type = "vault:data:removed"
    subject_field = "name"
    name: DataSet
    version: DataVersion | None = None  # None: its manifest was damaged


class ModelStored(Event):
    """This participant keeps its share of a model, for predictions."""

    type = "vault:model:stored"
    subject_field = "model"
    model: Model
    days: Annotated[Count, Field(description="for how many days, as the contract says")]


class ModelUsed(Event):
    """A share of a model was handed to the worker of a prediction session, or to its replay."""

    type = "vault:model:used"
    model: Model
    session: Session


class ModelDeleted(Event):
    """This participant's share of a model was destroyed."""

    type = "vault:model:deleted"
    subject_field = "model"
    model: Model
    by: Annotated[
        Literal["operator", "expiry", "withdrawal"], Field(description="`operator`, `expiry` or `withdrawal`")
    ]


class ReplayKept(Event):
    """A sealed recording of what came in, and the seed, are kept for an officer's replay."""

    type = "vault:replay:kept"
    session: Session
    days: Annotated[Count, Field(description="for how many days, as the contract says")]


class ReplayDeleted(Event):
    """The recording was destroyed, with the key that opens it."""

    type = "vault:replay:deleted"
    session: Session
    by: Annotated[
        Literal["operator", "expiry", "withdrawal", "failure"],
        Field(description="`operator`, who deleted the data set, `expiry`, `withdrawal`, or `failure` of the run"),
    ]


class RecordsKept(Event):
    """Keyed digests of the own record ids of a session were stored, to tell later which sessions held a record."""

    type = "vault:records:kept"
    session: Session
    rows: Annotated[Count, Field(description="this party's own rows")]
    days: Annotated[Count, Field(description="for how many days")]


class RecordsDestroyed(Event):
    """The key of a session's record digests was destroyed: which records it held can't be told any more."""

    type = "vault:records:destroyed"
    session: Session
    by: Annotated[Literal["operator", "expiry"], Field(description="`operator` or `expiry`")]


class RecordsSearched(Event):
    """Somebody asked which sessions held one record; the id stands nowhere."""

    type = "vault:records:searched"
    subject_field = "by"
    by: Reader
    sessions: Annotated[Count, Field(description="how many sessions could be searched")]
