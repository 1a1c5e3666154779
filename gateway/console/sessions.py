"""The console's pages of sessions: which there are and who is waited for, and each, while it runs and after."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Annotated, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from gateway.api.dependencies import Coordinator, SessionId
from gateway.console.forms import Form, read_form
from gateway.console.prediction_form import model_of
from gateway.console.rendering import page
from gateway.console.standing import Shown, sentence
from gateway.console.timeline import signings, timeline
from gateway.storage.selection import TEXT_PATTERN, Selection
from parties.agreement.contract import Contract
from parties.agreement.kinds import KINDS, Kind
from parties.agreement.leaving import leaving
from parties.agreement.plan import Frozen, Name
from parties.keys.tls import utc_now
from parties.outcome import curves
from parties.outcome.telling import convergence, estimate
from parties.service.lifecycle import FINAL, State

PAGE: Final = 50
OPEN: Final = tuple(state for state in State if state not in FINAL)
STATES: Final = (("", "any"), ("open", "not at its end"), *((state.value, state.value) for state in State))

router = APIRouter(include_in_schema=False)


class ListQuery(Frozen):
    """Which sessions the list shows; what is empty, as a form sends it, selects nothing."""

    state: State | str = ""
    kind: Kind | Literal[""] = ""
    participant: Name | str = ""
    find: Annotated[str, Query(max_length=100, pattern=TEXT_PATTERN)] = ""
    cursor: Annotated[str, Query(pattern="^([0-9a-f]{64})?$")] = ""

    @property
    def selects(self) -> bool:
        return bool(self.state or self.kind or self.participant or self.text or self.cursor)

    @property
    def text(self) -> str:
        return self.find.strip()

    @property
    def selection(self) -> Selection:
        """With one session more than the page has, by whose presence there is a next."""
        states = OPEN if self.state == "open" else tuple(state for state in State if state.value == self.state)
        participant, text = self.participant or None, self.text or None
        return Selection(states, self.kind or None, participant, self.cursor or None, PAGE + 1, text=text)

    def address(self, cursor: str = "") -> str:
        """The query of this selection's page after a session."""
        fields = {"state": self.state, "kind": self.kind, "participant": self.participant, "find": self.text}
        return urlencode({name: value for name, value in (fields | {"cursor": cursor}).items() if value})


@router.get("/", response_class=HTMLResponse)
async def overview(request: Request, sessions: Coordinator, asked: Annotated[ListQuery, Query()]) -> HTMLResponse:
    """Sessions, newest first, a page at a time."""
    found = sessions.sessions(asked.selection)
    shown = found[:PAGE]
    return page(
        request,
        "sessions.html",
        sessions=[one.view for one in shown],
        asked=asked,
        states=STATES,
        kinds=KINDS,
        names=sessions.names(),
        first=asked.address(),
        older=asked.address(shown[-1].view.id) if len(found) > PAGE else "",
    )


@router.get("/sessions/{session}", response_class=HTMLResponse)
async def session(request: Request, session: SessionId, sessions: Coordinator) -> HTMLResponse:
    """One session: where it stands, what came of it, what its contract says, and what happened when."""
    view, contract = sessions.session(session).view, sessions.agreed(session)
    steps = await asyncio.to_thread(timeline, request.app.state.log, session)
    return page(
        request,
        "session.html",
        session=view,
        open=view.state not in FINAL,
        standing=sentence(view),
        shown=Shown.of_session(view),
        contract=contract,
        model=model_of(view, contract, utc_now()) if isinstance(contract, Contract) else None,
        leaving=leaving(contract, ""),
        timeline=steps,
        signed=signings(steps),
        convergence=convergence,
        estimate_in_words=estimate,
        readings=curves,
    )


@router.get("/sessions/{session}/live", response_class=HTMLResponse)
async def live(request: Request, session: SessionId, sessions: Coordinator) -> HTMLResponse:
    """The part of its page that changes while it runs."""
    view = sessions.session(session).view
    return page(request, "live.html", session=view, shown=Shown.of_session(view))


@router.post("/sessions/{session}/cancel", response_class=RedirectResponse)
async def cancel(session: SessionId, sessions: Coordinator, _: Annotated[Form, Depends(read_form)]) -> RedirectResponse:
    """End a session for every participant."""
    sessions.cancel(session)
    return RedirectResponse(f"/sessions/{session}", HTTPStatus.SEE_OTHER)
