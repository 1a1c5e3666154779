"""Personal tokens as the store keeps them, and what can be read and written of them inside one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.orm import Session

from gateway.access.principal import Principal, Role
from gateway.storage.tables import TokenRow
from parties.agreement.plan import Frozen


class TokenView(Frozen):
    """A personal token, without its secret."""

    id: str
    account: str
    organisation: str
    role: Role
    is_read_only: bool
    created: datetime
    created_by: str
    expires: datetime
    last_used: datetime | None
    revoked: datetime | None
    revoked_by: str | None

    @property
    def scope(self) -> str:
        """What it may, for people."""
        return f"{self.role}{', reads only' if self.is_read_only else ''} of {self.organisation}"

    def holds(self, now: datetime) -> bool:
        return self.revoked is None and now < self.expires

    def standing(self, now: datetime) -> str:
        """Whether it holds, for people."""
        if self.revoked is not None:
            return f"revoked {self.revoked:%Y-%m-%d}"
        return f"{'holds until' if self.holds(now) else 'ended'} {self.expires:%Y-%m-%d}"


@dataclass(frozen=True)
class TokenRecord:
    """One personal token, as it stands."""

    id: str
    sha256: str
    account: str
    organisation: str
    role: Role
    is_read_only: bool
    created: datetime
    created_by: str  # account
    expires: datetime
    last_used: datetime | None = None  # to the minute
    revoked: datetime | None = None
    revoked_by: str | None = None  # account
    recorded: int = 0  # of its changes, creation and revocation, how many stand in the audit log

    def holds(self, now: datetime) -> bool:
        return self.revoked is None and now < self.expires

    def view(self) -> TokenView:
        """What is shown of it: all but its digest."""
        return TokenView.model_validate({name: getattr(self, name) for name in TokenView.model_fields})

    @property
    def principal(self) -> Principal:
        return Principal(self.account, self.organisation, self.role, is_read_only=self.is_read_only, token=self.id)


class Tokens:
    """All personal tokens, in the transaction of one database session."""

    def __init__(self, session: Session, connection: Connection) -> None:
        """`connection` is the session's own."""
        self._session, self._connection = session, connection

    def add(self, record: TokenRecord) -> None:
        self._session.add(TokenRow(**vars(record)))

    def find(self, token_id: str) -> TokenRecord | None:
        self._session.flush()
        found = self._connection.execute(_FIND, {"id": token_id}).one_or_none()
        return None if found is None else _record(cast("TokenRow", found))

    def all(self, *, organisation: str | None = None, account: str | None = None) -> list[TokenRecord]:
        """Those of one organisation, or of one account; oldest first."""
        wanted = select(TokenRow).order_by(TokenRow.created, TokenRow.id)
        if organisation is not None:
            wanted = wanted.where(TokenRow.organisation == organisation)
        if account is not None:
            wanted = wanted.where(TokenRow.account == account)
        return [_record(row) for row in self._session.scalars(wanted)]

    def use(self, token_id: str, now: datetime) -> None:
        self._session.get_one(TokenRow, token_id).last_used = now

    def revoke(self, token_id: str, by: str, now: datetime) -> None:
        row = self._session.get_one(TokenRow, token_id)
        row.revoked, row.revoked_by = now, by

    def unrecorded(self) -> list[TokenRecord]:
        """Those with a change that is not in the audit log yet, oldest first."""
        pending = (TokenRow.recorded < 1) | (TokenRow.revoked.is_not(None) & (TokenRow.recorded < 2))
        return [
            _record(row) for row in self._session.scalars(select(TokenRow).where(pending).order_by(TokenRow.created))
        ]

    def mark_recorded(self, token_id: str, changes: int) -> None:
        self._session.get_one(TokenRow, token_id).recorded = changes


_FIND = select(TokenRow.__table__).where(TokenRow.__table__.c.id == bindparam("id"))  # asked at every request


def _record(row: TokenRow) -> TokenRecord:
    return TokenRecord(
        row.id,
        row.sha256,
        row.account,
        row.organisation,
        cast("Role", row.role),
        row.is_read_only,
        row.created,
        row.created_by,
        row.expires,
        row.last_used,
        row.revoked,
        row.revoked_by,
        row.recorded,
    )
