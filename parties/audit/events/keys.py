"""Keys and certificates: one's own, and those of partners."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from parties.audit.events.event import Event
from parties.audit.events.fields import (
    Count,
    Fingerprint,
    Name,
    PublicKey,
    Session,
)


class IdentityCreated(Event):
    """This participant's identity key was made."""

    type = "keys:identity:created"
    subject_field = "fingerprint"
    fingerprint: Fingerprint


class IdentityRotated(Event):
    """This participant's key handed over to another, which signs every later head.

    The old key signs the head over this entry, which is the last one under it.
    """

    type = "keys:identity:rotated"
    subject_field = "fingerprint"
    fingerprint: Annotated[Fingerprint, Field(description="the fingerprint of the key that follows")]
    public_key: PublicKey
    predecessor: Annotated[PublicKey, Field(description="the key that signed so far, in hexadecimal")]


class PartnerAdded(Event):
    """The operator confirmed a partner's key."""

    type = "keys:partner:added"
    subject_field = "name"
    name: Name
    fingerprint: Fingerprint


class PartnerRemoved(Event):
    """The operator withdrew the confirmation of a partner's key."""

    type = "keys:partner:removed"
    subject_field = "name"
    name: Name
    fingerprint: Fingerprint


class PartnerKeyOffered(Event):
    """A partner's confirmed key handed over to another one, which the operator has yet to accept."""

    type = "keys:partner:offered"
    subject_field = "name"
    name: Name
    confirmed: Fingerprint
    successor: Annotated[Fingerprint, Field(description="the fingerprint of the key that follows")]


class PartnerKeyReplaced(Event):
    """The operator accepted the key that a partner's confirmed key handed over to."""

    type = "keys:partner:replaced"
    subject_field = "name"
    name: Name
    fingerprint: Annotated[Fingerprint, Field(description="the key confirmed so far")]
    successor: Annotated[Fingerprint, Field(description="the key confirmed from here on")]


class PartnerRevoked(Event):
    """The operator revoked a partner's key: nothing that it signs is taken any more."""

    type = "keys:partner:revoked"
    subject_field = "name"
    name: Name
    fingerprint: Fingerprint


class CertificateExpiring(Event):
    """A certificate ends within thirty days, or has ended."""

    type = "keys:certificate:expiring"
    subject_field = "certificate"
    certificate: Annotated[
        Literal["own", "gateway"], Field(description="`own`, of this daemon or gateway; `gateway`, which it must show")
    ]
    days: Annotated[Count, Field(description="whole days that are left")]


class PartnerMismatched(Event):
    """A key came under a partner's name that is not the one confirmed; it was refused."""

    type = "keys:partner:mismatched"
    subject_field = "name"
    name: Name
    confirmed: Fingerprint | None = None  # None: nobody confirmed any
    presented: Fingerprint
    session: Session | None = None
