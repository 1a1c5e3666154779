"""What the gateway's own audit log says of one session, as steps in order, for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from gateway.evidence import about
from parties.audit import events
from parties.report.words import reason

_WORDS: Final[dict[type[events.Event], str]] = {
    events.SessionProposed: "proposed to {parties} parties and the dealer",
    events.ApprovalStored: "{name} signed",
    events.SessionStarted: "all had signed and were connected; computing began",
    events.SessionCompleted: "completed as agreed, after {rounds} rounds",
    events.SessionFailed: "failed, first at {who}: {why}",
    events.SessionCancelled: "ended by {who}: {why}",
    events.ContractExpired: "the contract’s time ran out before all had signed",
    events.ConsentWithdrawn: "{who} withdrew its consent",
    events.ContractAltered: "what came in the name of {who} was not its signature under this contract",
}


@dataclass(frozen=True)
class Step:
    """One line of the timeline; `who` acted, if it was one alone."""

    at: datetime
    what: str
    event: events.Event


def timeline(log: Path, session: str) -> tuple[Step, ...]:
    """Cost: one pass over the log's bytes; call it in a thread. Raises: AuditError if the log can't be read."""
    return tuple(
        Step(entry.time, _said(entry.event), entry.event)
        for entry in about(log, session)
        if type(entry.event) in _WORDS
    )


def signings(steps: Iterable[Step]) -> dict[str, datetime]:
    """When each participant's approval was stored, of several the newest."""
    return {step.event.name: step.at for step in steps if isinstance(step.event, events.ApprovalStored)}


def _said(event: events.Event) -> str:
    fields = {field: "something" if value is None else value for field, value in event}
    return _WORDS[type(event)].format(why=reason(str(fields.get("reason", ""))), **fields)
