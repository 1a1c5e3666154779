"""What was opened and disclosed in a session, or refused, and how that is bound."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from parties.audit.events.event import Event
from parties.audit.events.fields import (
    MAX_DIMENSIONS,
    Clause,
    Code,
    Count,
    Digest,
    Disclosed,
    Flag,
    Name,
    Recipient,
    Session,
)


class RecordsMatched(Event):
    """The parties compared keyed digests of their record ids."""

    type = "session:records:matched"
    session: Session
    rows: Annotated[Count, Field(description="this party's own rows")]
    equal: Annotated[Flag, Field(description="whether all digests were equal")]


class OpeningsCounted(Event):
    """All masked openings of the session, which show nothing, in total."""

    type = "session:openings:counted"
    session: Session
    rounds: Count
    words: Count
    bytes_sent: Count


class DisclosureRecorded(Event):
    """A value that the contract names is about to be opened; written before this party's share leaves."""

    type = "session:disclosure:recorded"
    session: Session
    name: Disclosed
    recipients: Annotated[tuple[Recipient, ...], Field(min_length=1, max_length=64)]
    shape: Annotated[tuple[Count, ...], Field(max_length=MAX_DIMENSIONS, description="lengths; empty for one number")]
    clause: Clause
    count: Annotated[Count, Field(description="how often so far, this one included")]
    transcript: Annotated[Digest | None, Field(description="keyed digest of all that was opened before")] = None


class DisclosureTold(Event):
    """This participant, a recipient, was told what had been recorded; value and salt lie with its results."""

    type = "session:disclosure:told"
    session: Session
    name: Disclosed
    clause: Clause
    count: Annotated[Count, Field(description="which of the clause's disclosures, from 1")]
    digest: Annotated[Digest, Field(description="digest of the value, keyed by a salt that lies beside it")]


class DisclosureRefused(Event):
    """Something asked to open what the contract does not allow; nothing left."""

    type = "session:disclosure:refused"
    session: Session
    name: Annotated[Disclosed | None, Field(description="what was asked for, if that is a name")] = None
    recipients: Annotated[tuple[Recipient, ...], Field(max_length=64)] = ()
    shape: Annotated[
        tuple[Count, ...], Field(max_length=MAX_DIMENSIONS, description="lengths; empty for one number")
    ] = ()
    who: Annotated[Name, Field(description="whose process asked")]
    reason: Code


class FrameRefused(Event):
    """A party's process sent, or asked for, something that does not come next in what the contract has it compute.

    It was answered nothing, and the session ended here.
    """

    type = "session:frame:refused"
    session: Session
    who: Annotated[Name, Field(description="whose process sent it")]
    name: Annotated[Disclosed | None, Field(description="what it was called, if that is a name")] = None
    shape: Annotated[
        tuple[Count, ...], Field(max_length=MAX_DIMENSIONS, description="lengths; empty for one number")
    ] = ()
    expected: Annotated[Disclosed, Field(description="what comes next")]


class CommitmentSigned(Event):
    """This party signed hash chains over all that it had sent to each peer and the dealer."""

    type = "session:commitment:signed"
    session: Session
    stage: Annotated[Count, Field(description="which of the session's commitments, from 1")]
    digest: Annotated[Digest, Field(description="SHA-256 of the signed statement")]


class CommitmentReceived(Event):
    """A party's signed chains came, and the one of what it sent here was held against what came."""

    type = "session:commitment:received"
    session: Session
    partner: Name
    stage: Annotated[Count, Field(description="which of the session's commitments, from 1")]
    digest: Annotated[Digest, Field(description="SHA-256 of the statement")]
    equal: Annotated[Flag, Field(description="whether it is signed, and of what came here")]


class DealerKeyBound(Event):
    """The dealer signed a digest of the key that it shares with a party."""

    type = "session:key:bound"
    session: Session
    partner: Annotated[Name, Field(description="the party, in the dealer's log; the dealer, in a party's")]
    digest: Annotated[Digest, Field(description="SHA-256 of the signed statement")]


class Replayed(Event):
    """Somebody had this party's part made again from what was recorded, and held against what was signed."""

    type = "session:replay:done"
    session: Session
    equal: Annotated[Flag, Field(description="whether all that it sent is what its code makes")]
    round: Annotated[Count | None, Field(description="the first round in which it is not")] = None
    name: Annotated[Disclosed | None, Field(description="that round's name, if that is a name")] = None


class TranscriptCompared(Event):
    """Two parties compared the hash chains of all that was opened so far."""

    type = "session:transcript:compared"
    session: Session
    partner: Name
    digest: Digest
    equal: Annotated[Flag, Field(description="whether both were the same")]


class TranscriptSigned(Event):
    """A party's signature on its hash chain at the session's end came, and was compared with the own one."""

    type = "session:transcript:signed"
    session: Session
    partner: Name
    digest: Digest
    equal: Annotated[Flag, Field(description="whether it is the own one, and the first that the party signed")]


class ResultStored(Event):
    """A disclosure of which this participant is a recipient was stored."""

    type = "session:result:stored"
    session: Session
    name: Disclosed
    digest: Annotated[Digest, Field(description="digest of the stored result, keyed by a salt that lies beside it")]
