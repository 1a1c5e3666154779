"""Personal tokens as one account sees them: its own or, of an administrator, those of its organisation.

Nobody makes a token that may more, or holds longer, than what let them in. A login by the identity provider, which ends
within the day, makes none.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError

from gateway.access.accounts import MAX_DAYS, OF_PROVIDER, USUAL_DAYS, Accounts, TokenAsked
from gateway.access.principal import CONSORTIUM, Principal, Role
from gateway.access.tokens import PersonalToken
from gateway.errors import Forbidden
from gateway.storage.token_rows import TokenRecord
from parties.agreement.plan import Frozen, Name, explain
from parties.errors import SettingsError


class TokenWanted(Frozen):
    """A personal token as an account asks for it; what is left out is as the account's own."""

    account: Annotated[Name | None, Field(description="an administrator may name another of its organisation")] = None
    organisation: Annotated[Name | None, Field(description="an administrator of the consortium may name any")] = None
    role: Annotated[Role | None, Field(description="an administrator may name any")] = None
    is_read_only: Annotated[bool, Field(description="whether it may change nothing")] = False
    days: Annotated[
        Annotated[int, Field(ge=1, le=MAX_DAYS)] | None,
        Field(description=f"for which it holds; left out: {USUAL_DAYS}, or until what asks for it ends"),
    ] = None


def wanted(**fields: Any) -> TokenWanted:
    """Raises: SettingsError if a name can't be one, or the time is too long."""
    try:
        return TokenWanted(**fields)
    except ValidationError as exc:
        raise SettingsError(f"no such token can be made: {explain(exc)}", action="mend what is named") from exc


class SeenTokens:
    """All that this account may do with personal tokens."""

    def __init__(self, accounts: Accounts, principal: Principal) -> None:
        self._accounts, self._by = accounts, principal

    @property
    def administers(self) -> bool:
        """Whether it sees tokens of other accounts than its own."""
        return self._by.role == "admin"

    @property
    def makes(self) -> bool:
        """Whether it may make tokens at all."""
        return not (self._by.is_read_only or self._by.account.startswith(OF_PROVIDER))

    @property
    def most_days(self) -> int:
        """For which a token may hold; none if what let it in ends within a day."""
        until = self._accounts.ends(self._by.token)
        return MAX_DAYS if until is None else min(MAX_DAYS, (until - self._accounts.now()).days)

    def all(self) -> list[TokenRecord]:
        """Those that it sees, oldest first."""
        return self._accounts.all(organisation=self._organisation, account=self._account)

    def make(self, wanted: TokenWanted, key: str | None = None) -> tuple[PersonalToken, TokenRecord]:
        """Raises: Forbidden for a token that may or holds more; BadToken for one that can't be; KeyReused."""
        self._check(wanted)
        asked = TokenAsked(
            account=wanted.account or self._by.account,
            organisation=wanted.organisation or self._by.organisation,
            role=wanted.role or self._by.role,
            is_read_only=wanted.is_read_only,
            days=self._days(wanted.days),
        )
        return self._accounts.create(asked, self._by.account, self._accounts.ends(self._by.token), key)

    def revoke(self, token_id: str) -> TokenRecord:
        """Raises: NotFound, also for one that it does not see."""
        return self._accounts.revoke(token_id, self._by.account, organisation=self._organisation, account=self._account)

    @property
    def _organisation(self) -> str | None:
        """To whose tokens it is confined; None for the consortium's administrators."""
        return None if self.administers and self._by.organisation == CONSORTIUM else self._by.organisation

    @property
    def _account(self) -> str | None:
        return None if self.administers else self._by.account

    def _check(self, wanted: TokenWanted) -> None:
        """Raises: Forbidden."""
        if not self.makes:
            raise Forbidden(
                "a login by the identity provider makes no tokens, which would outlast it",
                action="ask the gateway's operator for one: `privity gateway token create`",
            )
        allowed = {
            "account": (wanted.account, self._account),
            "organisation": (wanted.organisation, self._organisation),
            "role": (wanted.role, None if self.administers else self._by.role),
        }
        for what, (named, own) in allowed.items():
            if own is not None and named not in {None, own}:
                raise Forbidden(f"{what}: it can't be another than your own, {own}", action="ask an administrator")

    def _days(self, wanted: int | None) -> int:
        """Raises: Forbidden."""
        most = self.most_days
        days = min(USUAL_DAYS, most) if wanted is None else wanted
        if not 1 <= days <= most:
            raise Forbidden(
                f"days: a token holds no longer than yours, which ends within {most + 1} days",
                action=f"ask for {most} days at most" if most else "ask an administrator for a new one",
            )
        return days
