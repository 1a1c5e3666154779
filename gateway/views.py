"""What REST shows of sessions and participants: frozen models, with nothing in them that no contract discloses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeVar

from pydantic import Field

from gateway.access.principal import Role
from gateway.coordination.course import Course
from gateway.storage.store import Member, Said, SessionRecord
from gateway.storage.token_rows import TokenView
from mpc.stages import Stage
from parties.agreement.kinds import Kind
from parties.agreement.plan import Frozen
from parties.keys.identity import fingerprint
from parties.service.lifecycle import State
from parties.service.messages import (
    Envelope,
    Fault,
    Finished,
    InformationValue,
    PublishedData,
    Stages,
    ToldModel,
    Validated,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Loss:
    """When a participant said that it lost another, on the gateway's clock, and what it saw."""

    at: float
    fault: Fault


@dataclass
class Live:
    """What the gateway knows of an open session beyond its row; lost with the process."""

    progress: dict[str, Course] = field(default_factory=dict)  # latest, by participant
    losses: dict[str, Loss] = field(default_factory=dict)  # by reporter, in order


class ProgressView(Frozen):
    """How far one participant's worker is."""

    stage: Stage | None = None  # None: it did not say
    iteration: int  # 0 of 0 before the engine counts them
    of: int
    rounds: int
    bytes_sent: int
    loss: float | None  # mean training loss, where the contract discloses it
    losses: tuple[tuple[int, float], ...] = ()  # iteration and loss: of many every second alone, or fourth


class ReportView(Frozen):
    """One participant's end."""

    seconds: float
    rounds: int
    bytes_sent: int
    converged: bool | None  # where the contract discloses it
    estimate: int | None  # likewise
    models: tuple[ToldModel, ...]
    validated: tuple[Validated, ...]
    information_values: tuple[InformationValue, ...] = ()
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
    estimate: int | None  # of common records, likewise; 0: fewer than the contract has told
    models: tuple[ToldModel, ...]  # likewise; with figures of held-out rows, where the contract discloses them
    validated: tuple[Validated, ...]  # the cross-validated loss of each C, likewise
    information_values: tuple[InformationValue, ...] = ()  # of columns that are weighed by the label, likewise
    withdrawn: tuple[str, ...] = ()  # parties that ended their consent
    fault: Fault | None

    def _repr_html_(self) -> str:
        from gateway.notebook import session_html

        return session_html(self.id, self)


class ApprovalView(Frozen):
    """One participant's signature under a session's contract, as `check_approval` verifies it."""

    envelope: Envelope
    stored: datetime | None  # when the gateway took it, by its own log; None: another gateway on its database did


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
    public_key: str | None = None  # that signs it, in hex
    joined: datetime | None = None
    version: str = ""  # Privity's, as it said when it connected last
    since: datetime | None = None  # when it connected last; None: never
    left: datetime | None = None  # when that connection ended; None while it lasts, or if its gateway died
    cosigned: tuple[str, ...] = ()  # heads of its log with partners' cosignatures, as they passed by; not verified here


class LogHead(Frozen):
    """The gateway's own audit log: its key, and the newest head that it signed."""

    name: str
    public_key: str  # in hex
    fingerprint: str
    head: str | None  # None: no entry yet


class LogEntry(Frozen):
    """An entry of the gateway's own audit log about a session, of which there is a proof."""

    entry: int  # its number, from 0
    time: datetime
    type: str  # of its event


class Me(Frozen):
    """Who makes a request, and what that lets them do."""

    account: str
    organisation: str
    role: Role
    is_read_only: bool
    name: str  # for people, as an identity provider tells it; empty: the account's
    token: str  # id of the personal token that let them in; empty: none did
    expires: datetime | None  # when that token ends
    sees: str | None  # the organisation to whose sessions they are confined; None: all are seen
    may: tuple[str, ...]  # method and path of each route of REST that is open to them


class LoginOffered(Frozen):
    """Where a browser on this machine logs in, once."""

    path: str


class TokenIssued(Frozen):
    """A personal token that was just made: its secret is told this once."""

    token: TokenView
    secret: str = Field(repr=False)


class Health(Frozen):
    """That the gateway serves, and who it is."""

    status: Literal["ok"] = "ok"
    name: str
    version: str


def progress_view(progress: Course | None) -> ProgressView | None:
    return None if progress is None else ProgressView(**progress.model_dump(exclude={"type", "session", "links"}))


def report_view(report: Finished | None) -> ReportView | None:
    return None if report is None else ReportView(**report.model_dump(exclude={"type", "session", "links"}))


def participant_view(
    member: Member,
    published: tuple[PublishedData, ...],
    *,
    online: bool,
    cosigned: tuple[str, ...],
    with_heads: bool,
) -> ParticipantView:
    return ParticipantView(
        name=member.name,
        role=member.role,
        fingerprint=fingerprint(bytes.fromhex(member.public_key)) if member.public_key else None,
        online=online,
        published=published,
        head=member.head if with_heads else None,
        public_key=member.public_key,
        joined=member.joined,
        version=member.version or "",
        since=member.since,
        left=member.left,
        cosigned=cosigned if with_heads else (),
    )


def session_view(record: SessionRecord, said: Said, live: Live, present: Mapping[str, object]) -> SessionView:
    """`present` has the participants that are connected."""
    progress = said.progress | live.progress
    participants = tuple(
        ParticipantState(
            name=name,
            role=role,
            online=name in present,
            approved=name in said.approved,
            waiting=said.waiting.get(name),
            progress=progress_view(progress.get(name)),
            report=report_view(said.reports.get(name)),
        )
        for name, role in record.roles.items()
    )
    return SessionView(
        id=record.digest,
        state=record.state,
        kind=record.outline.kind,
        purpose=record.outline.purpose,
        created=record.created,
        expires=record.expires,
        waiting_for=tuple(item.name for item in participants if _awaited(record.state, item)),
        participants=participants,
        converged=_told_alike(participants, lambda report: report.converged),
        estimate=_told_alike(participants, lambda report: report.estimate),
        models=_told_alike(participants, lambda report: report.models) or (),
        validated=_told_alike(participants, lambda report: report.validated) or (),
        information_values=_told_alike(participants, lambda report: report.information_values) or (),
        withdrawn=tuple(said.withdrew),
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
