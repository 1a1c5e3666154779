"""Clients of the gateway's REST interface: `Gateway`, and `AsyncGateway` with the same calls to be awaited.

with Gateway("http://127.0.0.1:8470", token) as gateway:
session = gateway.propose(plan)
for event in session.watch():
...
print(session.wait().models)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Generator
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypeVar

import httpx2

from gateway import calls
from gateway.access.seen_tokens import TokenWanted
from gateway.calls import Call, Patience, Unreachable
from gateway.notebook import Board, Shown, cell_output, session_html
from gateway.planning.estimate import Estimate, Link
from gateway.storage.token_rows import TokenView
from gateway.views import ApprovalView, Health, LogEntry, LogHead, Me, ParticipantView, SessionView, TokenIssued
from gateway.watching import Event, Progressed, SessionEvent, StateChanged
from parties.agreement.kinds import AnyContract, Kind, ProposedPlan
from parties.service.lifecycle import State
from parties.web.trust import trusted

T = TypeVar("T")

PATIENCE_S = 120.0  # for a gateway that is away while a session is watched


class _Client:
    """What both clients are: one gateway, one token. Every call raises GatewayError: what went wrong, what to do."""

    def __init__(self, url: str, *, page: int) -> None:
        self._url, self._page = url.rstrip("/"), page

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url})"


class _Handle:
    """What both handles are: a session's id, and what was last seen of it."""

    def __init__(self, session: str, state: State | None = None) -> None:
        self.id = session
        self.state = state  # as last seen
        self.view: SessionView | None = None  # likewise
        self._course: dict[str, Progressed] = {}

    def _take(self, event: SessionEvent) -> Event:
        """Remember what an event tells."""
        found = event.typed
        if isinstance(found, StateChanged):
            self.view, self.state = found.view, found.view.state
        else:
            self._course[found.who] = found
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id[:12]}, {self.state or 'not looked at'})"

    def _repr_html_(self) -> str:
        return session_html(self.id, self.view, self._course.values())


class Gateway(_Client):
    """Usable as a context manager; not for several threads at once."""

    def __init__(self, url: str, token: str, timeout: float = 30, *, page: int = 100) -> None:
        """`page`: sessions that a list asks for at once."""
        super().__init__(url, page=page)
        self._http = httpx2.Client(
            base_url=self._url,
            headers={"authorization": f"Bearer {token}"},
            timeout=timeout,
            verify=trusted(),
            trust_env=False,  # a proxy has no business between this machine and itself
        )

    def estimate(self, plan: ProposedPlan, link: Link | None = None) -> Estimate:
        """What a contract of this plan would quote, and its time on this link; nothing is proposed."""
        return self._send(calls.estimate(plan, link))

    def propose(self, plan: ProposedPlan, key: str = "") -> Session:
        """Ask for a session; its participants are sent the contract.

        `key` is the caller's name for this proposal: after an error it may safely be sent again under the same one.
        """
        created = self._send(calls.propose(plan, key))
        return Session(self, created.id, created.state)

    def open(self, beginning: str) -> Session:
        """The session whose id is, or begins, so."""
        return Session(self, self.find(beginning))

    def sessions(
        self,
        *,
        states: Collection[State] = (),
        kind: Kind | None = None,
        participant: str | None = None,
        text: str | None = None,
    ) -> list[SessionView]:
        """All sessions in one of the states (none: any), of the kind and with the participant, newest first.

        `text`: what their ids begin with, or their purposes hold, in capitals or not.
        """
        found: list[SessionView] = []
        following: Call[calls.Page] | None = calls.sessions(states, kind, participant, self._page, text)
        while following is not None:
            page = self._send(following)
            found, following = found + page.sessions, page.following
        return found

    def find(self, beginning: str) -> str:
        """The id of the one session that begins so. Raises: GatewayError if there is none, or several."""
        return (
            beginning
            if len(beginning) == calls.ID_LENGTH
            else calls.only(self.sessions(text=beginning or None), beginning)
        )

    def session(self, session: str) -> SessionView:
        return self._send(calls.session(session))

    def contract(self, session: str) -> AnyContract:
        """The session's contract, whose digest is checked against the session's id."""
        return self._send(calls.contract(session))

    def plan(self, session: str) -> ProposedPlan:
        """What the session was proposed by; propose it again, as it is or with a `model_copy` that changes it."""
        return self._send(calls.plan(session))

    def approvals(self, session: str) -> dict[str, ApprovalView]:
        """Who signed the session's contract, and when; `check_approval` verifies each with the contract's keys."""
        return self._send(calls.approvals(session))

    def cancel(self, session: str, key: str = "") -> SessionView:
        """End it for everybody; `key` as `propose` has it."""
        return self._send(calls.cancel(session, key))

    def me(self) -> Me:
        """Who the token says that one is, what it may, and until when."""
        return self._send(calls.me())

    def participants(self) -> list[ParticipantView]:
        return self._send(calls.participants())

    def events(self, session: str, after: str = "") -> Generator[SessionEvent]:
        """State changes and progress, the present state first or what came after an event's id; ends at a final state.

        The gateway sends a sign of life every 15 seconds: silence past the timeout is an error.
        """
        try:
            headers = {"last-event-id": after} if after else {}
            with self._http.stream("GET", f"/v1/sessions/{session}/events", headers=headers) as response:
                if not response.is_success:
                    response.read()
                    raise calls.refusal(response)
                for told in httpx2.EventSource(response):
                    event = SessionEvent.of(told)
                    yield event
                    if event.final:
                        return
        except httpx2.HTTPError as exc:
            raise calls.unreachable(self._url, exc) from exc
        raise calls.broken_off(self._url)

    def tokens(self) -> list[TokenView]:
        """The account's own personal tokens; as an administrator the organisation's, as the consortium's all."""
        return self._send(calls.tokens())

    def create_token(self, wanted: TokenWanted | None = None, key: str = "") -> TokenIssued:
        """Make a token that may no more, and holds no longer, than the one in use; its secret is told this once.

        Under one `key` one is made: a repetition is an error that names it.
        """
        return self._send(calls.create_token(wanted or TokenWanted(), key))

    def revoke_token(self, token: str) -> TokenView:
        """End the token of this id."""
        return self._send(calls.revoke_token(token))

    def log_head(self) -> LogHead:
        """The newest signed head of the gateway's own audit log; keep it, to compare later."""
        return self._send(calls.log_head())

    def log_entries(self, session: str) -> list[LogEntry]:
        """The entries about a session in the gateway's own audit log that `log_proof` has a proof of, oldest first."""
        return self._send(calls.log_entries(session))

    def log_proof(self, session: str, entry: int) -> str:
        """The proof that an entry about a session stands in the gateway's log, for `privity audit verify` to check."""
        return self._send(calls.log_proof(session, entry))

    def health(self) -> Health:
        return self._send(calls.health())

    def metrics(self) -> str:
        """Figures of the whole gateway in Prometheus' format, for those who run it."""
        return self._send(calls.metrics())

    def login(self) -> str:
        """An address for a browser on this machine; it works once, within ten minutes."""
        return self._send(calls.login(self._url))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _send(self, call: Call[T]) -> T:
        try:
            response = self._http.request(call.method, call.path, json=call.body, headers=call.headers)
        except httpx2.HTTPError as exc:
            raise calls.unreachable(self._url, exc) from exc
        if not response.is_success:
            raise calls.refusal(response)
        return call.read(response)


class Session(_Handle):
    """One session at a gateway. In a notebook it shows itself."""

    def __init__(self, gateway: Gateway, session: str, state: State | None = None) -> None:
        super().__init__(session, state)
        self._gateway = gateway

    def look(self) -> SessionView:
        """As it is now."""
        self.view = self._gateway.session(self.id)
        self.state = self.view.state
        return self.view

    def contract(self) -> AnyContract:
        return self._gateway.contract(self.id)

    def plan(self) -> ProposedPlan:
        return self._gateway.plan(self.id)

    def approvals(self) -> dict[str, ApprovalView]:
        return self._gateway.approvals(self.id)

    def cancel(self) -> SessionView:
        return self._gateway.cancel(self.id)

    def watch(self, *, patience_s: float = PATIENCE_S) -> Generator[Event]:
        """Its events until it is over, the present state first; taken up where they were if the gateway goes away.

        Raises: GatewayError if it stays away for so long, or refuses.
        """
        after, over, patience = "", False, Patience(patience_s)
        while not over:
            try:
                patience.begun()
                for event in self._gateway.events(self.id, after):
                    after, over = event.id or after, event.final
                    patience.heard()
                    yield self._take(event)
            except Unreachable as exc:
                time.sleep(patience.pause_s(exc))

    def wait(self, board: Board | None = None, *, patience_s: float = PATIENCE_S) -> SessionView:
        """Its end. Meanwhile it shows itself on the board: in a notebook, if none is given, in the cell's output.

        Raises: SessionFailed, with cause, party and next step, if it does not complete.
        """
        shown = Shown(self, board or cell_output())
        for event in self.watch(patience_s=patience_s):
            shown.again(finished=isinstance(event, StateChanged))
        return calls.completed(self.view or self.look())


class AsyncGateway(_Client):
    """Usable as an asynchronous context manager."""

    def __init__(self, url: str, token: str, timeout: float = 30, *, page: int = 100) -> None:
        """`page`: sessions that a list asks for at once."""
        super().__init__(url, page=page)
        self._http = httpx2.AsyncClient(
            base_url=self._url,
            headers={"authorization": f"Bearer {token}"},
            timeout=timeout,
            verify=trusted(),
            trust_env=False,  # as above
        )

    async def estimate(self, plan: ProposedPlan, link: Link | None = None) -> Estimate:
        """As `Gateway.estimate`."""
        return await self._send(calls.estimate(plan, link))

    async def propose(self, plan: ProposedPlan, key: str = "") -> AsyncSession:
        """As `Gateway.propose`."""
        created = await self._send(calls.propose(plan, key))
        return AsyncSession(self, created.id, created.state)

    async def open(self, beginning: str) -> AsyncSession:
        """As `Gateway.open`."""
        return AsyncSession(self, await self.find(beginning))

    async def sessions(
        self,
        *,
        states: Collection[State] = (),
        kind: Kind | None = None,
        participant: str | None = None,
        text: str | None = None,
    ) -> list[SessionView]:
        """As `Gateway.sessions`."""
        found: list[SessionView] = []
        following: Call[calls.Page] | None = calls.sessions(states, kind, participant, self._page, text)
        while following is not None:
            page = await self._send(following)
            found, following = found + page.sessions, page.following
        return found

    async def find(self, beginning: str) -> str:
        """As `Gateway.find`."""
        return (
            beginning
            if len(beginning) == calls.ID_LENGTH
            else calls.only(await self.sessions(text=beginning or None), beginning)
        )

    async def session(self, session: str) -> SessionView:
        return await self._send(calls.session(session))

    async def contract(self, session: str) -> AnyContract:
        """As `Gateway.contract`."""
        return await self._send(calls.contract(session))

    async def plan(self, session: str) -> ProposedPlan:
        """As `Gateway.plan`."""
        return await self._send(calls.plan(session))

    async def approvals(self, session: str) -> dict[str, ApprovalView]:
        """As `Gateway.approvals`."""
        return await self._send(calls.approvals(session))

    async def cancel(self, session: str, key: str = "") -> SessionView:
        """As `Gateway.cancel`."""
        return await self._send(calls.cancel(session, key))

    async def me(self) -> Me:
        """As `Gateway.me`."""
        return await self._send(calls.me())

    async def participants(self) -> list[ParticipantView]:
        return await self._send(calls.participants())

    async def events(self, session: str, after: str = "") -> AsyncGenerator[SessionEvent]:
        """As `Gateway.events`."""
        try:
            headers = {"last-event-id": after} if after else {}
            async with self._http.stream("GET", f"/v1/sessions/{session}/events", headers=headers) as response:
                if not response.is_success:
                    await response.aread()
                    raise calls.refusal(response)
                async for told in httpx2.EventSource(response):
                    event = SessionEvent.of(told)
                    yield event
                    if event.final:
                        return
        except httpx2.HTTPError as exc:
            raise calls.unreachable(self._url, exc) from exc
        raise calls.broken_off(self._url)

    async def tokens(self) -> list[TokenView]:
        """As `Gateway.tokens`."""
        return await self._send(calls.tokens())

    async def create_token(self, wanted: TokenWanted | None = None, key: str = "") -> TokenIssued:
        """As `Gateway.create_token`."""
        return await self._send(calls.create_token(wanted or TokenWanted(), key))

    async def revoke_token(self, token: str) -> TokenView:
        """As `Gateway.revoke_token`."""
        return await self._send(calls.revoke_token(token))

    async def log_head(self) -> LogHead:
        """As `Gateway.log_head`."""
        return await self._send(calls.log_head())

    async def log_entries(self, session: str) -> list[LogEntry]:
        """As `Gateway.log_entries`."""
        return await self._send(calls.log_entries(session))

    async def log_proof(self, session: str, entry: int) -> str:
        """As `Gateway.log_proof`."""
        return await self._send(calls.log_proof(session, entry))

    async def health(self) -> Health:
        return await self._send(calls.health())

    async def metrics(self) -> str:
        """As `Gateway.metrics`."""
        return await self._send(calls.metrics())

    async def login(self) -> str:
        """As `Gateway.login`."""
        return await self._send(calls.login(self._url))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, call: Call[T]) -> T:
        try:
            response = await self._http.request(call.method, call.path, json=call.body, headers=call.headers)
        except httpx2.HTTPError as exc:
            raise calls.unreachable(self._url, exc) from exc
        if not response.is_success:
            raise calls.refusal(response)
        return call.read(response)


class AsyncSession(_Handle):
    """As `Session`, to be awaited."""

    def __init__(self, gateway: AsyncGateway, session: str, state: State | None = None) -> None:
        super().__init__(session, state)
        self._gateway = gateway

    async def look(self) -> SessionView:
        """As it is now."""
        self.view = await self._gateway.session(self.id)
        self.state = self.view.state
        return self.view

    async def contract(self) -> AnyContract:
        return await self._gateway.contract(self.id)

    async def plan(self) -> ProposedPlan:
        return await self._gateway.plan(self.id)

    async def approvals(self) -> dict[str, ApprovalView]:
        return await self._gateway.approvals(self.id)

    async def cancel(self) -> SessionView:
        return await self._gateway.cancel(self.id)

    async def watch(self, *, patience_s: float = PATIENCE_S) -> AsyncGenerator[Event]:
        """As `Session.watch`."""
        after, over, patience = "", False, Patience(patience_s)
        while not over:
            try:
                patience.begun()
                async with aclosing(self._gateway.events(self.id, after)) as events:
                    async for event in events:
                        after, over = event.id or after, event.final
                        patience.heard()
                        yield self._take(event)
            except Unreachable as exc:
                await asyncio.sleep(patience.pause_s(exc))

    async def wait(self, board: Board | None = None, *, patience_s: float = PATIENCE_S) -> SessionView:
        """As `Session.wait`."""
        shown = Shown(self, board or cell_output())
        async with aclosing(self.watch(patience_s=patience_s)) as events:
            async for event in events:
                shown.again(finished=isinstance(event, StateChanged))
        return calls.completed(self.view or await self.look())
