"""Who came in at the gateway: logins of browsers, personal tokens."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from parties.audit.events.event import Event
from parties.audit.events.fields import Account, AccountRole, Code, Count, Flag, Organisation, Token

LoginWay: TypeAlias = Literal["token", "code", "provider"]


class ConsoleOffered(Event):
    """An account asked for an address of the gateway's console, which works once."""

    type = "gateway:login:offered"
    subject_field = "account"
    account: Account
    organisation: Organisation
    role: AccountRole


class ConsoleOpened(Event):
    """A browser is logged in to the gateway's console."""

    type = "gateway:login:opened"
    subject_field = "account"
    account: Account
    organisation: Organisation
    role: AccountRole
    by: Annotated[
        Literal["code", "provider"],
        Field(description="`code`, by an address that works once; `provider`, vouched for by the identity provider"),
    ]


class ConsoleClosed(Event):
    """A browser was logged out of the gateway's console."""

    type = "gateway:login:closed"
    subject_field = "account"
    account: Account
    by: Annotated[
        Literal["browser", "operator", "token"],
        Field(
            description="`browser`, by its own button; `operator`, by `privity gateway logout`; `token`, as the one"
            " that it was asked for by was revoked"
        ),
    ] = "browser"


class ConsoleRefused(Event):
    """The identity provider vouched for an account that may do nothing here."""

    type = "gateway:login:refused"
    subject_field = "account"
    account: Account
    reason: Code


class LoginFailed(Event):
    """Somebody showed the gateway what lets nobody in. Of each way there is an entry a minute at most."""

    type = "gateway:login:failed"
    subject_field = "by"
    by: Annotated[
        LoginWay,
        Field(
            description="`token`, with a request; `code`, the address that works once; `provider`, on the way back from"
            " the identity provider"
        ),
    ]
    count: Annotated[Count, Field(description="how often since the entry before")]


class TokenCreated(Event):
    """A personal token was made."""

    type = "gateway:token:created"
    subject_field = "token"
    token: Token
    account: Account
    organisation: Organisation
    role: AccountRole
    read_only: Annotated[Flag, Field(description="whether it may change nothing")]
    days: Annotated[Count, Field(description="for how many days")]
    by: Annotated[Account, Field(description="the account that made it; `bootstrap`: whoever may use the home")]


class TokenRevoked(Event):
    """A personal token was revoked."""

    type = "gateway:token:revoked"
    subject_field = "token"
    token: Token
    account: Account
    by: Annotated[Account, Field(description="the account that revoked it; `bootstrap`: whoever may use the home")]
