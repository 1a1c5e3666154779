"""A client of the gateway's REST interface."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import httpx2
from pydantic import TypeAdapter

from gateway.estimate import Estimate, EstimateAsked, Link
from gateway.views import Health, LoginOffered, ParticipantView, SessionCreated, SessionView
from parties.errors import GatewayError
from parties.kinds import AnyContract, Kind, ProposedPlan, parse_contract
from parties.lifecycle import FINAL, State

ID_LENGTH = 64

_SESSIONS: TypeAdapter[list[SessionView]] = TypeAdapter(list[SessionView])
_PARTICIPANTS: TypeAdapter[list[ParticipantView]] = TypeAdapter(list[ParticipantView])


@dataclass(frozen=True)
class SessionEvent:
    """One event of a session's stream: `kind` is "state" (data: a SessionView) or "progress" (who, iteration, …)."""

    kind: str
    data: dict[str, Any]
    id: str = ""  # with which `events` goes on after it

    @property
    def view(self) -> SessionView:
        """The session, from an event of kind "state"."""
        return SessionView.model_validate(self.data)


class GatewayClient:
    """One gateway, one token. Every call raises GatewayError with what went wrong and what to do.

    Usable as a context manager; not for several threads at once.
    """

    def __init__(self, url: str, token: str, timeout: float = 30, *, page: int = 100) -> None:
        self._url = url.rstrip("/")
        self._page = page  # sessions that a list asks for at once
        self._http = httpx2.Client(
            base_url=self._url,
            headers={"authorization": f"Bearer {token}"},
            timeout=timeout,
            trust_env=False,  # a proxy has no business between this machine and itself
        )

    def estimate(self, plan: ProposedPlan, link: Link | None = None) -> Estimate:
        """What a contract of this plan would quote, and its time on this link; nothing is proposed."""
        asked = EstimateAsked(plan=plan, link=link or Link())
        return Estimate.model_validate(self._call("POST", "/v1/plans:estimate", asked.model_dump(mode="json")))

    def propose(self, plan: ProposedPlan, key: str = "") -> SessionCreated:
        """Ask for a session; its participants are sent the contract.

        `key` is the caller's name for this proposal: after an error it may safely be sent again under the same one.
        """
        headers = {"idempotency-key": key} if key else {}
        body = plan.model_dump(mode="json")
        return SessionCreated.model_validate(self._request("POST", "/v1/sessions", body, headers).json())

    def sessions(
        self, *, states: Collection[State] = (), kind: Kind | None = None, participant: str | None = None
    ) -> list[SessionView]:
        """All sessions in one of the states (none: any), of the kind and with the participant, newest first."""
        wanted = {"state": [str(state) for state in states], "kind": kind, "participant": participant}
        query: dict[str, Any] = {key: value for key, value in wanted.items() if value} | {"limit": self._page}
        found: list[SessionView] = []
        while True:
            response = self._request("GET", f"/v1/sessions?{urlencode(query, doseq=True)}")
            found += _SESSIONS.validate_json(response.content)
            if "next" not in response.links:
                return found
            query["cursor"] = found[-1].id

    def find(self, beginning: str) -> str:
        """The id of the one session that begins so. Raises: GatewayError if there is none, or several."""
        if len(beginning) == ID_LENGTH:
            return beginning
        found = [view.id for view in self.sessions() if view.id.startswith(beginning)]
        if len(found) != 1:
            raise GatewayError(
                f"{len(found) or 'no'} sessions begin with '{beginning[:ID_LENGTH]}'",
                action="`privity session list` shows them",
            )
        return found[0]

    def session(self, session: str) -> SessionView:
        return SessionView.model_validate(self._call("GET", f"/v1/sessions/{session}"))

    def contract(self, session: str) -> AnyContract:
        """The session's contract, whose digest is checked against the session's id."""
        content = self._request("GET", f"/v1/sessions/{session}/contract").content
        if hashlib.sha256(content).hexdigest() != session:
            raise GatewayError(
                "the gateway showed another contract than the one of this id", action="ask its operator why"
            )
        return parse_contract(content)

    def cancel(self, session: str) -> SessionView:
        return SessionView.model_validate(self._call("POST", f"/v1/sessions/{session}/cancel"))

    def participants(self) -> list[ParticipantView]:
        return _PARTICIPANTS.validate_python(self._call("GET", "/v1/participants"))

    def events(self, session: str, after: str = "") -> Generator[SessionEvent]:
        """State changes and progress, the present state first or what came after an event's id; ends at a final state.

        The gateway sends a sign of life every 15 seconds: silence past the timeout is an error.
        """
        try:
            headers = {"last-event-id": after} if after else {}
            with self._http.stream("GET", f"/v1/sessions/{session}/events", headers=headers) as response:
                if not response.is_success:
                    response.read()
                    raise _refusal(response)
                for event in httpx2.EventSource(response):
                    data = json.loads(event.data)
                    yield SessionEvent(event.event, data, event.id)
                    if event.event == "state" and data["state"] in FINAL:
                        return
        except httpx2.HTTPError as exc:
            raise self._unreachable(exc) from exc
        raise GatewayError(
            f"the gateway at {self._url} ended the stream before the session's end",
            action="watch again once it serves; the session itself goes on",
        )

    def health(self) -> Health:
        return Health.model_validate(self._call("GET", "/v1/health"))

    def login(self) -> str:
        """An address for a browser on this machine; it works once, within ten minutes."""
        return self._url + LoginOffered.model_validate(self._call("POST", "/v1/logins")).path

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"GatewayClient({self._url})"

    def _call(self, method: str, path: str, body: object = None) -> Any:
        return self._request(method, path, body).json()

    def _request(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        try:
            response = self._http.request(method, path, json=body, headers=headers)
        except httpx2.HTTPError as exc:
            raise self._unreachable(exc) from exc
        if not response.is_success:
            raise _refusal(response)
        return response

    def _unreachable(self, error: httpx2.HTTPError) -> GatewayError:
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return GatewayError(
                f"the gateway at {self._url} does not answer",
                action="start it with `privity gateway serve`, or name another with --gateway",
            )
        if isinstance(error, httpx2.TimeoutException):
            return GatewayError(f"the gateway at {self._url} took too long", action="try again, or see its log")
        return GatewayError(f"the connection to the gateway at {self._url} broke", action="try again, or see its log")


def _refusal(response: httpx2.Response) -> GatewayError:
    """The problem that a response carries, as an error."""
    try:
        problem = json.loads(response.content)
        return GatewayError(str(problem["detail"]), action=str(problem.get("action", "")))
    except (ValueError, KeyError, TypeError):
        return GatewayError(
            f"the answer was {response.status_code} without an explanation", action="is this a Privity gateway?"
        )
