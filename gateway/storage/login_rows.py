"""Browsers' logins as the store keeps them: digests of codes and cookies, never themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal, get_args

from pydantic import TypeAdapter
from sqlalchemy import Connection, Index, String, bindparam, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from gateway.access.principal import Principal
from gateway.storage.tables import Base

Kind = Literal["code", "cookie"]
# Cookies that were ended beside the daemon, by the operator or with their token, until the audit log has that.
Ended = Literal["ended", "revoked"]
MOST = 10_000  # of each kind at once; of more the oldest is forgotten
_PRINCIPAL: TypeAdapter[Principal] = TypeAdapter(Principal)
_ENDED: TypeAdapter[Ended] = TypeAdapter(Ended)
_PUT_OUT: Final[Ended] = "ended"
_REVOKED: Final[Ended] = "revoked"


class LoginRow(Base):
    __tablename__ = "logins"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(8))
    until: Mapped[datetime]
    principal: Mapped[str]
    __table_args__ = (Index("ix_logins_of_kind", "kind", "until"),)


class Logins:
    """All of them, in the transaction of one database session."""

    def __init__(self, session: Session, connection: Connection) -> None:
        """`connection` is the session's own."""
        self._session, self._connection = session, connection

    def add(self, kind: Kind, sha256: str, principal: Principal, until: datetime, now: datetime) -> None:
        """Another, and forget those that are over."""
        self._session.execute(delete(LoginRow).where(LoginRow.until <= now, LoginRow.kind.in_(get_args(Kind))))
        content = _PRINCIPAL.dump_json(principal).decode()
        self._session.add(LoginRow(sha256=sha256, kind=kind, until=until, principal=content))
        self._session.flush()
        oldest = (
            select(LoginRow.sha256).where(LoginRow.kind == kind).order_by(LoginRow.until.desc(), LoginRow.sha256)
        ).offset(MOST)
        self._session.execute(delete(LoginRow).where(LoginRow.sha256.in_(oldest)))

    def find(self, kind: Kind, sha256: str, now: datetime) -> Principal | None:
        """None if there is none, or it is over."""
        found = self._connection.execute(_FIND, {"sha256": sha256, "kind": kind, "now": now}).scalar_one_or_none()
        return None if found is None else _PRINCIPAL.validate_json(found)

    def take(self, kind: Kind, sha256: str, now: datetime) -> Principal | None:
        """The same, and it is over."""
        found = self.find(kind, sha256, now)
        self._session.execute(delete(LoginRow).where(LoginRow.sha256 == sha256, LoginRow.kind == kind))
        return found

    def end_all(self) -> int:
        """End all; tells how many cookies there were."""
        self._session.execute(delete(LoginRow).where(LoginRow.kind == "code"))
        cookies = update(LoginRow).where(LoginRow.kind == "cookie").values(kind=_PUT_OUT)
        return len(self._session.execute(cookies.returning(LoginRow.sha256)).all())

    def end_of(self, token: str) -> None:
        """End those that were asked for by a token, which is over itself."""
        rows = self._session.execute(select(LoginRow.sha256, LoginRow.principal).where(LoginRow.kind == "cookie"))
        found = [sha256 for sha256, principal in rows if _PRINCIPAL.validate_json(principal).token == token]
        self._session.execute(update(LoginRow).where(LoginRow.sha256.in_(found)).values(kind=_REVOKED))

    def ended(self) -> list[tuple[Ended, Principal]]:
        """Cookies of which the audit log does not have the end yet."""
        found = self._connection.execute(select(LoginRow.kind, LoginRow.principal).where(_IS_ENDED))
        return [(_ENDED.validate_python(kind), _PRINCIPAL.validate_json(principal)) for kind, principal in found]

    def forget_ended(self) -> None:
        """The audit log has them."""
        self._session.execute(delete(LoginRow).where(_IS_ENDED))


_IS_ENDED = LoginRow.kind.in_(get_args(Ended))
_FIND = select(LoginRow.principal).where(
    LoginRow.sha256 == bindparam("sha256"),
    LoginRow.kind == bindparam("kind"),
    LoginRow.until > bindparam("now", type_=LoginRow.until.type),
)
