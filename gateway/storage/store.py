"""The gateway's durable state: who may come in, what they published, sessions with their signatures and reports.

Guarantees that a transaction is written whole or not at all, also across processes (`gateway invite` writes while the
daemon runs).
The rows of participants pin keys and certificates once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    CursorResult,
    Engine,
    Executable,
    Integer,
    Select,
    bindparam,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session

from gateway.coordination.course import Course
from gateway.storage.bell import Bell
from gateway.storage.database import connect, reachable, reading
from gateway.storage.link_rows import Links
from gateway.storage.login_rows import Logins
from gateway.storage.neighbours import CHANNEL, Neighbours
from gateway.storage.selection import EVERY, Selection
from gateway.storage.tables import (
    ApprovalRow,
    CosignedRow,
    DataSetRow,
    KeyedRow,
    OfParticipant,
    ParticipantRow,
    PartnersRow,
    ProgressRow,
    ReportRow,
    SessionRow,
    TakingPartRow,
    WaitingRow,
    WithdrawalRow,
)
from gateway.storage.token_rows import Tokens
from parties.agreement.kinds import AnyContract, Kind, parse_contract
from parties.errors import SettingsError
from parties.service.lifecycle import FINAL, State
from parties.service.messages import Envelope, Fault, Finished, PublishedData

Role = Literal["party", "dealer"]
OPEN = tuple(state for state in State if state not in FINAL)


@dataclass(frozen=True)
class Member:
    """A participant as invited and, with key and certificate, as joined."""

    name: str
    role: Role
    authority: str
    invited: datetime
    joined: datetime | None
    public_key: str | None
    certificate_sha256: str | None
    head: str | None
    version: str | None  # Privity's, as it said when it connected last
    since: datetime | None  # when that was
    left: datetime | None  # when that connection ended


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
    def outline(self) -> Outline:
        return _outlined(self.text)

    @property
    def roles(self) -> dict[str, Role]:
        """All participants: the parties in order of rank, the dealer last."""
        return self.outline.roles


@dataclass(frozen=True)
class Mark:
    """A session, and how often it changed: what was made of it holds as long as this stays."""

    digest: str
    changes: int


@dataclass(frozen=True)
class Outline:
    """What lists show of a contract; read without checking, since it was checked when it was stored."""

    kind: Kind
    purpose: str
    roles: dict[str, Role]


@dataclass
class Said:
    """All that participants said about one session, by name."""

    approved: set[str] = field(default_factory=set)
    withdrew: list[str] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)  # why an operator must decide
    progress: dict[str, Course] = field(default_factory=dict)
    reports: dict[str, Finished] = field(default_factory=dict)

    def take(self, table: str, name: str, content: str) -> None:
        """A row of one of its tables."""
        match table:
            case ApprovalRow.__tablename__:
                self.approved.add(name)
            case WithdrawalRow.__tablename__:
                self.withdrew.append(name)
            case WaitingRow.__tablename__:
                self.waiting[name] = content
            case ProgressRow.__tablename__:
                self.progress[name] = Course.model_validate_json(content)
            case ReportRow.__tablename__:
                self.reports[name] = Finished.model_validate_json(content)


@lru_cache(maxsize=512)
def _parsed(text: str) -> AnyContract:
    return parse_contract(text.encode())


@lru_cache(maxsize=4096)
def _outlined(text: str) -> Outline:
    contract = json.loads(text)
    roles: dict[str, Role] = {party["name"]: "party" for party in contract["parties"]}
    return Outline(contract["kind"], contract["purpose"], roles | {contract["dealer"]["name"]: "dealer"})


@lru_cache(maxsize=512)
def _published(text: str) -> PublishedData:
    return PublishedData.model_validate_json(text)


class Rows:
    """What can be read and written inside one transaction."""

    def __init__(self, session: Session, connection: Connection) -> None:
        """`connection` is the session's own, for what is asked so often that mapping rows to objects counts."""
        self._session, self._connection = session, connection
        self.tokens, self.logins, self.links = Tokens(session, connection), Logins(session, connection), Links(session)
        self.gateways = Neighbours(session)

    def names(self) -> list[str]:
        """Of all participants."""
        return list(self._session.scalars(select(ParticipantRow.name).order_by(ParticipantRow.name)))

    def member(self, name: str) -> Member | None:
        row = self._session.get(ParticipantRow, name)
        return None if row is None else _member(row)

    def members(self) -> list[Member]:
        return [_member(row) for row in self._session.scalars(select(ParticipantRow).order_by(ParticipantRow.name))]

    def invite(self, name: str, role: Role, authority: str, now: datetime) -> None:
        """Open an invitation; an open one of that name holds no longer.

        Raises: SettingsError if a participant of that name has joined.
        """
        row = self._session.get(ParticipantRow, name)
        if row is not None and row.joined is not None:
            raise SettingsError(f"'{name}' has joined already", action="invite under another name")
        self._session.merge(ParticipantRow(name=name, role=role, authority=authority, invited=now, recorded=False))

    def unrecorded(self) -> list[str]:
        """Names whose invitation is not in the audit log yet."""
        return list(self._session.scalars(select(ParticipantRow.name).where(ParticipantRow.recorded.is_(False))))

    def mark_recorded(self, name: str) -> None:
        self._session.get_one(ParticipantRow, name).recorded = True

    def join(self, name: str, public_key: str, certificate_sha256: str, now: datetime) -> None:
        """Pin key and certificate, once and for all."""
        row = self._session.get_one(ParticipantRow, name)
        row.public_key, row.certificate_sha256, row.joined = public_key, certificate_sha256, now

    def replace_key(self, name: str, public_key: str) -> None:
        """Pin the key to which the pinned one handed over."""
        self._session.get_one(ParticipantRow, name).public_key = public_key

    def set_head(self, name: str, note: str) -> None:
        self._session.get_one(ParticipantRow, name).head = note

    def came(self, name: str, version: str, now: datetime) -> None:
        """It connected, with this release."""
        row = self._session.get_one(ParticipantRow, name)
        row.version, row.since, row.left = version, now, None

    def left(self, name: str, now: datetime) -> None:
        """Its connection ended."""
        self._session.get_one(ParticipantRow, name).left = now

    def keep_cosigned(self, log: str, cosigner: str, note: str) -> None:
        """The newest of each cosigner's."""
        self._session.merge(CosignedRow(log=log, cosigner=cosigner, note=note))

    def cosigned(self) -> dict[str, tuple[str, ...]]:
        """Notes by log, one of each cosigner's."""
        found: dict[str, tuple[str, ...]] = {}
        wanted = select(CosignedRow.log, CosignedRow.note).order_by(CosignedRow.log, CosignedRow.cosigner)
        for log, note in self._session.execute(wanted):
            found[log] = (*found.get(log, ()), note)
        return found

    def publish(self, owner: str, data: tuple[PublishedData, ...]) -> None:
        """Replace all that the owner published before."""
        self._session.execute(delete(DataSetRow).where(DataSetRow.owner == owner))
        for item in {item.table.name: item for item in data}.values():
            self._session.add(DataSetRow(owner=owner, name=item.table.name, published=item.model_dump_json()))

    def published(self, owner: str) -> dict[str, PublishedData]:
        found = self._session.scalars(select(DataSetRow).where(DataSetRow.owner == owner).order_by(DataSetRow.name))
        return {row.name: _published(row.published) for row in found}

    def published_by_owner(self) -> dict[str, tuple[PublishedData, ...]]:
        """Of all that publish anything."""
        found: dict[str, tuple[PublishedData, ...]] = {}
        wanted = select(DataSetRow.owner, DataSetRow.published).order_by(DataSetRow.owner, DataSetRow.name)
        for owner, text in self._session.execute(wanted):
            found[owner] = (*found.get(owner, ()), _published(text))
        return found

    def add_session(self, contract: AnyContract, plan: str, proposer: str) -> SessionRecord:
        """`proposer` is the organisation that proposed it, which may see it as those of the contract may."""
        canonical = contract.canonical()
        row = SessionRow(
            digest=hashlib.sha256(canonical).hexdigest(),
            kind=contract.kind,
            state=State.PROPOSED,
            created=contract.created,
            expires=contract.expires,
            plan=plan,
            contract=canonical.decode(),
            proposer=proposer,
            purpose=contract.purpose,
            changes=0,
        )
        record = _record(row)
        self._session.add(row)
        self._session.flush()  # before the rows that refer to it
        self._session.add_all(TakingPartRow(name=name, session=record.digest) for name in record.roles)
        self._acquaint(record.roles, {*record.roles, proposer})
        return record

    def _acquaint(self, taking_part: Collection[str], concerned: Collection[str]) -> None:
        """Those whom a session concerns have all who take part in it as partners."""
        wanted = select(PartnersRow.name, PartnersRow.other).where(PartnersRow.name.in_(concerned))
        known = {(name, other) for name, other in self._session.execute(wanted)}
        fresh = {(name, other) for name in concerned for other in taking_part} - known
        self._session.add_all(PartnersRow(name=name, other=other) for name, other in sorted(fresh))

    def session(self, digest: str) -> SessionRecord | None:
        row = self._session.get(SessionRow, digest)
        return None if row is None else _record(row)

    def records(self, digests: Sequence[str]) -> list[SessionRecord]:
        """Of these sessions those that there are, in no order."""
        return [_record(row) for row in self._session.scalars(_RECORDS, {"digests": digests})]

    def mark(self, digest: str, organisation: str | None = None) -> Mark | None:
        """None if there is no such session of this organisation's: by its contract, or because it proposed it."""
        asked, of = (_MARK, {}) if organisation is None else (_MARK_OF, {"organisation": organisation})
        found = self._ask(asked, {"digest": digest, **of}).one_or_none()
        return None if found is None else Mark(*found)

    def _ask(self, statement: Executable, values: Mapping[str, object]) -> CursorResult[*tuple[Any, ...]]:
        """Past the session, which has nothing in mind by then that is not written."""
        self._session.flush()
        return self._connection.execute(statement, values)

    def contract(self, digest: str) -> str:
        """Its canonical JSON. Requires: there is such a session."""
        return str(self._ask(_CONTRACT, {"digest": digest}).scalar_one())

    def partners(self, organisation: str) -> set[str]:
        """All organisations with which this one has a session, itself too."""
        return {organisation, *self._ask(_PARTNERS, {"name": organisation}).scalars()}

    def remember_key(self, key_sha256: str, plan_sha256: str, session: str, now: datetime) -> None:
        self._session.add(KeyedRow(key_sha256=key_sha256, plan_sha256=plan_sha256, session=session, at=now))

    def forget_keys(self, before: datetime) -> None:
        self._session.execute(delete(KeyedRow).where(KeyedRow.at < before))

    def keyed(self, key_sha256: str) -> tuple[str, str] | None:
        """Digests of the plan and of the session that this key was used for."""
        row = self._session.get(KeyedRow, key_sha256)
        return None if row is None else (row.plan_sha256, row.session)

    def marks(self, selection: Selection = EVERY) -> list[Mark]:
        """Those selected, newest first; a session must have the cursor's digest."""
        asked = {name: value for name, value in vars(selection).items() if value not in {None, ()}}
        if selection.cursor is not None:
            asked["created"] = self._ask(_CREATED, {"digest": selection.cursor}).scalar_one()
        if selection.text is not None:
            asked["text"] = re.sub("([/%_])", r"/\1", selection.text)  # LIKE's own signs are meant as they stand
        return [Mark(digest, changes) for digest, changes in self._ask(_listed(frozenset(asked)), asked)]

    def open_sessions(self, participant: str | None = None) -> list[SessionRecord]:
        """Those that are not at their end, of all or of one participant, oldest first."""
        wanted = select(SessionRow).where(SessionRow.state.in_(OPEN)).order_by(SessionRow.created)
        if participant is not None:
            wanted = wanted.where(_takes_part(participant))
        return [_record(row) for row in self._session.scalars(wanted)]

    def count_open(self) -> int:
        return self._session.scalar(select(func.count()).where(SessionRow.state.in_(OPEN))) or 0

    def count_by_state(self) -> dict[State, int]:
        """Of every state, also those that no session is in."""
        found = self._session.execute(select(SessionRow.state, func.count()).group_by(SessionRow.state))
        return dict.fromkeys(State, 0) | {State(state): count for state, count in found}

    def unexpired_sessions(self, participant: str, now: datetime) -> list[SessionRecord]:
        """Those of a participant's at whose end its daemon may still wait, oldest first."""
        wanted = select(SessionRow).where((SessionRow.expires > now) | SessionRow.state.in_(OPEN))
        wanted = wanted.where(_takes_part(participant)).order_by(SessionRow.created)
        return [_record(row) for row in self._session.scalars(wanted)]

    def set_state(self, digest: str, state: State, fault: Fault | None = None) -> SessionRecord:
        row = self._changed(digest)
        row.state = state
        row.fault = None if fault is None else fault.model_dump_json()
        return _record(row)

    def _changed(self, digest: str) -> SessionRow:
        """Whoever shows it looks at it again."""
        row = self._session.get_one(SessionRow, digest)
        row.changes += 1
        return row

    def approve(self, digest: str, name: str, envelope: Envelope) -> None:
        self._changed(digest)
        self._session.merge(ApprovalRow(session=digest, name=name, content=json.dumps(envelope)))

    def approvals(self, digest: str) -> dict[str, Envelope]:
        return {name: json.loads(content) for name, content in self._documents(ApprovalRow, digest)}

    def wait(self, digest: str, name: str, reason: str) -> None:
        self._changed(digest)
        self._session.merge(WaitingRow(session=digest, name=name, content=reason))

    def wait_no_more(self, digest: str, name: str | None = None) -> None:
        """One participant of a session or, without a name, all."""
        self._changed(digest)
        those = delete(WaitingRow).where(WaitingRow.session == digest)
        self._session.execute(those if name is None else those.where(WaitingRow.name == name))

    def waiting(self, digest: str) -> dict[str, str]:
        """Why operators must decide, by participant."""
        return dict(self._documents(WaitingRow, digest))

    def count_waiting(self) -> int:
        """Approvals that wait for an operator."""
        return self._session.scalar(select(func.count()).select_from(WaitingRow)) or 0

    def withdraw(self, digest: str, name: str, envelope: Envelope) -> None:
        self._changed(digest)
        self._session.merge(WithdrawalRow(session=digest, name=name, content=json.dumps(envelope)))

    def withdrawals(self, digest: str) -> dict[str, Envelope]:
        return {name: json.loads(content) for name, content in self._documents(WithdrawalRow, digest)}

    def withdrawn_beside(self, name: str) -> list[tuple[str, str, Envelope]]:
        """Every withdrawal of another party from a session of this participant's: session, party and its word."""
        wanted = (
            select(WithdrawalRow.session, WithdrawalRow.name, WithdrawalRow.content)
            .join(SessionRow, SessionRow.digest == WithdrawalRow.session)
            .where(_takes_part(name), WithdrawalRow.name != name)
            .order_by(SessionRow.created, WithdrawalRow.name)
        )
        return [(digest, other, json.loads(content)) for digest, other, content in self._session.execute(wanted)]

    def plan(self, digest: str) -> str:
        """The JSON of what a session was proposed by."""
        return self._session.get_one(SessionRow, digest).plan

    def set_progress(self, name: str, progress: Course) -> None:
        self._changed(progress.session)
        self._session.merge(ProgressRow(session=progress.session, name=name, content=progress.model_dump_json()))

    def progress(self, digest: str) -> dict[str, Course]:
        found = self._documents(ProgressRow, digest)
        return {name: Course.model_validate_json(content) for name, content in found}

    def report(self, name: str, finished: Finished) -> None:
        self._changed(finished.session)
        self._session.merge(ReportRow(session=finished.session, name=name, content=finished.model_dump_json()))

    def reports(self, digest: str) -> dict[str, Finished]:
        found = self._documents(ReportRow, digest)
        return {name: Finished.model_validate_json(content) for name, content in found}

    def said(self, digests: Sequence[str]) -> dict[str, Said]:
        """Of each of these sessions. Cost: one query."""
        found = {digest: Said() for digest in digests}
        for table, session, name, content in self._ask(_SAID, {"digests": digests}):
            found[session].take(table, name, content)
        return found

    def _documents(self, kind: type[OfParticipant], digest: str) -> list[tuple[str, str]]:
        wanted = select(kind.name, kind.content).where(kind.session == digest).order_by(kind.name)
        return [(name, content) for name, content in self._session.execute(wanted)]


def _takes_part(name: str | BindParameter[str]) -> ColumnElement[bool]:
    """That a session's contract names this participant."""
    return exists().where(TakingPartRow.name == name, TakingPartRow.session == SessionRow.digest)


def _concerns(organisation: str | BindParameter[str]) -> ColumnElement[bool]:
    """That an organisation may see a session: its contract names it, or it proposed it."""
    return or_(_takes_part(organisation), SessionRow.proposer == organisation)


@lru_cache(maxsize=256)
def _listed(given: frozenset[str]) -> Select[str, int]:
    """The statement for selections of which these parts are given."""
    parts: dict[str, Callable[[], ColumnElement[bool]]] = {
        "states": lambda: SessionRow.state.in_(bindparam("states", expanding=True)),
        "kind": lambda: SessionRow.kind == bindparam("kind"),
        "participant": lambda: _takes_part(bindparam("participant")),
        "organisation": lambda: _concerns(bindparam("organisation")),
        "text": lambda: or_(
            SessionRow.digest.istartswith(bindparam("text"), escape="/"),
            SessionRow.purpose.icontains(bindparam("text"), escape="/"),
        ),
        "cursor": lambda: (
            tuple_(SessionRow.created, SessionRow.digest)
            < tuple_(bindparam("created", type_=SessionRow.created.type), bindparam("cursor"))
        ),
    }
    wanted = select(SessionRow.digest, SessionRow.changes)
    for name in parts.keys() & given:
        wanted = wanted.where(parts[name]())
    newest_first = wanted.order_by(SessionRow.created.desc(), SessionRow.digest.desc())
    return newest_first.limit(bindparam("limit", type_=Integer)) if "limit" in given else newest_first


def _said_in(
    kind: type[ApprovalRow | WithdrawalRow | WaitingRow | ProgressRow | ReportRow],
) -> Select[*tuple[str, ...]]:
    content = literal("") if issubclass(kind, (ApprovalRow, WithdrawalRow)) else kind.content
    wanted = select(literal(kind.__tablename__), kind.session, kind.name.label("name"), content)
    return wanted.where(kind.session.in_(bindparam("digests", expanding=True)))


# What is asked most: building these statements would take longer than asking them.
_MARK = select(SessionRow.digest, SessionRow.changes).where(SessionRow.digest == bindparam("digest"))
_MARK_OF = _MARK.where(_concerns(bindparam("organisation")))
_PARTNERS = select(PartnersRow.other).where(PartnersRow.name == bindparam("name"))
_CREATED = select(SessionRow.created).where(SessionRow.digest == bindparam("digest"))
_CONTRACT = select(SessionRow.contract).where(SessionRow.digest == bindparam("digest"))
_RECORDS = select(SessionRow).where(SessionRow.digest.in_(bindparam("digests", expanding=True)))
_KINDS = (ApprovalRow, WithdrawalRow, WaitingRow, ProgressRow, ReportRow)
_SAID = union_all(*[_said_in(kind) for kind in _KINDS]).order_by("name")


def _member(row: ParticipantRow) -> Member:
    role: Role = "dealer" if row.role == "dealer" else "party"
    return Member(
        name=row.name,
        role=role,
        authority=row.authority,
        invited=row.invited,
        joined=row.joined,
        public_key=row.public_key,
        certificate_sha256=row.certificate_sha256,
        head=row.head,
        version=row.version,
        since=row.since,
        left=row.left,
    )


def _record(row: SessionRow) -> SessionRecord:
    fault = None if row.fault is None else Fault.model_validate_json(row.fault)
    return SessionRecord(row.digest, State(row.state), row.created, row.expires, row.contract, fault)


class Store:
    """The gateway's database. What a transaction read stays true until it commits: it locks before it first reads."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._reading = engine, reading(engine)
        self.is_shared = engine.dialect.name != "sqlite"  # by several gateways

    @classmethod
    def open(cls, home: Path, database: str = "") -> Store:
        """The home's own file, or the database of this URL.

        Raises: SettingsError if it can't be opened, is no such store, or is of another revision.
        """
        return cls(connect(home, database))

    @contextmanager
    def transaction(self) -> Iterator[Rows]:
        """Everything inside is committed at the end, or, if it raises, nothing is. Raises: StoreAway."""
        with reachable(), Session(self._engine) as session, session.begin():
            yield Rows(session, session.connection())

    @contextmanager
    def reading(self) -> Iterator[Rows]:
        """What was committed at its begin, all of one moment; it waits for nobody. Raises: StoreAway."""
        with reachable(), self._reading.begin() as connection, Session(connection) as session:
            yield Rows(session, connection)

    def authorities(self, now: datetime, invitation_hours: int) -> bytes:
        """Certificates (PEM) that TLS trusts: of those who joined and of invitations still open. Raises: StoreAway."""
        oldest = now - timedelta(hours=invitation_hours)
        wanted = select(ParticipantRow.authority).where(
            ParticipantRow.joined.is_not(None) | (ParticipantRow.invited >= oldest)
        )
        with reachable(), Session(self._reading) as session, session.begin():
            return "".join(session.scalars(wanted.order_by(ParticipantRow.name))).encode()

    def bell(self, gateway: str) -> Bell:
        """What rings when another gateway left something for this one. Raises: StoreAway."""
        return Bell(self._engine, CHANNEL + gateway)

    def close(self) -> None:
        """Afterwards a file is complete by itself."""
        self._engine.dispose()
