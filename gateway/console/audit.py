"""The console's audit page: heads as they came, for the browser to check, and nothing that has to be believed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from gateway.api.dependencies import Coordinator, LoggedIn
from gateway.console.rendering import page
from gateway.coordination.heads import merged
from gateway.evidence import provable
from gateway.storage.selection import Selection
from gateway.views import ParticipantView
from parties.audit import layout
from parties.audit.snapshot import UNREADABLE, error_name, reading
from parties.errors import AuditError
from parties.keys.identity import fingerprint, fingerprint_words

MOST_CHOICES: Final = 100  # sessions; a later one is chosen from its own page
Chosen = Annotated[str, Query(pattern="^([0-9a-f]{64})?$")]

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Log:
    """A log's key, and its heads as they were signed, the newest first."""

    name: str
    role: str
    public_key: str
    notes: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        return fingerprint(bytes.fromhex(self.public_key))

    @property
    def words(self) -> str:
        return fingerprint_words(self.fingerprint)


def own_log(path: Path) -> Log:
    """The gateway's. Raises: AuditError if it can't be read."""
    with reading(path) as connection:
        try:
            name, key = connection.execute("SELECT origin, public_key FROM log").fetchone()
            head = layout.last_head(connection)
        except UNREADABLE as exc:
            raise AuditError(
                f"the gateway's log can't be read ({error_name(exc)})", action="run `privity audit verify` on it"
            ) from exc
    return Log(name, "gateway", key.hex(), () if head is None else (head[1],))


def log_of(one: ParticipantView) -> Log:
    """Cosignatures of the newest head stand under it; other heads that were cosigned follow."""
    notes = merged([one.head, *one.cosigned]) if one.head else one.cosigned
    return Log(one.name, one.role, one.public_key or "", notes)


@router.get("/audit", response_class=HTMLResponse)
async def audit(request: Request, sessions: Coordinator, by: LoggedIn, session: Chosen = "") -> HTMLResponse:
    """All logs whose keys are known, and of a session that was chosen the entries that can be proven."""
    own = await asyncio.to_thread(own_log, request.app.state.log)
    others = [log_of(one) for one in sessions.participants() if one.public_key]
    choice = [one.view for one in sessions.sessions(Selection(limit=MOST_CHOICES))]
    chosen, entries = None, []
    if session:
        chosen = sessions.session(session).view
        entries = await asyncio.to_thread(provable, request.app.state.log, session, by)
    return page(request, "audit.html", logs=[own, *others], choice=choice, chosen=chosen, entries=entries)
