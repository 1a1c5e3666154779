"""The page's application: one table of endpoints, with the roles that may use each."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mpc.errors import PrivityError
from parties.agreement.kinds import AnyContract, parse_contract
from parties.agreement.leaving import inferences, leaving
from parties.audit import events
from parties.audit.events import VOCABULARY, Reader
from parties.audit.notes import parse_checkpoint, parse_note
from parties.audit.refusals import Refusals
from parties.audit.snapshot import take
from parties.audit.verdict import Verdict
from parties.audit.verify import verify
from parties.errors import REASONS, PageError
from parties.outcome import curves
from parties.outcome.estimates import Estimated, Estimates
from parties.page import views
from parties.page.access import COOKIE, LOGIN_S, READING, Login, Logins, cookie_of, read_form
from parties.page.guard import Guard
from parties.page.ledger import Excerpt, Filter, excerpt
from parties.process.job import Outcome
from parties.service.desk import result_of
from parties.service.lifecycle import State
from parties.service.store import Session
from parties.web import STYLE, TEMPLATES

if TYPE_CHECKING:
    from parties.service.node import Node

log = structlog.get_logger("privity")
_templates = Environment(
    loader=FileSystemLoader([Path(__file__).parent / "templates", TEMPLATES]),
    autoescape=select_autoescape(),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def make_app(node: Node, logins: Logins, refusals: Refusals[Literal["link"]]) -> ASGIApp:
    """The application of one node; it must run in the node's event loop."""
    pages = Pages(node, logins, refusals)
    routes = [
        Route("/", pages.outside),
        Route("/style.css", pages.style),
        Route("/login", pages.enter),
        *(Route(f"/{{place}}{one.path}", pages.admitting(one), methods=[one.method]) for one in ENDPOINTS),
    ]
    handlers: dict[type[Exception], Callable[[Request, Exception], Response]] = {
        PrivityError: pages.error,
        HTTPException: pages.error,
        Exception: pages.unexpected,
    }
    return Guard(Starlette(routes=routes, exception_handlers=handlers), pages.error)


@dataclass(frozen=True)
class Verification:
    """The last one that somebody asked this page for."""

    verdict: Verdict
    at: datetime


class Pages:
    """What each endpoint answers."""

    def __init__(self, node: Node, logins: Logins, refusals: Refusals[Literal["link"]]) -> None:
        self._node, self._logins, self._refusals = node, logins, refusals
        self._verifying = asyncio.Lock()
        self._verification: Verification | None = None

    # logging in

    async def outside(self, _: Request) -> Response:
        raise PageError(
            HTTPStatus.UNAUTHORIZED,
            "this is a node's own page; it is opened by a link that works once",
            action="ask for one with `privity node login`",
        )

    async def style(self, _: Request) -> Response:
        return FileResponse(STYLE, media_type="text/css")

    async def enter(self, request: Request) -> Response:
        try:
            login, cookie = self._logins.enter(request.query_params.get("code", ""))
        except PageError:
            self._refusals.add("link")
            raise
        self._node.journal.append(events.LoginOpened(role=login.role))
        response = RedirectResponse(f"/{login.place}/", HTTPStatus.SEE_OTHER)
        response.set_cookie(
            COOKIE, cookie, max_age=int(LOGIN_S), path=f"/{login.place}", httponly=True, samesite="strict"
        )
        return response

    def admitting(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint, for logins of its roles; a form must be one that the login's own page showed."""

        async def admitted(request: Request) -> Response:
            login = self._logins.find(request.path_params["place"], cookie_of(request))
            if login.role not in endpoint.roles:
                raise PageError(
                    HTTPStatus.FORBIDDEN, "an officer reads here and decides nothing", action="ask the operator"
                )
            form = {} if request.method in READING else await read_form(request, login)
            return await endpoint.answer(self, Asked(request, login, form))

        return admitted

    async def leave(self, asked: Asked) -> Response:
        self._logins.leave(cookie_of(asked.request))
        self._node.journal.append(events.LoginClosed(role=asked.login.role))
        raise PageError(HTTPStatus.OK, "you are logged out", action="`privity node login` gives a new link")

    # reading

    async def overview(self, asked: Asked) -> Response:
        return self._show(
            "overview.html", asked, shown=views.overview(self._node), head=self._head(), verified=self._verification
        )

    async def session(self, asked: Asked) -> Response:
        session, contract = self._agreed(asked)
        return self._show(
            "session.html",
            asked,
            **self._about(session, contract),
            log=await self._excerpt(Filter(session=session.digest)),
            outcome=self._outcome(session) if asked.login.role == "operator" else None,
            readings=curves,
            standings={p.name: views.standing(self._node, p) for p in (*contract.parties, contract.dealer)},
        )

    async def contract(self, asked: Asked) -> Response:
        session = self._session(asked)
        name = f"contract-{session.digest[:12]}.json"
        return _download(session.contract.encode(), "application/json", name)

    async def report(self, asked: Asked) -> Response:
        """The session for people who read on paper; the log is verified for it, and that is recorded."""
        from parties.report import render  # only who asks for a report loads its template

        session = self._session(asked)
        async with self._sole_verification():
            facts = await asyncio.to_thread(render.report, self._node.home, session.digest, datetime.now(UTC))
            self._record_verification(asked, facts.checked.entries, intact=facts.checked.intact)
        return HTMLResponse(render.render(facts), headers={"content-security-policy": render.POLICY})

    async def subject(self, asked: Asked) -> Response:
        """In which sessions one record took part. Its id comes in a form, not in an address, and is not shown."""
        found = None
        if record := asked.form.get("record", ""):
            found = await asyncio.to_thread(self._node.desk.audit_subject, record, asked.login.role)
        return self._show("subject.html", asked, found=found)

    async def audit(self, asked: Asked) -> Response:
        wanted = Filter.parse(asked.request.query_params)
        return self._show(
            "audit.html",
            asked,
            log=await self._excerpt(wanted),
            wanted=wanted,
            kinds=sorted(VOCABULARY),
            head=self._head(),
            note=self._node.journal.head(),
            verified=self._verification,
        )

    async def verify(self, asked: Asked) -> Response:
        """The log as its file is, in a thread; one at a time, since a large one takes a minute."""
        async with self._sole_verification():
            home, key = self._node.home.directory, self._node.identity.fingerprint
            verdict = await asyncio.to_thread(verify, home, key)
            self._verification = Verification(verdict, datetime.now(UTC))
            self._record_verification(asked, verdict.entries, intact=verdict.ok)
        return _to(asked, "/audit")

    @asynccontextmanager
    async def _sole_verification(self) -> AsyncIterator[None]:
        """Raises: PageError if another runs."""
        if self._verifying.locked():
            raise PageError(HTTPStatus.CONFLICT, "the log is being verified already", action="load the page again soon")
        async with self._verifying:
            yield

    def _record_verification(self, asked: Asked, entries: int, *, intact: bool) -> None:
        self._node.journal.append(events.LogVerified(by=asked.login.role, entries=entries, intact=intact))

    async def export(self, _: Asked) -> Response:
        """The log's file as it is now, complete by itself: `privity audit verify` checks it anywhere."""
        content = (await asyncio.to_thread(take, self._node.journal.path)).content
        return _download(content, "application/vnd.sqlite3", f"audit-{self._node.name}.sqlite")

    async def signed_head(self, _: Asked) -> Response:
        return _download(self._node.journal.head().encode(), "text/plain", f"head-{self._node.name}.txt")

    # deciding

    async def consider(self, asked: Asked) -> Response:
        """The last look before signing or refusing."""
        session, contract = self._agreed(asked)
        if session.state is not State.PROPOSED:
            raise PageError(HTTPStatus.CONFLICT, f"the session is {session.state}; there is nothing to decide")
        return self._show("decide.html", asked, **self._about(session, contract), reasons=REASONS)

    async def approve(self, asked: Asked) -> Response:
        session = self._session(asked)
        await self._node.sign(session.digest, by="operator")
        return _to(asked, f"/sessions/{session.digest}")

    async def refuse(self, asked: Asked) -> Response:
        session = self._session(asked)
        self._node.refuse_for(session.digest, asked.form.get("reason", ""))
        return _to(asked, f"/sessions/{session.digest}")

    async def consider_withdrawal(self, asked: Asked) -> Response:
        """What ends with consent, and what nothing undoes, before it is withdrawn."""
        from parties.report.consequences import consequences

        session = self._session(asked)
        told = await asyncio.to_thread(consequences, self._node.home, session.digest)
        return self._show("withdraw.html", asked, session=session, told=told)

    async def withdraw(self, asked: Asked) -> Response:
        session = self._session(asked)
        self._node.withdraw(session.digest)
        return _to(asked, f"/sessions/{session.digest}")

    async def consider_recording(self, asked: Asked) -> Response:
        """What is kept for a replay, and what its early end means."""
        session, contract = self._agreed(asked)
        kept = self._node.replays.kept(session.digest)
        return self._show("recording.html", asked, session=session, contract=contract, kept=kept)

    async def destroy_recording(self, asked: Asked) -> Response:
        session = self._session(asked)
        await asyncio.to_thread(self._node.desk.recording_delete, session.digest)
        return _to(asked, f"/sessions/{session.digest}")

    # errors

    def error(self, request: Request, error: Exception) -> Response:
        """Every error that is foreseen, as a page that says what to do."""
        if isinstance(error, PrivityError):
            status = error.status if isinstance(error, PageError) else HTTPStatus.CONFLICT
            return self._say(request, status, error.what, error.action)
        if isinstance(error, HTTPException):
            return self._say(request, error.status_code, f"{error.detail}: there is nothing here", "")
        raise error

    def unexpected(self, request: Request, error: Exception) -> Response:
        # Where, never what: the text of an error that is not ours could hold anything.
        log.error("a request failed", kind=type(error).__name__, at=traceback.format_tb(error.__traceback__))
        return self._say(request, 500, f"the node met an unexpected {type(error).__name__}", "see its operational log")

    # parts of answers

    def _session(self, asked: Asked) -> Session:
        session = self._node.store.find(asked.request.path_params["session"])
        if session is None:
            raise PageError(HTTPStatus.NOT_FOUND, "there is no such session at this node", action="see the overview")
        return session

    def _agreed(self, asked: Asked) -> tuple[Session, AnyContract]:
        session = self._session(asked)
        return session, parse_contract(session.contract.encode())

    def _about(self, session: Session, contract: AnyContract) -> dict[str, object]:
        name = self._node.name
        return {
            "session": session,
            "contract": contract,
            "leaving": leaving(contract, name),
            "inferences": inferences(contract, name),
            "withdrawn": tuple(self._node.store.withdrawals(session.digest)),
            "verdicts": views.verdicts(self._node, contract),
            "estimated": self._estimated(session),
            "recording": views.recording(self._node, session),
        }

    def _outcome(self, session: Session) -> Outcome | None:
        try:
            return result_of(self._node.home, session.digest)
        except PrivityError:
            return None

    def _estimated(self, session: Session) -> Estimated | None:
        try:
            return Estimates(self._node.home.path("results")).find(session.digest)
        except PrivityError:
            return None

    def _head(self) -> tuple[int, str]:
        """Size and root of the log's newest head."""
        checkpoint = parse_checkpoint(parse_note(self._node.journal.head()).text)
        return checkpoint.size, checkpoint.root.hex()

    async def _excerpt(self, wanted: Filter) -> Excerpt:
        return await asyncio.to_thread(excerpt, self._node.journal.path, self._node.journal.size, wanted)

    def _show(self, template: str, asked: Asked, **shown: object) -> Response:
        login = asked.login
        return HTMLResponse(
            _templates.get_template(template).render(node=self._node.name, login=login, base=f"/{login.place}", **shown)
        )

    def _say(self, request: Request, status: int, what: str, action: str) -> Response:
        base = ""
        with suppress(PageError):  # nobody who could go back
            base = f"/{self._logins.find(request.url.path.split('/')[1], cookie_of(request)).place}"
        page = _templates.get_template("message.html").render(
            node=self._node.name, login=None, base=base, what=what, action=action, good=status < 400
        )
        return HTMLResponse(page, status)


@dataclass(frozen=True)
class Asked:
    """A request of somebody who may make it."""

    request: Request
    login: Login
    form: dict[str, str]


@dataclass(frozen=True)
class Endpoint:
    """One row of the table: whoever has one of the roles gets the answer."""

    method: str
    path: str
    answer: Callable[[Pages, Asked], Awaitable[Response]]
    roles: frozenset[Reader]


BOTH: frozenset[Reader] = frozenset({"operator", "officer"})
OPERATOR: frozenset[Reader] = frozenset({"operator"})
ENDPOINTS = (
    Endpoint("GET", "/", Pages.overview, BOTH),
    Endpoint("GET", "/sessions/{session}", Pages.session, BOTH),
    Endpoint("GET", "/sessions/{session}/contract", Pages.contract, BOTH),
    Endpoint("GET", "/sessions/{session}/report", Pages.report, BOTH),
    Endpoint("GET", "/sessions/{session}/decide", Pages.consider, OPERATOR),
    Endpoint("POST", "/sessions/{session}/approve", Pages.approve, OPERATOR),
    Endpoint("POST", "/sessions/{session}/refuse", Pages.refuse, OPERATOR),
    Endpoint("GET", "/sessions/{session}/withdraw", Pages.consider_withdrawal, OPERATOR),
    Endpoint("POST", "/sessions/{session}/withdraw", Pages.withdraw, OPERATOR),
    Endpoint("GET", "/sessions/{session}/recording", Pages.consider_recording, OPERATOR),
    Endpoint("POST", "/sessions/{session}/recording", Pages.destroy_recording, OPERATOR),
    Endpoint("GET", "/subject", Pages.subject, BOTH),
    Endpoint("POST", "/subject", Pages.subject, BOTH),
    Endpoint("GET", "/audit", Pages.audit, BOTH),
    Endpoint("GET", "/audit/log", Pages.export, BOTH),
    Endpoint("GET", "/audit/head", Pages.signed_head, BOTH),
    Endpoint("POST", "/audit/verify", Pages.verify, BOTH),
    Endpoint("POST", "/logout", Pages.leave, BOTH),
)


def _to(asked: Asked, path: str) -> Response:
    return RedirectResponse(f"/{asked.login.place}{path}", HTTPStatus.SEE_OTHER)


def _download(content: bytes, kind: str, name: str) -> Response:
    return Response(content, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})


_templates.filters["described"] = views.described
_templates.filters["meaning"] = lambda kind: (VOCABULARY[kind].__doc__ or "").split(".")[0]
