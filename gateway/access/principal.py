"""Who makes a request: an account, the organisation that it acts for, and the role in which it acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypedDict, get_args

Role: TypeAlias = Literal["analyst", "operator", "compliance", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
CONSORTIUM: Final = "consortium"  # the organisation of those who run the gateway; no participant may be called so


class Recorded(TypedDict):
    """Who did something, as events say it."""

    account: str
    organisation: str
    role: Role


@dataclass(frozen=True)
class Principal:
    """Whoever is logged in. `account` stands in the audit log; `name` is for people, and may be any text."""

    account: str
    organisation: str  # a participant's name, or `consortium`
    role: Role
    is_read_only: bool = False
    name: str = ""  # as an identity provider tells it; empty: the account's
    token: str = ""  # id of the personal token that let it in, directly or by a login; empty: none did

    @property
    def shown_name(self) -> str:
        return self.name or self.account

    @property
    def sees(self) -> str | None:
        """The organisation to whose sessions it is confined; None for those who oversee the gateway: they see all."""
        is_overseer = self.organisation == CONSORTIUM and self.role in {"admin", "compliance"}
        return None if is_overseer else self.organisation

    @property
    def recorded(self) -> Recorded:
        """As events of the audit log name it."""
        return {"account": self.account, "organisation": self.organisation, "role": self.role}

    @property
    def in_words(self) -> str:
        titles = {"compliance": "the compliance officer", "admin": "an administrator"}
        return f"{titles.get(self.role, f'an {self.role}')} of {self.organisation}"


BOOTSTRAP: Final = Principal("bootstrap", CONSORTIUM, "admin")  # whoever holds the token that `gateway init` wrote
