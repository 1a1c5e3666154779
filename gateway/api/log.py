"""The gateway's own audit log: its newest head, and proofs of its entries about a session."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import TypeAdapter

from gateway.api.conditional import TAGGED, IfNoneMatch, answer
from gateway.api.dependencies import Coordinator, LoggedIn, SessionId
from gateway.api.examples import LOG_ENTRIES, LOG_HEAD, LOG_PROOF, header, merged, shown
from gateway.console.audit import own_log
from gateway.evidence import proof_about, provable
from gateway.problems import responses
from gateway.views import LogEntry, LogHead

MEDIA_TYPE = "text/plain"
MOST = 10**15  # an entry's number has sixteen digits at most
_ENTRIES: TypeAdapter[list[LogEntry]] = TypeAdapter(list[LogEntry])
_NAMED = header("Content-Disposition", "a name for the file", 'attachment; filename="gateway-6.tlog-proof"')
PROOF: dict[int | str, dict[str, Any]] = {
    200: {"headers": _NAMED, "content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": LOG_PROOF}}}
}
EntryNumber = Annotated[int, Path(ge=0, lt=MOST, description="as the session's entries have it", examples=[6])]

router = APIRouter(prefix="/v1", tags=["log"])


@router.get("/log/head", response_model=LogHead, responses=merged(responses("rest.request"), TAGGED, shown(LOG_HEAD)))
async def log_head(request: Request, _by: LoggedIn, known: IfNoneMatch = None) -> Response:
    """The newest signed head of the gateway's own audit log, and the key that signed it: keep it to compare later."""
    found = await asyncio.to_thread(own_log, request.app.state.log)
    head = LogHead(
        name=found.name,
        public_key=found.public_key,
        fingerprint=found.fingerprint,
        head=found.notes[0] if found.notes else None,
    )
    return answer(head.model_dump_json().encode(), known)


@router.get(
    "/sessions/{session}/log",
    response_model=list[LogEntry],
    responses=merged(responses("rest.not-found", "rest.request"), TAGGED, shown(LOG_ENTRIES)),
)
async def entries(
    request: Request, session: SessionId, sessions: Coordinator, by: LoggedIn, known: IfNoneMatch = None
) -> Response:
    """The entries about a session that this gateway's log has a proof of for you, oldest first.

    Those that name an account are for its own organisation, and for the consortium's administrators and officers.
    """
    sessions.session(session)
    found = await asyncio.to_thread(provable, request.app.state.log, session, by)
    listed = [LogEntry(entry=one.index, time=one.time, type=one.event.type) for one in found]
    return answer(_ENTRIES.dump_json(listed), known)


@router.get(
    "/sessions/{session}/log/{entry}",
    response_class=Response,
    responses=merged(responses("rest.not-found", "rest.request"), PROOF),
)
async def proof(
    request: Request, session: SessionId, entry: EntryNumber, sessions: Coordinator, by: LoggedIn
) -> Response:
    """The proof that an entry about a session stands in this gateway's log: a C2SP `tlog-proof`, with the entry.

    `privity audit verify` checks it offline, and the console's audit page does.
    """
    sessions.session(session)
    found = await asyncio.to_thread(proof_about, request.app.state.log, session, entry, by)
    named = f'attachment; filename="{found.origin}-{entry}.tlog-proof"'
    return Response(found.render(), media_type=MEDIA_TYPE, headers={"content-disposition": named})
