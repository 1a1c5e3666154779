"""In which sessions one record took part, as far as this node can still tell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Literal

from parties.agreement.plan import Frozen
from parties.data.records import Records
from parties.errors import VaultError
from parties.service.store import Session


class Participation(Frozen):
    """One session that ran here, and whether it had the record."""

    session: str
    purpose: str
    state: str
    received: datetime
    answer: Literal["held", "not held", "key destroyed", "nothing kept", "damaged"]


def search(records: Records, sessions: Iterable[Session], record: str) -> Iterator[Participation]:
    """Every session that began here, in order of its coming. Cost: a few MB read a session of many rows."""
    standings = records.standings()
    for session in sessions:
        if not session.epoch:
            continue  # it never began: nothing of anybody was used
        yield Participation(
            session=session.digest,
            purpose=str(json.loads(session.contract)["purpose"]),
            state=session.state.value,
            received=datetime.fromisoformat(session.received),
            answer=_answer(records, standings.get(session.digest), session.digest, record),
        )


def _answer(
    records: Records, standing: str | None, session: str, record: str
) -> Literal["held", "not held", "key destroyed", "nothing kept", "damaged"]:
    if standing is None:
        return "nothing kept"
    if standing == "destroyed":
        return "key destroyed"
    try:
        return "held" if records.holds(session, record) else "not held"
    except VaultError:
        return "damaged"
