"""A daemon's durable state: which contracts it has answered and where each session stands.

A digest is accepted once and an epoch begins once, whatever happens in between: both are committed before anything is
signed or started.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from parties.errors import LifecycleError, SettingsError
from parties.service.lifecycle import FINAL, State, Step, advance
from parties.service.messages import Fault

_METADATA = MetaData()
_SESSIONS = Table(
    "sessions",
    _METADATA,
    Column("digest", String, primary_key=True),
    Column("contract", String, nullable=False),
    Column("state", String, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("received", String, nullable=False),
    Column("fault", String, nullable=False),
    Index("ix_sessions_state", "state", "received", "digest"),  # contracts are long; most questions need none
)


def _signed(what: str, *more: Column[Any]) -> Table:
    """A table of what participants signed of a session, an envelope each."""
    session, name = (Column(key, String, primary_key=True) for key in ("digest", "name"))
    return Table(what, _METADATA, session, name, Column("envelope", String, nullable=False), *more)


_APPROVALS = _signed("approvals")
_WITHDRAWALS = _signed("withdrawals", Column("recorded", Boolean, nullable=False))  # in the audit log
_TRANSCRIPTS = _signed("transcripts")
_COMMITMENTS = _signed("commitments", Column("stage", Integer, primary_key=True))


@dataclass(frozen=True)
class Session:
    """One row: this participant's own view of a session."""

    digest: str
    contract: str
    state: State
    epoch: int  # the last epoch that began; 0: none yet
    received: str
    fault: Fault | None


def open_engine(path: Path, tables: MetaData) -> Engine:
    """An SQLite file with these tables, in which every change is one committed transaction."""
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _durable)
    event.listen(engine, "begin", _begin)
    tables.create_all(engine)
    return engine


class SessionStore:
    """Sessions in SQLite; every change is one committed transaction."""

    def __init__(self, path: Path) -> None:
        self._engine = open_engine(path, _METADATA)

    def receive(self, digest: str, contract: str) -> None:
        """Raises: LifecycleError if this contract came before."""
        row = {
            "digest": digest,
            "contract": contract,
            "state": State.PROPOSED.value,
            "epoch": 0,
            "received": datetime.now(UTC).isoformat(),
            "fault": "",
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(_SESSIONS).values(**row))
        except IntegrityError as exc:
            raise LifecycleError(f"session {digest[:12]} was received before") from exc

    def find(self, digest: str) -> Session | None:
        with self._engine.begin() as connection:
            row = connection.execute(select(_SESSIONS).where(_SESSIONS.c.digest == digest)).one_or_none()
        return None if row is None else _session(row)

    def get(self, digest: str) -> Session:
        """The one session whose digest begins so. Raises: LifecycleError if there is none, or several."""
        with self._engine.begin() as connection:
            rows = connection.execute(
                select(_SESSIONS).where(_SESSIONS.c.digest.startswith(digest, autoescape=True))
            ).all()
        if len(rows) != 1 or not digest:
            raise LifecycleError(
                f"{len(rows)} sessions begin with '{digest[:64]}'",
                action="`privity node status`, or `privity dealer status`, lists them",
            )
        return _session(rows[0])

    def count_by_state(self) -> dict[State, int]:
        """Of every state, also those that no session is in."""
        wanted = select(_SESSIONS.c.state, func.count()).group_by(_SESSIONS.c.state)
        with self._engine.begin() as connection:
            return dict.fromkeys(State, 0) | {State(state): count for state, count in connection.execute(wanted)}

    def states(self) -> dict[str, State]:
        """Of all sessions, by digest, in the order in which they came."""
        wanted = select(_SESSIONS.c.digest, _SESSIONS.c.state).order_by(_SESSIONS.c.received)
        with self._engine.begin() as connection:
            return {row.digest: State(row.state) for row in connection.execute(wanted)}

    def all(self, states: Iterable[State] = State, newest: int | None = None) -> list[Session]:
        """Those in one of these states, or so many of the newest of them, in the order in which they came."""
        wanted = select(_SESSIONS).where(_SESSIONS.c.state.in_([state.value for state in states]))
        with self._engine.begin() as connection:
            found = connection.execute(wanted.order_by(_SESSIONS.c.received.desc()).limit(newest))
            return [_session(row) for row in found][::-1]

    def step(self, digest: str, step: Step, fault: Fault | None = None) -> State:
        """Take a step. Raises: LifecycleError if there is no such session, or its state does not allow it."""
        with self._engine.begin() as connection:
            row = connection.execute(select(_SESSIONS).where(_SESSIONS.c.digest == digest)).one_or_none()
            if row is None:
                raise LifecycleError(f"there is no session {digest[:12]}")
            state = advance(State(row.state), step)
            changes: dict[str, object] = {"state": state.value}
            if fault is not None:
                changes["fault"] = fault.model_dump_json()
            connection.execute(update(_SESSIONS).where(_SESSIONS.c.digest == digest).values(**changes))
        return state

    def keep_approvals(self, digest: str, envelopes: Mapping[str, dict[str, Any]]) -> None:
        """Keep what every participant signed, as it came: evidence for whoever audits the session."""
        rows = [{"digest": digest, "name": name, "envelope": json.dumps(item)} for name, item in envelopes.items()]
        with self._engine.begin() as connection:
            connection.execute(delete(_APPROVALS).where(_APPROVALS.c.digest == digest))
            connection.execute(insert(_APPROVALS), rows)

    def approvals(self, digest: str) -> dict[str, dict[str, Any]]:
        """The envelopes kept, by participant; empty if the session never began here."""
        wanted = select(_APPROVALS).where(_APPROVALS.c.digest == digest).order_by(_APPROVALS.c.name)
        with self._engine.begin() as connection:
            return {row.name: json.loads(row.envelope) for row in connection.execute(wanted)}

    def keep_withdrawal(self, digest: str, name: str, envelope: dict[str, Any]) -> None:
        """Keep a party's signed withdrawal, not yet recorded in the log; the first one stands."""
        row = {"digest": digest, "name": name, "envelope": json.dumps(envelope), "recorded": False}
        with suppress(IntegrityError), self._engine.begin() as connection:
            connection.execute(insert(_WITHDRAWALS).values(**row))

    def withdrawals(self, digest: str) -> dict[str, dict[str, Any]]:
        """The envelopes kept of a session, by party."""
        wanted = select(_WITHDRAWALS).where(_WITHDRAWALS.c.digest == digest).order_by(_WITHDRAWALS.c.name)
        with self._engine.begin() as connection:
            return {row.name: json.loads(row.envelope) for row in connection.execute(wanted)}

    def withdrawn_by(self, name: str) -> list[str]:
        """The sessions from which a party withdrew."""
        wanted = select(_WITHDRAWALS.c.digest).where(_WITHDRAWALS.c.name == name).order_by(_WITHDRAWALS.c.digest)
        with self._engine.begin() as connection:
            return list(connection.scalars(wanted))

    def is_recorded(self, digest: str, name: str) -> bool:
        """Whether a withdrawal that is kept stands in the audit log."""
        wanted = select(_WITHDRAWALS.c.recorded).where(_WITHDRAWALS.c.digest == digest, _WITHDRAWALS.c.name == name)
        with self._engine.begin() as connection:
            return bool(connection.scalar(wanted))

    def mark_recorded(self, digest: str, name: str) -> None:
        """It stands in the audit log."""
        these = (_WITHDRAWALS.c.digest == digest, _WITHDRAWALS.c.name == name)
        with self._engine.begin() as connection:
            connection.execute(update(_WITHDRAWALS).where(*these).values(recorded=True))

    def keep_commitment(self, digest: str, name: str, stage: int, envelope: dict[str, Any]) -> None:
        """Keep what a participant signed at a stage of a session; the first one stands."""
        row = {"digest": digest, "name": name, "stage": stage, "envelope": json.dumps(envelope)}
        with suppress(IntegrityError), self._engine.begin() as connection:
            connection.execute(insert(_COMMITMENTS).values(**row))

    def commitments(self, digest: str) -> dict[tuple[str, int], dict[str, Any]]:
        """The envelopes kept of a session, by participant and stage."""
        wanted = select(_COMMITMENTS).where(_COMMITMENTS.c.digest == digest)
        with self._engine.begin() as connection:
            found = connection.execute(wanted.order_by(_COMMITMENTS.c.name, _COMMITMENTS.c.stage))
            return {(row.name, row.stage): json.loads(row.envelope) for row in found}

    def keep_transcript(self, digest: str, name: str, envelope: dict[str, Any]) -> None:
        """Keep what a party signed of its transcript, in the place of what it signed before."""
        with self._engine.begin() as connection:
            connection.execute(delete(_TRANSCRIPTS).where(_TRANSCRIPTS.c.digest == digest, _TRANSCRIPTS.c.name == name))
            connection.execute(insert(_TRANSCRIPTS).values(digest=digest, name=name, envelope=json.dumps(envelope)))

    def transcripts(self, digest: str) -> dict[str, dict[str, Any]]:
        """The envelopes kept, by party."""
        wanted = select(_TRANSCRIPTS).where(_TRANSCRIPTS.c.digest == digest).order_by(_TRANSCRIPTS.c.name)
        with self._engine.begin() as connection:
            return {row.name: json.loads(row.envelope) for row in connection.execute(wanted)}

    def begin_epoch(self, digest: str, epoch: int) -> None:
        """Raises: LifecycleError if this epoch, or a later one, began before: its masks are spent."""
        with self._engine.begin() as connection:
            changed = connection.execute(
                update(_SESSIONS).where(_SESSIONS.c.digest == digest, _SESSIONS.c.epoch < epoch).values(epoch=epoch)
            )
            if changed.rowcount != 1:
                raise LifecycleError(
                    f"epoch {epoch} of session {digest[:12]} began before; its masks are spent",
                    action="propose the session again",
                )

    def fail_unfinished(self, fault: Fault) -> list[str]:
        """Sessions that were alive when the daemon ended have lost their keys; returns those failed now."""
        lost = [digest for digest, state in self.states().items() if state not in {*FINAL, State.PROPOSED}]
        for digest in lost:
            self.step(digest, Step.FAIL, fault)
        return lost


def newest_approvals(path: Path) -> dict[str, dict[str, Any]]:
    """By participant, the envelope of its approval in the newest session that began; the file is only read.

    Raises: SettingsError if it can't be.
    """
    if not path.exists():
        return {}
    newest = func.max(_SESSIONS.c.received)  # SQLite takes the other columns from the row that has it
    wanted = (
        select(_APPROVALS.c.name, _APPROVALS.c.envelope, newest)
        .join(_SESSIONS, _SESSIONS.c.digest == _APPROVALS.c.digest)
        .group_by(_APPROVALS.c.name)
    )
    engine = create_engine(f"sqlite:///file:{quote(str(path.absolute()))}?mode=ro&uri=true")
    try:
        with engine.connect() as connection:
            return {row.name: json.loads(row.envelope) for row in connection.execute(wanted)}
    except SQLAlchemyError as exc:
        action = "start the daemon, which undoes what was broken off, or restore the file from a backup"
        raise SettingsError(f"{path} can't be read", action=action) from exc
    finally:
        engine.dispose()


def _durable(connection: object, _: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined] # the driver would begin too late: see _begin
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin(connection: Connection) -> None:
    """A transaction locks before it reads: nobody steps in between a state and the step that follows from it."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _session(row: object) -> Session:
    fields = row._mapping  # type: ignore[attr-defined] # noqa: SLF001 - SQLAlchemy's public name
    fault = Fault.model_validate_json(fields["fault"]) if fields["fault"] else None
    return Session(
        fields["digest"], fields["contract"], State(fields["state"]), fields["epoch"], fields["received"], fault
    )
