"""The tables of the gateway's database. A change here comes with a revision in `gateway/storage/migrations`.

No column can hold a share, a mask or a feature.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Dialect, ForeignKey, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class Moment(TypeDecorator[datetime]):
    """A time in UTC, which SQLite keeps without its zone."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


class Base(DeclarativeBase):
    type_annotation_map = {datetime: Moment, str: Text}  # noqa: RUF012


class ParticipantRow(Base):
    __tablename__ = "participants"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    role: Mapped[str]
    authority: Mapped[str]  # certificate (PEM) under which its own must be
    invited: Mapped[datetime]
    recorded: Mapped[bool]  # whether the invitation stands in the audit log
    joined: Mapped[datetime | None]
    public_key: Mapped[str | None]
    certificate_sha256: Mapped[str | None]
    head: Mapped[str | None]  # newest signed head of its audit log
    version: Mapped[str | None]  # Privity's, as it said when it connected last
    since: Mapped[datetime | None]  # when that was
    left: Mapped[datetime | None]  # when that connection ended; None while it lasts, or if its gateway died


class CosignedRow(Base):
    """The newest head of a participant's log that another cosigned, as it passed by: neither believed nor verified."""

    __tablename__ = "cosigned"
    log: Mapped[str] = mapped_column(ForeignKey("participants.name"), primary_key=True)
    cosigner: Mapped[str] = mapped_column(ForeignKey("participants.name"), primary_key=True)
    note: Mapped[str]


class DataSetRow(Base):
    __tablename__ = "data_sets"
    owner: Mapped[str] = mapped_column(ForeignKey("participants.name"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    published: Mapped[str]


class SessionRow(Base):
    __tablename__ = "sessions"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), server_default="training")
    state: Mapped[str] = mapped_column(String(16))
    created: Mapped[datetime]
    expires: Mapped[datetime] = mapped_column(index=True)
    plan: Mapped[str]
    contract: Mapped[str]
    fault: Mapped[str | None]
    proposer: Mapped[str | None] = mapped_column(String(64), index=True)  # an organisation; of old sessions not known
    purpose: Mapped[str] = mapped_column(server_default="")  # the contract's
    changes: Mapped[int] = mapped_column(server_default="0")  # how often what is shown of it changed
    __table_args__ = (
        Index("ix_sessions_newest", "created", "digest", "purpose"),  # what is looked through for a text
        Index("ix_sessions_of_state", "state", "created", "digest"),
        Index("ix_sessions_of_kind", "kind", "created", "digest"),
    )


class TakingPartRow(Base):
    """That a contract names a participant; in the order in which it is asked for."""

    __tablename__ = "taking_part"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    session: Mapped[str] = mapped_column(ForeignKey("sessions.digest"), primary_key=True)


class PartnersRow(Base):
    """That a session that concerns `name`, by its contract or because it proposed it, has `other` in its contract."""

    __tablename__ = "partners"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    other: Mapped[str] = mapped_column(String(64), primary_key=True)


class OfParticipant:
    """One JSON document of a participant about a session."""

    session: Mapped[str] = mapped_column(ForeignKey("sessions.digest"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    content: Mapped[str]


class ApprovalRow(OfParticipant, Base):
    __tablename__ = "approvals"


class WithdrawalRow(OfParticipant, Base):
    __tablename__ = "withdrawals"


class ProgressRow(OfParticipant, Base):
    __tablename__ = "progress"


class ReportRow(OfParticipant, Base):
    __tablename__ = "reports"


class WaitingRow(OfParticipant, Base):
    """Why a participant's operator must decide."""

    __tablename__ = "waiting"


class KeyedRow(Base):
    """A proposal that came with an idempotency key. The key is a client's own text: its digest is kept alone."""

    __tablename__ = "keyed_proposals"
    key_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    plan_sha256: Mapped[str]
    session: Mapped[str] = mapped_column(ForeignKey("sessions.digest"))
    at: Mapped[datetime] = mapped_column(index=True)


class TokenRow(Base):
    """A personal token: its digest, never itself."""

    __tablename__ = "tokens"
    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    account: Mapped[str] = mapped_column(String(64), index=True)
    organisation: Mapped[str] = mapped_column(String(64), index=True)
    role: Mapped[str] = mapped_column(String(16))
    is_read_only: Mapped[bool]
    created: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(64))
    expires: Mapped[datetime]
    last_used: Mapped[datetime | None]
    revoked: Mapped[datetime | None]
    revoked_by: Mapped[str | None] = mapped_column(String(64))
    recorded: Mapped[int]  # of its changes, creation and revocation, how many stand in the audit log
