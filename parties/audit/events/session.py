"""A session from its contract to its end, and the process that computes for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from parties.audit.events.event import Event
from parties.audit.events.fields import (
    Account,
    AccountRole,
    Code,
    Count,
    Decider,
    Digest,
    Exit,
    Name,
    Organisation,
    Session,
)


class ContractReceived(Event):
    """A contract came from the gateway."""

    type = "session:contract:received"
    session: Session
    parties: Count


class ContractApproved(Event):
    """This participant signed the contract."""

    type = "session:contract:approved"
    session: Session
    by: Decider


class ContractRefused(Event):
    """This participant refused the contract."""

    type = "session:contract:refused"
    session: Session
    by: Decider
    reason: Code


class ContractExpired(Event):
    """The contract's time ran out before the session began."""

    type = "session:contract:expired"
    session: Session


class ContractAltered(Event):
    """A contract or an approval is not the one that was signed; it was refused."""

    type = "session:contract:altered"
    session: Session
    found: Annotated[Digest | None, Field(description="the digest of what came instead")] = None
    who: Annotated[Name, Field(description="in whose name it came")]


class ContractReplayed(Event):
    """The contract of a session that had run here came once more, as if it were another; it was refused."""

    type = "session:contract:replayed"
    session: Session


class ConsentWithdrawn(Event):
    """A party ended its consent to a session: what it kept of it is destroyed, and serves nobody from here on."""

    type = "session:consent:withdrawn"
    session: Session
    who: Annotated[Name, Field(description="whose consent ended")]
    by: Annotated[
        Literal["operator", "partner"],
        Field(description="this participant's `operator`, or a `partner`, whose signed word came"),
    ]
    digest: Annotated[Digest, Field(description="SHA-256 of the signed withdrawal")]


class SessionStarted(Event):
    """All approvals were verified and the session began."""

    type = "session:run:started"
    session: Session
    epoch: Count
    parties: Count


class SessionCompleted(Event):
    """The session ended as the contract says."""

    type = "session:run:completed"
    session: Session
    rounds: Count
    bytes_sent: Count


class SessionFailed(Event):
    """The session ended before its end."""

    type = "session:run:failed"
    session: Session
    reason: Code
    who: Annotated[Name, Field(description="where it failed first")]


class SessionCancelled(Event):
    """Somebody ended the session."""

    type = "session:run:cancelled"
    session: Session
    reason: Code
    who: Annotated[Name, Field(description="who ended it")]
    account: Annotated[Account | None, Field(description="of the gateway, if one cancelled it there")] = None
    organisation: Annotated[Organisation | None, Field(description="for whom it acted")] = None
    role: Annotated[AccountRole | None, Field(description="in which role")] = None


class WorkerStarted(Event):
    """A process began to compute for the session."""

    type = "session:worker:started"
    session: Session
    epoch: Count
    certificate: Annotated[Digest, Field(description="SHA-256 of the worker's TLS certificate")]


class WorkerEnded(Event):
    """The session's process is gone."""

    type = "session:worker:ended"
    session: Session
    exit: Exit
