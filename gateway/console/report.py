"""What the gateway can tell of one session, on paper: its contract, who signed it, what happened, the logs' heads.

It is the gateway's word. What anybody was told stands in the parties' own reports, which their logs are read for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from gateway.api.dependencies import Coordinator, SessionId
from gateway.console.audit import Log, log_of, own_log
from gateway.console.rendering import HEADERS, HERE
from gateway.console.standing import joined
from gateway.console.timeline import Step, timeline
from parties.agreement.kinds import AnyContract
from parties.agreement.leaving import leaving
from parties.audit.events import ApprovalStored
from parties.audit.notes import parse_checkpoint, parse_note
from parties.errors import AuditError
from parties.report.sheet import POLICY, environment

router = APIRouter(include_in_schema=False)
_templates = environment(HERE / "templates")


@dataclass(frozen=True)
class Signed:
    """One participant, its part, and when the gateway had its signature."""

    name: str
    part: str
    fingerprint: str
    at: datetime | None


def signed(contract: AnyContract, steps: tuple[Step, ...]) -> list[Signed]:
    times: Mapping[str, datetime] = {
        step.event.name: step.at for step in steps if isinstance(step.event, ApprovalStored)
    }
    parties = [
        Signed(one.name, f"{one.rows:,} records of {one.data}", one.fingerprint, times.get(one.name))
        for one in contract.parties
    ]
    dealer = contract.dealer
    return [*parties, Signed(dealer.name, "random masks, no data", dealer.fingerprint, times.get(dealer.name))]


def head_of(log: Log) -> tuple[str, str]:
    """Entries and root, in words; a note that is none is said to be so."""
    try:
        checkpoint = parse_checkpoint(parse_note(log.notes[0]).text)
    except IndexError:
        return "none came", ""
    except AuditError as exc:
        return exc.what, ""
    return f"{checkpoint.size:,}", checkpoint.root.hex()


@router.get("/sessions/{session}/report", response_class=HTMLResponse)
async def report(request: Request, session: SessionId, sessions: Coordinator, download: bool = False) -> HTMLResponse:
    """One file of HTML that prints; with `download` a browser saves it."""
    view, contract = sessions.session(session).view, sessions.agreed(session)
    steps = await asyncio.to_thread(timeline, request.app.state.log, session)
    own = await asyncio.to_thread(own_log, request.app.state.log)
    names = {one.name for one in view.participants}
    logs = [own, *(log_of(one) for one in sessions.participants() if one.name in names and one.public_key)]
    content = _templates.get_template("paper.html").render(
        gateway=request.app.state.name,
        now=datetime.now(UTC),
        session=view,
        contract=contract,
        names=joined([party.name for party in contract.parties]),
        leaving=leaving(contract, ""),
        signed=signed(contract, steps),
        steps=steps,
        heads=[(log, *head_of(log)) for log in logs],
    )
    headers = HEADERS | {"content-security-policy": f"{POLICY}; frame-ancestors 'none'"}
    if download:
        headers["content-disposition"] = f'attachment; filename="session-{session[:12]}.html"'
    return HTMLResponse(content, HTTPStatus.OK, headers)
