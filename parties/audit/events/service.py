"""A daemon's life, and logins to a node's page."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from parties.audit.events.event import Event
from parties.audit.events.fields import (
    Count,
    Reader,
    Release,
    Role,
)


class ServiceStarted(Event):
    """A daemon began to serve."""

    type = "daemon:service:started"
    subject_field = "role"
    role: Role
    version: Annotated[Release, Field(description="Privity's version")]


class ServiceStopped(Event):
    """A daemon stopped in good order; without this entry it was killed."""

    type = "daemon:service:stopped"
    subject_field = "role"
    role: Role


class ServicePaused(Event):
    """The operator paused the node: it refuses contracts until it is resumed, and finishes what was signed."""

    type = "daemon:service:paused"
    subject_field = "role"
    role: Role


class ServiceResumed(Event):
    """The operator ended the pause: the node takes contracts again."""

    type = "daemon:service:resumed"
    subject_field = "role"
    role: Role


class LoginOffered(Event):
    """Whoever may use the home asked for a link to the node's page, which works once."""

    type = "page:login:offered"
    subject_field = "role"
    role: Reader


class LoginOpened(Event):
    """The link was used: a browser is logged in to the node's page."""

    type = "page:login:opened"
    subject_field = "role"
    role: Reader


class LoginClosed(Event):
    """A browser was logged out of the node's page."""

    type = "page:login:closed"
    subject_field = "role"
    role: Reader


class LoginRefused(Event):
    """A link to the node's page was tried that lets nobody in. There is an entry a minute at most."""

    type = "page:login:refused"
    subject_field = "by"
    by: Annotated[Literal["link"], Field(description="what was tried: `link`, the address that works once")]
    count: Annotated[Count, Field(description="how often since the entry before")]
