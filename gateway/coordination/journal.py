"""Where the gateway records what it does. No record, no act: an append that raises stops the step it belongs to."""

from __future__ import annotations

from typing import Protocol

from gateway.access.principal import Principal
from gateway.storage.store import SessionRecord
from parties.audit.events import (
    ContractExpired,
    Event,
    SessionCancelled,
    SessionCompleted,
    SessionFailed,
    SessionStarted,
)
from parties.service.lifecycle import State
from parties.service.messages import Fault, Finished

MAX_COUNT = 2**53 - 1  # as far as JSON's numbers are whole


class Journal(Protocol):
    """An append-only log; `append` returns when the event is durable."""

    def append(self, event: Event) -> object: ...


class MemoryJournal:
    """A journal that ends with the process."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def append(self, event: Event) -> None:
        self.events.append(event)


def entry_for(
    record: SessionRecord, state: State, fault: Fault | None, reports: dict[str, Finished], by: Principal | None = None
) -> Event | None:
    """What stands in the log for a session's step into a state; None where the approvals' own entries say it."""
    session, who, reason = record.digest, fault.who if fault else "gateway", fault.code if fault else "gateway"
    match state:
        case State.RUNNING:
            return SessionStarted(session=session, epoch=1, parties=len(record.contract.parties))
        case State.COMPLETED:
            return SessionCompleted(
                session=session,
                rounds=max(report.rounds for report in reports.values()),
                bytes_sent=min(sum(report.bytes_sent for report in reports.values()), MAX_COUNT),
            )
        case State.FAILED:
            return SessionFailed(session=session, reason=reason, who=who)
        case State.REFUSED | State.CANCELLED:
            ended = SessionCancelled(session=session, reason=reason, who=who)
            return ended.model_copy(update=dict(by.recorded)) if by else ended
        case State.EXPIRED:
            return ContractExpired(session=session)
        case _:
            return None
