"""What the gateway alone records."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from parties.audit.events.event import Event
from parties.audit.events.fields import (
    Account,
    AccountRole,
    Count,
    Digest,
    Fingerprint,
    Name,
    Organisation,
    Session,
)


class SessionProposed(Event):
    """The gateway made a contract of an analyst's plan."""

    type = "gateway:session:proposed"
    session: Session
    plan: Annotated[Digest, Field(description="SHA-256 of the plan")]
    parties: Count
    account: Annotated[Account | None, Field(description="who proposed it: an account of the gateway")] = None
    organisation: Annotated[Organisation | None, Field(description="for whom")] = None
    role: Annotated[AccountRole | None, Field(description="in which role")] = None


class ApprovalStored(Event):
    """The gateway keeps a participant's signed approval."""

    type = "gateway:approval:stored"
    session: Session
    name: Name
    digest: Annotated[Digest, Field(description="SHA-256 of the envelope")]


class InvitationMade(Event):
    """The gateway's operator invited an organisation."""

    type = "gateway:invitation:made"
    subject_field = "name"
    name: Name


class InvitationUsed(Event):
    """An organisation used its invitation, which holds no longer."""

    type = "gateway:invitation:used"
    subject_field = "name"
    name: Name
    fingerprint: Fingerprint


class NodeJoined(Event):
    """A known node or dealer opened its stream to the gateway."""

    type = "gateway:node:joined"
    subject_field = "name"
    name: Name
    fingerprint: Fingerprint


class KeyReplaced(Event):
    """A daemon came to the gateway with a key that its known one handed over to; it is the one known from here on."""

    type = "gateway:key:replaced"
    subject_field = "name"
    name: Name
    known: Fingerprint
    successor: Annotated[Fingerprint, Field(description="the fingerprint of the key that follows")]


class KeyMismatched(Event):
    """A daemon came to the gateway under a known name with another key; it was refused."""

    type = "gateway:key:mismatched"
    subject_field = "name"
    name: Name
    known: Fingerprint
    presented: Fingerprint
