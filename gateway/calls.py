"""What a client asks of a gateway's REST interface, and what an answer means: without any transport.

`Gateway` and `AsyncGateway` send these calls in their own way, and share all else.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import httpx2
from pydantic import TypeAdapter

from gateway.access.seen_tokens import TokenWanted
from gateway.planning.estimate import Estimate, Link
from gateway.storage.token_rows import TokenView
from gateway.views import (
    ApprovalView,
    Health,
    LogEntry,
    LogHead,
    LoginOffered,
    Me,
    ParticipantView,
    SessionCreated,
    SessionView,
    TokenIssued,
)
from parties.agreement.kinds import AnyContract, Kind, ProposedPlan, parse_contract, parse_plan_text
from parties.errors import GatewayError
from parties.service.lifecycle import FINAL, State
from parties.web.trust import CA_VARIABLE

T = TypeVar("T")

ID_LENGTH = 64
FIRST_PAUSE_S, MOST_PAUSE_S = 0.2, 5.0  # before a stream that broke off is taken up again

_SESSIONS: TypeAdapter[list[SessionView]] = TypeAdapter(list[SessionView])
_TOKENS: TypeAdapter[tuple[TokenView, ...]] = TypeAdapter(tuple[TokenView, ...])
_ENTRIES: TypeAdapter[tuple[LogEntry, ...]] = TypeAdapter(tuple[LogEntry, ...])
_APPROVALS: TypeAdapter[dict[str, ApprovalView]] = TypeAdapter(dict[str, ApprovalView])
_PARTICIPANTS: TypeAdapter[tuple[ParticipantView, ...]] = TypeAdapter(tuple[ParticipantView, ...])


class Unreachable(GatewayError):
    """The gateway did not answer, or its connection broke: the same call may succeed later."""


class SessionFailed(GatewayError):
    """A session that did not complete: `view` is its end, `party` who caused it, `cause` what happened."""

    def __init__(self, view: SessionView) -> None:
        self.view, fault = view, view.fault
        self.party = fault.who if fault else ""
        self.cause = fault.what if fault else "no reason was given"
        by = f" by {self.party}" if self.party else ""
        action = (fault.action if fault else "") or f"see `privity session show {view.id[:12]}`, and propose it again"
        super().__init__(f"session {view.id[:12]} {view.state}{by}: {self.cause}", action=action)


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[httpx2.Response], T]
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """Some sessions of a list, and the call for those that follow."""

    sessions: list[SessionView]
    following: Call[Page] | None


def estimate(plan: ProposedPlan, link: Link | None) -> Call[Estimate]:
    given = {} if link is None else link.model_dump(mode="json", exclude_unset=True)  # the rest as it was measured
    asked = {"plan": plan.model_dump(mode="json"), "link": given}
    return Call("POST", "/v1/plans:estimate", _of(Estimate), asked)


def propose(plan: ProposedPlan, key: str) -> Call[SessionCreated]:
    return Call("POST", "/v1/sessions", _of(SessionCreated), plan.model_dump(mode="json"), _under(key))


def sessions(
    states: Collection[State], kind: Kind | None, participant: str | None, page: int, text: str | None = None
) -> Call[Page]:
    wanted = {"state": [str(state) for state in states], "kind": kind, "participant": participant, "find": text}
    return _page({key: value for key, value in wanted.items() if value} | {"limit": page})


def _page(query: Mapping[str, Any]) -> Call[Page]:
    def read(response: httpx2.Response) -> Page:
        found = _SESSIONS.validate_json(response.content)
        more = "next" in response.links
        return Page(found, _page({**query, "cursor": found[-1].id}) if more else None)

    return Call("GET", f"/v1/sessions?{urlencode(query, doseq=True)}", read)


def session(session: str) -> Call[SessionView]:
    return Call("GET", f"/v1/sessions/{session}", _of(SessionView))


def cancel(session: str, key: str) -> Call[SessionView]:
    return Call("POST", f"/v1/sessions/{session}/cancel", _of(SessionView), headers=_under(key))


def contract(session: str) -> Call[AnyContract]:
    """Its digest is checked against the session's id."""

    def read(response: httpx2.Response) -> AnyContract:
        if hashlib.sha256(response.content).hexdigest() != session:
            raise GatewayError(
                "the gateway showed another contract than the one of this id", action="ask its operator why"
            )
        return parse_contract(response.content)

    return Call("GET", f"/v1/sessions/{session}/contract", read)


def plan(session: str) -> Call[ProposedPlan]:
    return Call("GET", f"/v1/sessions/{session}/plan", lambda response: parse_plan_text(response.text))


def approvals(session: str) -> Call[dict[str, ApprovalView]]:
    return Call("GET", f"/v1/sessions/{session}/approvals", lambda response: _APPROVALS.validate_json(response.content))


def participants() -> Call[list[ParticipantView]]:
    return Call("GET", "/v1/participants", lambda response: list(_PARTICIPANTS.validate_json(response.content)))


def log_entries(session: str) -> Call[list[LogEntry]]:
    return Call("GET", f"/v1/sessions/{session}/log", lambda response: list(_ENTRIES.validate_json(response.content)))


def log_proof(session: str, entry: int) -> Call[str]:
    return Call("GET", f"/v1/sessions/{session}/log/{entry}", lambda response: response.text)


def me() -> Call[Me]:
    return Call("GET", "/v1/me", _of(Me))


def log_head() -> Call[LogHead]:
    return Call("GET", "/v1/log/head", _of(LogHead))


def health() -> Call[Health]:
    return Call("GET", "/v1/health", _of(Health))


def metrics() -> Call[str]:
    return Call("GET", "/metrics", lambda response: response.text)


def login(url: str) -> Call[str]:
    return Call("POST", "/v1/logins", lambda response: url + LoginOffered.model_validate_json(response.content).path)


def tokens() -> Call[list[TokenView]]:
    return Call("GET", "/v1/tokens", lambda response: list(_TOKENS.validate_json(response.content)))


def create_token(wanted: TokenWanted, key: str) -> Call[TokenIssued]:
    return Call("POST", "/v1/tokens", _of(TokenIssued), wanted.model_dump(mode="json"), _under(key))


def revoke_token(token: str) -> Call[TokenView]:
    return Call("DELETE", f"/v1/tokens/{quote(token, safe='')}", _of(TokenView))


def only(found: Collection[SessionView], beginning: str) -> str:
    """The id of the one session that begins so. Raises: GatewayError if there is none, or several."""
    begun = [view.id for view in found if view.id.startswith(beginning)]
    if len(begun) != 1:
        raise GatewayError(
            f"{len(begun) or 'no'} sessions begin with '{beginning[:ID_LENGTH]}'",
            action="`privity session list` shows them",
        )
    return begun[0]


def completed(view: SessionView) -> SessionView:
    """The view of a session that is over. Raises: SessionFailed unless it completed."""
    if view.state is State.COMPLETED:
        return view
    raise SessionFailed(view)


def is_final(view: SessionView) -> bool:
    return view.state in FINAL


class Patience:
    """How long to wait before a stream that broke off is taken up again, and for how long at most."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._pause_s, self._since = FIRST_PAUSE_S, -math.inf  # when the gateway was heard last, while it is away
        self.begun()

    def begun(self) -> None:
        """The stream is asked for."""
        self._begun = time.monotonic()

    def heard(self) -> None:
        """An event came."""
        self._pause_s, self._since = FIRST_PAUSE_S, -math.inf

    def pause_s(self, error: Unreachable) -> float:
        """Seconds to wait, more each time. Raises: the error, once the gateway has been away for too long."""
        now = time.monotonic()
        if self._since == -math.inf or now - self._begun > self._patience_s:  # a stream that lasted, if without a word
            self._pause_s, self._since = FIRST_PAUSE_S, now
        if now - self._since > self._patience_s:
            raise error
        pause, self._pause_s = self._pause_s, min(2 * self._pause_s, MOST_PAUSE_S)
        return pause


def refusal(response: httpx2.Response) -> GatewayError:
    """The problem that a response carries, as an error."""
    try:
        problem = json.loads(response.content)
        return GatewayError(str(problem["detail"]), action=str(problem.get("action", "")))
    except (ValueError, KeyError, TypeError):
        return GatewayError(
            f"the answer was {response.status_code} without an explanation", action="is this a Privity gateway?"
        )


def unreachable(url: str, error: httpx2.HTTPError) -> Unreachable:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Unreachable(
            f"the certificate of the gateway at {url} is of no authority that is trusted here",
            action=f"name its authority's file in {CA_VARIABLE}, or use the gateway's own address",
        )
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return Unreachable(
            f"the gateway at {url} does not answer",
            action="start it with `privity gateway serve`, or name another with --gateway",
        )
    if isinstance(error, httpx2.TimeoutException):
        return Unreachable(f"the gateway at {url} took too long", action="try again, or see its log")
    return Unreachable(f"the connection to the gateway at {url} broke", action="try again, or see its log")


def broken_off(url: str) -> Unreachable:
    return Unreachable(
        f"the gateway at {url} ended the stream before the session's end",
        action="watch again once it serves; the session itself goes on",
    )


def _under(key: str) -> dict[str, str]:
    return {"idempotency-key": key} if key else {}


def _of(model: Any) -> Callable[[httpx2.Response], Any]:
    return lambda response: model.model_validate_json(response.content)
