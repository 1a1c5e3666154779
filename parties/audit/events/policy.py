"""The rules by which a node signs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from parties.audit.events.event import Event
from parties.audit.events.fields import (
    Digest,
    Flag,
)


class PolicyRead(Event):
    """The rules by which this node signs from here on: at its start, and whenever their file was changed."""

    type = "policy:file:read"
    subject_field = "digest"
    digest: Annotated[Digest, Field(description="SHA-256 of the file; of no bytes if there is none")]
    valid: Annotated[Flag, Field(description="whether its rules can be read; if not, nothing is signed")]
