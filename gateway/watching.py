"""A session's events, typed, as its stream tells them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx2

from gateway.views import SessionView
from parties.errors import GatewayError
from parties.service.lifecycle import FINAL


@dataclass(frozen=True)
class SessionEvent:
    """One event of a session's stream: `kind` is "state" (data: a SessionView) or "progress" (who, iteration, …)."""

    kind: str
    data: dict[str, Any]
    id: str = ""  # with which `events` goes on after it

    @classmethod
    def of(cls, event: httpx2.ServerSentEvent) -> SessionEvent:
        return cls(event.event, json.loads(event.data), event.id)

    @property
    def view(self) -> SessionView:
        """The session, from an event of kind "state"."""
        return SessionView.model_validate(self.data)

    @property
    def final(self) -> bool:
        """Whether the session is over, and no event follows."""
        return self.kind == "state" and self.data["state"] in FINAL

    @property
    def typed(self) -> Event:
        """Raises: GatewayError for an event of a kind that this client does not know."""
        if self.kind == "state":
            return StateChanged(self.view)
        if self.kind == "progress":
            return Progressed(
                who=str(self.data["who"]),
                stage=None if self.data.get("stage") is None else str(self.data["stage"]),
                iteration=int(self.data["iteration"]),
                of=int(self.data["of"]),
                rounds=int(self.data["rounds"]),
                bytes_sent=int(self.data["bytes_sent"]),
                loss=None if self.data.get("loss") is None else float(self.data["loss"]),
            )
        raise GatewayError(f"the gateway told an event of kind '{self.kind[:32]}'", action="use its client's version")


@dataclass(frozen=True)
class StateChanged:
    """The session is in another state, or somebody approved, or came or went."""

    view: SessionView


@dataclass(frozen=True)
class Progressed:
    """How far one party is."""

    who: str
    iteration: int  # of a prediction, rows; 0 of 0 before they are counted
    of: int
    rounds: int
    bytes_sent: int
    loss: float | None  # mean training loss, where the contract discloses it
    stage: str | None = None  # that it is in; None: it did not say


Event: TypeAlias = StateChanged | Progressed
