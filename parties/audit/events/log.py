"""The log itself: its beginning, what lays it out, who verified it, and who cosigned its heads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from parties.audit.events.event import Event
from parties.audit.events.fields import (
    Count,
    Digest,
    Fingerprint,
    Flag,
    Name,
    Reader,
    Sqlite,
)


class LogCreated(Event):
    """The log begins; always its first entry."""

    type = "log:file:created"
    subject_field = "fingerprint"
    fingerprint: Fingerprint
    sqlite: Sqlite


class LibraryChanged(Event):
    """The log was opened with another version of SQLite, which lays out the file from here on."""

    type = "log:library:changed"
    subject_field = "sqlite"
    sqlite: Sqlite


class LogVerified(Event):
    """Somebody had the log verified: logged in to the node's page, or by the command line while the daemon ran."""

    type = "log:file:verified"
    subject_field = "by"
    by: Reader
    entries: Annotated[Count, Field(description="how many entries verified, from the first")]
    intact: Annotated[Flag, Field(description="whether all of it verified")]


class HeadCosigned(Event):
    """A participant cosigned a head of another's log: it continues the one that it cosigned before."""

    type = "log:head:cosigned"
    subject_field = "log"
    log: Annotated[Name, Field(description="whose log")]
    by: Annotated[Name, Field(description="who cosigned")]
    size: Annotated[Count, Field(description="entries under the head")]
    root: Annotated[Digest, Field(description="the head's Merkle root, in hexadecimal")]


class HeadRefused(Event):
    """A participant refused to cosign a head: the log was rolled back, or written anew."""

    type = "log:head:refused"
    subject_field = "log"
    log: Annotated[Name, Field(description="whose log")]
    by: Annotated[Name, Field(description="who refused")]
    size: Annotated[Count, Field(description="entries under the head that was offered")]
    cosigned: Annotated[Count, Field(description="entries under the head that was cosigned last")]
    reason: Annotated[
        Literal["rollback", "fork"],
        Field(description="`rollback`: it is shorter than that one; `fork`: it does not continue it"),
    ]
