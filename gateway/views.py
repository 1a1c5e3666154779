"""What REST shows of sessions and participants: frozen models, with nothing in them that no contract discloses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar

from gateway.store import Rows, SessionRecord
from parties.kinds import Kind
from parties.lifecycle import State
from parties.messages import Fault, Finished, Progress, PublishedData, Stages, ToldModel, Validated
from parties.plan import Frozen

T = TypeVar("T")


@dataclass(frozen=True)
class Loss:
    """When a participant said that it lost another, on the gateway's clock, and what it saw."""

    at: float
    fault: Fault


@dataclass
class Live:
    """What the gateway knows of an open session beyond its row; lost with the process."""

    waiting: dict[str, str] = field(default_factory=dict)  # why an operator must decide, by participant
    progress: dict[str, Progress] = field(default_factory=dict)  # latest, by participant
    losses: dict[str, Loss] = field(default_factory=dict)  # by reporter, in order


class ProgressView(Frozen):
    """How far one participant's worker is."""

    iteration: int
    of: int
    rounds: int
    bytes_sent: int
    loss: float | None  # mean training loss, where the contract discloses it


class ReportView(Frozen):
    """One participant's end."""

    seconds: float
    rounds: int
    bytes_sent: int
    converged: bool | None  # where the contract discloses it
    models: tuple[ToldModel, ...]
    validated: tuple[Validated, ...]
    stages: Stages  # seconds of each, in order; a dealer tells none
    fault: Fault | None


class ParticipantState(Frozen):
    """One participant of one session."""

    name: str
    role: Literal["party", "dealer"]
    online: bool
    approved: bool
    waiting: str | None  # why its operator must decide
    progress: ProgressView | None
    report: ReportView | None


class SessionView(Frozen):
    """A session as the gateway sees it."""

    id: str
    state: State
    kind: Kind
    purpose: str
    created: datetime
    expires: datetime
    waiting_for: tuple[str, ...]  # participants whose turn it is
    participants: tuple[ParticipantState, ...]
    converged: bool | None  # whether the gradient ended below the contract's tol, once all parties have told the same
    models: tuple[ToldModel, ...]  # likewise; with figures of held-out rows, where the contract discloses them
    validated: tuple[Validated, ...]  # the cross-validated loss of each C, likewise
    withdrawn: tuple[str, ...] = ()  # parties that ended their consent
    fault: Fault | None


class SessionCreated(Frozen):
    """A proposed session, with the contract that its participants were sent."""

    id: str
    state: State
    contract: dict[str, Any]


class ParticipantView(Frozen):
    """An organisation that may take part, and what it publishes."""

    name: str
    role: Literal["party", "dealer"]
    fingerprint: str | None  # None: invited, not joined yet
    online: bool
    published: tuple[PublishedData, ...]
    head: str | None  # newest signed head of its audit log


class LoginOffered(Frozen):
    """Where a browser on this machine logs in, once."""

    path: str


class Health(Frozen):
    """That the gateway serves, and who it is."""

    status: Literal["ok"] = "ok"
    name: str
    version: str
    bytes_sent: int  # to participants, since it started


def progress_view(progress: Progress | None) -> ProgressView | None:
    return None if progress is None else ProgressView(**progress.model_dump(exclude={"type", "session"}))


def report_view(report: Finished | None) -> ReportView | None:
    return None if report is None else ReportView(**report.model_dump(exclude={"type", "session"}))


def session_view(record: SessionRecord, rows: Rows, live: Live, lines: Mapping[str, object]) -> SessionView:
    """`lines` has the participants that are connected."""
    approvals, reports = rows.approvals(record.digest), rows.reports(record.digest)
    progress = rows.progress(record.digest) | live.progress
    participants = tuple(
        ParticipantState(
            name=name,
            role=role,
            online=name in lines,
            approved=name in approvals,
            waiting=live.waiting.get(name),
            progress=progress_view(progress.get(name)),
            report=report_view(reports.get(name)),
        )
        for name, role in record.roles.items()
    )
    return SessionView(
        id=record.digest,
        state=record.state,
        kind=record.contract.kind,
        purpose=record.contract.purpose,
        created=record.created,
        expires=record.expires,
        waiting_for=tuple(item.name for item in participants if _awaited(record.state, item)),
        participants=participants,
        converged=_told_alike(participants, lambda report: report.converged),
        models=_told_alike(participants, lambda report: report.models) or (),
        validated=_told_alike(participants, lambda report: report.validated) or (),
        withdrawn=tuple(rows.withdrawals(record.digest)),
        fault=record.fault,
    )


def _told_alike(participants: tuple[ParticipantState, ...], what: Callable[[ReportView], T | None]) -> T | None:
    told = [what(item.report) if item.report else None for item in participants if item.role == "party"]
    return told[0] if all(each == told[0] for each in told) else None


def _awaited(state: State, participant: ParticipantState) -> bool:
    match state:
        case State.PROPOSED:
            return not participant.approved
        case State.APPROVED:
            return not participant.online
        case State.RUNNING:
            return participant.report is None
        case _:
            return False
