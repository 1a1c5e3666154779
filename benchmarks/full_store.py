"""A gateway's home with participants, accounts and as many sessions as are asked for, written at once."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from gateway.access.accounts import Accounts, TokenAsked
from gateway.access.principal import BOOTSTRAP, CONSORTIUM, Role
from gateway.home import init
from gateway.planning.proposals import contract_for
from gateway.settings import load_settings
from gateway.storage.database import connect
from gateway.storage.store import Store
from gateway.storage.tables import ApprovalRow, Base, PartnersRow, ReportRow, SessionRow, TakingPartRow
from parties.agreement.kinds import AnyContract
from parties.agreement.plan import Plan, parse_plan
from parties.data.schema import Column, Schema
from parties.keys.tls import Invitation
from parties.service.lifecycle import State
from parties.service.messages import Fault, Finished, PublishedData

CLINICS = ("clinic-a", "clinic-b", "clinic-c")
DEALER = "dealer"
AT_ONCE = 1000  # sessions in a transaction
FAULT = Fault(code="cancelled", who="gateway", what="the analyst cancelled the session").model_dump_json()


def plan(number: int) -> Plan:
    """Of two clinics out of three."""
    names = [CLINICS[number % 3], CLINICS[(number + 1) % 3]]
    return parse_plan(
        {
            "purpose": f"predict the outcome of cohort {number % 3}",
            "legal_basis": "consent",
            "parties": [{"name": name, "data": "cohort", "columns": ["age", "dose"]} for name in names],
            "label": {"party": names[0], "column": "outcome", "positive": "yes"},
        }
    )


def make(home: Path, sessions: int, database: str = "") -> None:
    """An empty database's URL, or SQLite. Sessions are over, one a minute up to now."""
    init(home, rest="127.0.0.1:0", control="127.0.0.1:0", database=database)
    now = datetime.now(UTC).replace(microsecond=0)
    with closing(Store.open(home, load_settings(home).database)) as store:
        _join(store, now)
        with store.reading() as rows:
            models = [contract_for(plan(number), rows, now, BOOTSTRAP) for number in range(len(CLINICS))]
    engine = connect(home, database)
    with Session(engine) as session, session.begin():
        session.execute(insert(PartnersRow), _partners(models))
    for first in range(0, sessions, AT_ONCE):
        with Session(engine) as session, session.begin():
            for table, rows_of_it in _tables(models, range(first, min(first + AT_ONCE, sessions)), sessions, now):
                session.execute(insert(table), rows_of_it)
    engine.dispose()


def token(home: Path, organisation: str, role: Role) -> str:
    """A personal token of a new account."""
    with closing(Store.open(home, load_settings(home).database)) as store:
        asked = TokenAsked(account=f"{role}-of-{organisation}", organisation=organisation, role=role)
        return Accounts(store, None).create(asked)[0].reveal()


def overseer(home: Path) -> str:
    """The token of somebody who runs the gateway."""
    return token(home, CONSORTIUM, "admin")


def _join(store: Store, now: datetime) -> None:
    """Everybody, with a table each."""
    kinds = {"age": "number", "dose": "number", "outcome": "category"}
    columns = tuple(
        Column.model_validate({"name": name, "kind": kind, "complete": True}) for name, kind in kinds.items()
    )
    table = Schema(name="cohort", rows=1000, id_column="patient", columns=columns)
    with store.transaction() as rows:
        for name in (*CLINICS, DEALER):
            authority = Invitation.create(name, "127.0.0.1:1", "ab" * 32).authority(now)
            rows.invite(name, "dealer" if name == DEALER else "party", authority, now)
            rows.mark_recorded(name)
            rows.join(name, secrets.token_hex(32), secrets.token_hex(32), now)
            if name != DEALER:
                rows.publish(name, (PublishedData(table=table, version="ab" * 16),))


def _partners(models: list[AnyContract]) -> list[dict[str, Any]]:
    taking_part = [{*(party.name for party in model.parties), DEALER} for model in models]
    found = {(name, other) for names in taking_part for name in {*names, CONSORTIUM} for other in names}
    return [{"name": name, "other": other} for name, other in sorted(found)]


def _tables(
    models: list[AnyContract], numbers: range, of: int, now: datetime
) -> Iterator[tuple[type[Base], list[dict[str, Any]]]]:
    """Each table with its rows, those that others refer to first."""
    sessions: list[dict[str, Any]] = []
    taking_part, approvals, reports = [], [], []
    texts = [model.canonical().decode() for model in models]
    for number in numbers:
        model, created = models[number % len(models)], now - timedelta(minutes=of - number)
        fresh = model.model_copy(update={"created": created, "nonce": secrets.token_hex(32)})
        text = texts[number % len(models)].replace(model.nonce, fresh.nonce)
        before, after = (one.model_dump_json(include={"created"})[1:-1] for one in (model, fresh))
        text = text.replace(before, after)
        digest = hashlib.sha256(text.encode()).hexdigest()
        sessions.append(
            {
                "digest": digest,
                "kind": model.kind,
                "state": State.COMPLETED if number % 5 else State.CANCELLED,
                "created": created,
                "expires": created + (model.expires - model.created),
                "plan": plan(number).model_dump_json(),
                "contract": text,
                "fault": None if number % 5 else FAULT,
                "proposer": CONSORTIUM,
                "purpose": model.purpose,
                "changes": 0,
            }
        )
        for name in (*(party.name for party in model.parties), DEALER):
            report = Finished(session=digest, seconds=1, rounds=2, bytes_sent=3).model_dump_json()
            taking_part.append({"name": name, "session": digest})
            approvals.append({"session": digest, "name": name, "content": '{"payload":"' + "ab" * 400 + '"}'})
            reports.append({"session": digest, "name": name, "content": report})
    yield SessionRow, sessions
    yield TakingPartRow, taking_part
    yield ApprovalRow, approvals
    yield ReportRow, reports
