"""The gateway's durable state: who may come in, what they published, sessions with their signatures and reports.

Guarantees that a transaction is written whole or not at all, also across processes (`gateway invite` writes while the
daemon runs). No column can hold a share, a mask or a feature. The rows of participants pin keys and certificates once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import (
    URL,
    ColumnElement,
    Dialect,
    Engine,
    ForeignKey,
    String,
    Text,
    create_engine,
    delete,
    event,
    exists,
    func,
    select,
    tuple_,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.types import TypeDecorator

from gateway.selection import EVERY, Selection
from parties.errors import SettingsError
from parties.kinds import AnyContract, parse_contract
from parties.lifecycle import FINAL, State
from parties.messages import Envelope, Fault, Finished, Progress, PublishedData

FILE = "gateway.sqlite"
BUSY_S = 10  # how long a transaction waits for another process's

Role = Literal["party", "dealer"]


class _Moment(TypeDecorator[datetime]):
    """A time in UTC, which SQLite keeps without its zone."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


class _Base(DeclarativeBase):
    type_annotation_map = {datetime: _Moment, str: Text}  # noqa: RUF012


class _Participant(_Base):
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


class _DataSet(_Base):
    __tablename__ = "data_sets"
    owner: Mapped[str] = mapped_column(ForeignKey("participants.name"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    published: Mapped[str]


class _Session(_Base):
    __tablename__ = "sessions"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    created: Mapped[datetime] = mapped_column(index=True)
    expires: Mapped[datetime]
    plan: Mapped[str]
    contract: Mapped[str]
    fault: Mapped[str | None]


class _OfParticipant:
    """One JSON document of a participant about a session."""

    session: Mapped[str] = mapped_column(ForeignKey("sessions.digest"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    content: Mapped[str]


class _Approval(_OfParticipant, _Base):
    __tablename__ = "approvals"


class _Withdrawal(_OfParticipant, _Base):
    __tablename__ = "withdrawals"


class _Progress(_OfParticipant, _Base):
    __tablename__ = "progress"


class _Report(_OfParticipant, _Base):
    __tablename__ = "reports"


class _Keyed(_Base):
    """A proposal that came with an idempotency key. The key is a client's own text: its digest is kept alone."""

    __tablename__ = "keyed_proposals"
    key_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    plan_sha256: Mapped[str]
    session: Mapped[str] = mapped_column(ForeignKey("sessions.digest"))
    at: Mapped[datetime] = mapped_column(index=True)


@dataclass(frozen=True)
class Member:
    """A participant as invited and, with key and certificate, as joined."""

    name: str
    role: Role
    authority: str
    invited: datetime
    public_key: str | None
    certificate_sha256: str | None
    head: str | None


@dataclass(frozen=True)
class SessionRecord:
    """The gateway's row of a session."""

    digest: str
    state: State
    created: datetime
    expires: datetime
    text: str  # the contract's canonical JSON
    fault: Fault | None

    @property
    def contract(self) -> AnyContract:
        return _parsed(self.text)

    @property
    def roles(self) -> dict[str, Role]:
        """All participants: the parties in order of rank, the dealer last."""
        roles: dict[str, Role] = {party.name: "party" for party in self.contract.parties}
        return roles | {self.contract.dealer.name: "dealer"}


@lru_cache(maxsize=512)
def _parsed(text: str) -> AnyContract:
    return parse_contract(text.encode())


class Rows:
    """What can be read and written inside one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def member(self, name: str) -> Member | None:
        row = self._session.get(_Participant, name)
        return None if row is None else _member(row)

    def members(self) -> list[Member]:
        return [_member(row) for row in self._session.scalars(select(_Participant).order_by(_Participant.name))]

    def invite(self, name: str, role: Role, authority: str, now: datetime) -> None:
        """Open an invitation; an open one of that name holds no longer.

        Raises: SettingsError if a participant of that name has joined.
        """
        row = self._session.get(_Participant, name)
        if row is not None and row.joined is not None:
            raise SettingsError(f"'{name}' has joined already", action="invite under another name")
        self._session.merge(_Participant(name=name, role=role, authority=authority, invited=now, recorded=False))

    def unrecorded(self) -> list[str]:
        """Names whose invitation is not in the audit log yet."""
        return list(self._session.scalars(select(_Participant.name).where(_Participant.recorded.is_(False))))

    def mark_recorded(self, name: str) -> None:
        self._session.get_one(_Participant, name).recorded = True

    def join(self, name: str, public_key: str, certificate_sha256: str, now: datetime) -> None:
        """Pin key and certificate, once and for all."""
        row = self._session.get_one(_Participant, name)
        row.public_key, row.certificate_sha256, row.joined = public_key, certificate_sha256, now

    def replace_key(self, name: str, public_key: str) -> None:
        """Pin the key to which the pinned one handed over."""
        self._session.get_one(_Participant, name).public_key = public_key

    def set_head(self, name: str, note: str) -> None:
        self._session.get_one(_Participant, name).head = note

    def publish(self, owner: str, data: tuple[PublishedData, ...]) -> None:
        """Replace all that the owner published before."""
        self._session.execute(delete(_DataSet).where(_DataSet.owner == owner))
        for item in {item.table.name: item for item in data}.values():
            self._session.add(_DataSet(owner=owner, name=item.table.name, published=item.model_dump_json()))

    def published(self, owner: str) -> dict[str, PublishedData]:
        found = self._session.scalars(select(_DataSet).where(_DataSet.owner == owner).order_by(_DataSet.name))
        return {row.name: PublishedData.model_validate_json(row.published) for row in found}

    def add_session(self, contract: AnyContract, plan: str) -> SessionRecord:
        row = _Session(
            digest=contract.digest,
            state=State.PROPOSED,
            created=contract.created,
            expires=contract.expires,
            plan=plan,
            contract=contract.canonical().decode(),
        )
        self._session.add(row)
        return _record(row)

    def session(self, digest: str) -> SessionRecord | None:
        row = self._session.get(_Session, digest)
        return None if row is None else _record(row)

    def remember_key(self, key_sha256: str, plan_sha256: str, session: str, now: datetime) -> None:
        self._session.flush()  # the session's own row, to which this one refers
        self._session.add(_Keyed(key_sha256=key_sha256, plan_sha256=plan_sha256, session=session, at=now))

    def forget_keys(self, before: datetime) -> None:
        self._session.execute(delete(_Keyed).where(_Keyed.at < before))

    def keyed(self, key_sha256: str) -> tuple[str, str] | None:
        """Digests of the plan and of the session that this key was used for."""
        row = self._session.get(_Keyed, key_sha256)
        return None if row is None else (row.plan_sha256, row.session)

    def sessions(self, selection: Selection = EVERY) -> list[SessionRecord]:
        """Those selected, newest first; a session must have the cursor's digest."""
        wanted = select(_Session).order_by(_Session.created.desc(), _Session.digest.desc()).limit(selection.limit)
        if selection.states:
            wanted = wanted.where(_Session.state.in_(selection.states))
        if selection.kind is not None:
            wanted = wanted.where(func.json_extract(_Session.contract, "$.kind") == selection.kind)
        if selection.participant is not None:
            wanted = wanted.where(_takes_part(selection.participant))
        if selection.cursor is not None:
            last = self._session.get_one(_Session, selection.cursor)
            wanted = wanted.where(tuple_(_Session.created, _Session.digest) < (last.created, last.digest))
        return [_record(row) for row in self._session.scalars(wanted)]

    def open_sessions(self) -> list[SessionRecord]:
        """Those that are not at their end, oldest first."""
        wanted = select(_Session).where(_Session.state.not_in(FINAL)).order_by(_Session.created)
        return [_record(row) for row in self._session.scalars(wanted)]

    def count_open(self) -> int:
        return self._session.scalar(select(func.count()).where(_Session.state.not_in(FINAL))) or 0

    def unexpired_sessions(self, now: datetime) -> list[SessionRecord]:
        """Those at whose end a daemon may still wait, oldest first."""
        wanted = select(_Session).where((_Session.expires > now) | _Session.state.not_in(FINAL))
        return [_record(row) for row in self._session.scalars(wanted.order_by(_Session.created))]

    def set_state(self, digest: str, state: State, fault: Fault | None = None) -> SessionRecord:
        row = self._session.get_one(_Session, digest)
        row.state = state
        row.fault = None if fault is None else fault.model_dump_json()
        return _record(row)

    def approve(self, digest: str, name: str, envelope: Envelope) -> None:
        self._session.merge(_Approval(session=digest, name=name, content=json.dumps(envelope)))

    def approvals(self, digest: str) -> dict[str, Envelope]:
        return {name: json.loads(content) for name, content in self._documents(_Approval, digest)}

    def withdraw(self, digest: str, name: str, envelope: Envelope) -> None:
        self._session.merge(_Withdrawal(session=digest, name=name, content=json.dumps(envelope)))

    def withdrawals(self, digest: str) -> dict[str, Envelope]:
        return {name: json.loads(content) for name, content in self._documents(_Withdrawal, digest)}

    def withdrawn(self) -> list[SessionRecord]:
        """All sessions from which a party withdrew."""
        digests = select(_Withdrawal.session).distinct()
        wanted = select(_Session).where(_Session.digest.in_(digests)).order_by(_Session.created)
        return [_record(row) for row in self._session.scalars(wanted)]

    def set_progress(self, name: str, progress: Progress) -> None:
        self._session.merge(_Progress(session=progress.session, name=name, content=progress.model_dump_json()))

    def progress(self, digest: str) -> dict[str, Progress]:
        found = self._documents(_Progress, digest)
        return {name: Progress.model_validate_json(content) for name, content in found}

    def report(self, name: str, finished: Finished) -> None:
        self._session.merge(_Report(session=finished.session, name=name, content=finished.model_dump_json()))

    def reports(self, digest: str) -> dict[str, Finished]:
        found = self._documents(_Report, digest)
        return {name: Finished.model_validate_json(content) for name, content in found}

    def _documents(self, kind: type[_OfParticipant], digest: str) -> list[tuple[str, str]]:
        wanted = select(kind.name, kind.content).where(kind.session == digest).order_by(kind.name)
        return [(name, content) for name, content in self._session.execute(wanted)]


def _takes_part(name: str) -> ColumnElement[bool]:
    """That a contract names this participant."""
    party = func.json_each(_Session.contract, "$.parties").table_valued("value")
    is_party = exists().where(func.json_extract(party.c.value, "$.name") == name)
    return is_party | (func.json_extract(_Session.contract, "$.dealer.name") == name)


def _member(row: _Participant) -> Member:
    role: Role = "dealer" if row.role == "dealer" else "party"
    return Member(row.name, role, row.authority, row.invited, row.public_key, row.certificate_sha256, row.head)


def _record(row: _Session) -> SessionRecord:
    fault = None if row.fault is None else Fault.model_validate_json(row.fault)
    return SessionRecord(row.digest, State(row.state), row.created, row.expires, row.contract, fault)


class Store:
    """One SQLite file. A transaction takes the write lock at its begin: what it read stays true until it commits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, home: Path) -> Store:
        """Raises: SettingsError if the file can't be opened or is no such store."""
        path = home / FILE
        engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_S})
        event.listen(engine, "connect", _tune)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        try:
            _Base.metadata.create_all(engine)
        except SQLAlchemyError as exc:
            raise SettingsError(f"{path} can't be opened as a store", action="restore it from a backup") from exc
        path.chmod(0o600)
        return cls(engine)

    @contextmanager
    def transaction(self) -> Iterator[Rows]:
        """Everything inside is committed at the end, or, if it raises, nothing is."""
        with Session(self._engine) as session, session.begin():
            yield Rows(session)

    def authorities(self, now: datetime, invitation_hours: int) -> bytes:
        """Certificates (PEM) that TLS trusts: of those who joined and of invitations still open."""
        oldest = now - timedelta(hours=invitation_hours)
        wanted = select(_Participant.authority).where(
            _Participant.joined.is_not(None) | (_Participant.invited >= oldest)
        )
        with Session(self._engine) as session, session.begin():
            return "".join(session.scalars(wanted.order_by(_Participant.name))).encode()

    def close(self) -> None:
        """Afterwards the file is complete by itself."""
        self._engine.dispose()


def _tune(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `begin` says, not at the first write
    for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")
