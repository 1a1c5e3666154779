"""The coordinator: brings proposals to participants, collects what they sign and say, ends a session for all at once.

It stores approvals and can't make one; its row of a session is for display, participants act on signatures. A step is
one transaction: rows and journal first, then the messages that follow from them. It runs in one event loop and never
waits inside a step.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeAlias

import rfc8785
import structlog

from gateway.blame import first_cause
from gateway.errors import BadCursor, Busy, NotFound
from gateway.estimate import Estimate, Link, estimate
from gateway.feed import Feed, Update, Watcher
from gateway.journal import Journal, entry_for
from gateway.once import Once, Proposed
from gateway.relay import Line, Relay
from gateway.resolve import Directory, Listed, resolve
from gateway.resolve_matching import resolve_matching
from gateway.resolve_prediction import resolve_prediction
from gateway.selection import EVERY, Selection
from gateway.settings import GatewaySettings
from gateway.store import Rows, SessionRecord, Store
from gateway.views import Live, Loss, ParticipantView, SessionView, session_view
from mpc.errors import PeerLost
from mpc.program import EVERY_FIGURE
from parties.audit.events import (
    ApprovalStored,
    ConsentWithdrawn,
    ContractAltered,
    Event,
    InvitationMade,
    SessionProposed,
)
from parties.contract import Contract, check_approval
from parties.errors import ConsentWithdrawn as WithdrawnError
from parties.errors import ContractError, GatewayError, PlanError
from parties.identity import fingerprint
from parties.kinds import AnyContract, ProposedPlan
from parties.lifecycle import FINAL, State, Step, advance
from parties.match_plan import MatchingPlan
from parties.messages import (
    Approve,
    Fault,
    Finished,
    FromDaemon,
    FromGateway,
    Head,
    Hello,
    Lost,
    Progress,
    Proposal,
    Publish,
    Refuse,
    Relayed,
    Start,
    Stop,
    Waiting,
    Welcome,
    Withdraw,
    Withdrawn,
)
from parties.plan import Plan
from parties.tls import utc_now
from parties.withdrawal import check_withdrawal, digest_of

log = structlog.get_logger()

AboutSession: TypeAlias = Approve | Refuse | Withdraw | Waiting | Progress | Lost | Finished
GRACE_S = 1.0  # from the first word that somebody vanished to the verdict


class _Turn:
    """One step under way: its rows, and what is said once they are committed."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.messages: list[tuple[str, FromGateway]] = []
        self.changed: dict[str, SessionRecord] = {}

    def send(self, names: Iterable[str], message: FromGateway) -> None:
        self.messages += [(name, message) for name in names]


class Sessions:
    """All sessions, and the participants that are connected."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        settings: GatewaySettings,
        *,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._journal, self._settings = store, journal, settings
        self._clock, self._monotonic = clock, monotonic
        self._feed = Feed()
        self._lines: dict[str, Line] = {}
        self._gone: dict[str, float] = {}  # when a participant's last stream ended
        self._began = monotonic()
        self._live: dict[str, Live] = defaultdict(Live)
        self._relay = Relay(self._lines)
        self.bytes_sent = 0  # to participants, since the start

    @contextmanager
    def _turn(self) -> Iterator[_Turn]:
        with self._store.transaction() as rows:
            turn = _Turn(rows)
            yield turn
            views = [self._view(record, rows) for record in turn.changed.values()]
        for name, message in turn.messages:
            if line := self._lines.get(name):
                line.send(message)
        for view in views:
            self._feed.tell(view.id, _state_update(view))
            if view.state in FINAL:
                self._live.pop(view.id, None)

    def record(self, event: Event) -> None:
        """What happens beside the sessions. Raises: AuditError if it could not be written."""
        self._journal.append(event)

    # What the analyst asks

    def propose(self, plan: ProposedPlan, key: str | None = None) -> Proposed:
        """Resolve a plan and send its contract to every participant; once for a key, however often it comes.

        Raises: Busy at the settings' limit; KeyReused if the key came with another plan within a day; otherwise as
        `resolve`.
        """
        now = self._clock().replace(microsecond=0)
        digest = hashlib.sha256(rfc8785.dumps(plan.model_dump(mode="json"))).hexdigest()
        with self._turn() as turn:
            once = None if key is None else Once(turn.rows, key, digest, now)
            if once and (earlier := once.earlier()):
                return Proposed(_found(turn.rows, earlier), is_new=False)
            if turn.rows.count_open() >= self._settings.max_open_sessions:
                raise Busy(
                    f"{self._settings.max_open_sessions} sessions are open, as many as this gateway allows",
                    action="cancel one, or wait for one to end",
                )
            contract = _resolved(plan, turn.rows, now)
            self._journal.append(SessionProposed(session=contract.digest, plan=digest, parties=len(contract.parties)))
            record = turn.rows.add_session(contract, plan.model_dump_json())
            if once:
                once.remember(record.digest)
            turn.send(record.roles, Proposal(contract=record.text))
            return Proposed(record)

    def estimate(self, plan: ProposedPlan, link: Link) -> Estimate:
        """What the plan's contract would quote. Nothing is stored, recorded or sent. Raises: as `resolve`."""
        with self._store.transaction() as rows:
            return estimate(_resolved(plan, rows, self._clock().replace(microsecond=0)), link)

    def cancel(self, digest: str) -> SessionView:
        """Raises: NotFound; LifecycleError if the session is at its end already."""
        with self._turn() as turn:
            record = _found(turn.rows, digest)
            fault = Fault(code="cancelled", who="gateway", what="the analyst cancelled the session")
            return self._view(self._end(turn, record, Step.CANCEL, fault), turn.rows)

    def sessions(self, selection: Selection = EVERY) -> list[SessionView]:
        """Those selected, newest first. Raises: BadCursor."""
        with self._store.transaction() as rows:
            if selection.cursor is not None and rows.session(selection.cursor) is None:
                raise BadCursor("this gateway has no session with the cursor's id", action="begin at the first page")
            return [self._view(record, rows) for record in rows.sessions(selection)]

    def session(self, digest: str) -> SessionView:
        """Raises: NotFound."""
        with self._store.transaction() as rows:
            return self._view(_found(rows, digest), rows)

    def contract(self, digest: str) -> str:
        """The contract's canonical JSON. Raises: NotFound."""
        with self._store.transaction() as rows:
            return _found(rows, digest).text

    def agreed(self, digest: str) -> AnyContract:
        """Raises: NotFound."""
        with self._store.transaction() as rows:
            return _found(rows, digest).contract

    @contextmanager
    def watch(self, digest: str, last_id: str = "") -> Iterator[Watcher]:
        """A subscription, from the present state or after the event that the watcher saw last. Raises: NotFound."""
        with self._feed.watch(digest, _state_update(self.session(digest)), last_id) as watcher:
            yield watcher

    def participants(self) -> list[ParticipantView]:
        with self._store.transaction() as rows:
            return [
                ParticipantView(
                    name=member.name,
                    role=member.role,
                    fingerprint=fingerprint(bytes.fromhex(member.public_key)) if member.public_key else None,
                    online=member.name in self._lines,
                    published=tuple(rows.published(member.name).values()),
                    head=member.head,
                )
                for member in rows.members()
            ]

    def close(self) -> None:
        """End every event stream and every participant's."""
        self._feed.close()
        for line in self._lines.values():
            line.close()

    # What participants say

    def connected(self, name: str, line: Line) -> None:
        """An admitted participant's stream is up: tell it everything that it may have missed."""
        if older := self._lines.get(name):
            older.close()
        self._lines[name] = line
        self._gone.pop(name, None)
        line.send(Welcome(gateway=self._settings.name))
        with self._turn() as turn:
            for record in turn.rows.unexpired_sessions(self._clock()):
                if name not in record.roles:
                    continue
                if record.state not in FINAL:
                    turn.changed[record.digest] = record  # its watchers see that somebody is back
                if not self._start_if_ready(turn, record):
                    self._catch_up(turn, name, record)
            for record in turn.rows.withdrawn():
                for other, envelope in turn.rows.withdrawals(record.digest).items():
                    if name in record.roles and other != name:
                        turn.send([name], Withdrawn(session=record.digest, name=other, envelope=envelope))
        self._relay.deliver(name)

    def disconnected(self, name: str, line: Line) -> None:
        """A stream ended; nothing, if a newer one took its place."""
        if self._lines.get(name) is not line:
            return
        del self._lines[name]
        self._gone[name] = self._monotonic()
        with self._turn() as turn:
            turn.changed |= {record.digest: record for record in turn.rows.open_sessions() if name in record.roles}

    def sent(self, count: int) -> None:
        """So many bytes went to a participant."""
        self.bytes_sent += count

    def received(self, name: str, message: FromDaemon) -> None:
        """One message of a connected participant. Raises: GatewayError if it has no place after the first."""
        with self._turn() as turn:
            match message:
                case Hello():
                    raise GatewayError(f"{name} introduced itself twice", action="ask its operator to restart it")
                case Publish():
                    turn.rows.publish(name, message.data)
                case Head():
                    turn.rows.set_head(name, message.note)
                case Relayed():
                    self._relay.pass_on(turn.rows, name, message)
                case Approve() | Refuse() | Withdraw() | Waiting() | Progress() | Lost() | Finished():
                    self._about_session(turn, name, message)

    def tick(self) -> None:
        """Expire what nobody approved in time, fail what lost a participant; call it every half second or so."""
        with self._turn() as turn:
            for name in turn.rows.unrecorded():
                self._journal.append(InvitationMade(name=name))
                turn.rows.mark_recorded(name)
            for record in turn.rows.open_sessions():
                if record.state is State.RUNNING:
                    if fault := self._lost(turn.rows, record) or self._settled(record):
                        self._end(turn, record, Step.FAIL, fault)
                elif record.expires <= self._clock():
                    fault = Fault(
                        code="expired",
                        who="gateway",
                        what="the contract's time ran out before the session began",
                        action="propose it again, with more time",
                    )
                    self._end(turn, record, Step.EXPIRE, fault)

    def _about_session(self, turn: _Turn, name: str, message: AboutSession) -> None:
        record = turn.rows.session(message.session)
        if record is None or name not in record.roles:
            log.warning("message about a foreign session", who=name, type=message.type, session=message.session)
            what = "this gateway knows no such session with this participant"
            fault = Fault(code="gateway.unknown-session", who="gateway", what=what)
            turn.send([name], Stop(session=message.session, fault=fault))
            return
        match message:
            case Approve():
                self._approve(turn, name, record, message)
            case Refuse():
                self._refuse(turn, name, record, message)
            case Withdraw():
                self._withdraw(turn, name, record, message)
            case Finished():
                self._finish(turn, name, record, message)
            case Waiting() if record.state is State.PROPOSED:
                self._live[record.digest].waiting[name] = message.reason
                turn.changed[record.digest] = record
            case Progress() if record.state is State.RUNNING:
                self._progress(name, record, message)
            case Lost() if record.state is State.RUNNING:
                fault = message.fault.model_copy(update={"who": _within(record, message.fault.who, name)})
                self._live[record.digest].losses.setdefault(name, Loss(self._monotonic(), fault))
            case _:
                pass  # late: the session went on without it

    def _approve(self, turn: _Turn, name: str, record: SessionRecord, message: Approve) -> None:
        if record.state is not State.PROPOSED:
            self._catch_up(turn, name, record)
            return
        try:
            check_approval(record.contract, name, message.envelope)
        except ContractError as exc:
            self._journal.append(ContractAltered(session=record.digest, who=name))
            self._end(turn, record, Step.FAIL, Fault.of(exc, name))
            return
        digest = hashlib.sha256(rfc8785.dumps(message.envelope)).hexdigest()
        self._journal.append(ApprovalStored(session=record.digest, name=name, digest=digest))
        turn.rows.approve(record.digest, name, message.envelope)
        self._live[record.digest].waiting.pop(name, None)
        turn.changed[record.digest] = record
        if turn.rows.approvals(record.digest).keys() == record.roles.keys():
            self._start_if_ready(turn, self._move(turn, record, Step.APPROVE))

    def _refuse(self, turn: _Turn, name: str, record: SessionRecord, message: Refuse) -> None:
        if record.state in FINAL:
            return
        step = Step.REFUSE if record.state is State.PROPOSED else Step.FAIL
        self._end(turn, record, step, message.fault.model_copy(update={"who": name}), spare=name)

    def _withdraw(self, turn: _Turn, name: str, record: SessionRecord, message: Withdraw) -> None:
        """A party's consent ends: pass its word on, and end the session if it has not ended."""
        if name in turn.rows.withdrawals(record.digest):
            return
        try:
            member = turn.rows.member(name)
            present = member and member.public_key
            check_withdrawal(
                record.contract, name, message.envelope, lambda party, key: key.hex() in {party.public_key, present}
            )
        except ContractError as exc:
            log.warning("a withdrawal that does not hold", who=name, session=record.digest, error=exc.what)
            return
        digest = digest_of(message.envelope)
        self._journal.append(ConsentWithdrawn(session=record.digest, who=name, by="partner", digest=digest))
        turn.rows.withdraw(record.digest, name, message.envelope)
        turn.changed[record.digest] = record
        if record.state not in FINAL:
            step = Step.REFUSE if record.state is State.PROPOSED else Step.FAIL
            self._end(turn, record, step, Fault.of(WithdrawnError(name, record.digest), name), spare=name)
        others = [other for other in record.roles if other != name]
        turn.send(others, Withdrawn(session=record.digest, name=name, envelope=message.envelope))

    def _finish(self, turn: _Turn, name: str, record: SessionRecord, message: Finished) -> None:
        fault = _attributed(message.fault, name, record)
        turn.rows.report(name, _allowed(message, record.contract).model_copy(update={"fault": fault}))
        turn.changed[record.digest] = record
        if record.state in FINAL:
            return
        if fault is not None:
            self._end(turn, record, Step.FAIL, fault, spare=name)
        elif record.state is not State.RUNNING:
            what = "reported the end of a session that had not begun"
            self._end(turn, record, Step.FAIL, Fault(code=GatewayError.code, who=name, what=what))
        elif turn.rows.reports(record.digest).keys() == record.roles.keys():
            self._move(turn, record, Step.COMPLETE)

    def _progress(self, name: str, record: SessionRecord, message: Progress) -> None:
        """Kept in memory: the rows get the last one, with the session's end."""
        if not record.contract.discloses("loss"):
            message = message.model_copy(update={"loss": None})  # shown only where the contract discloses it
        self._live[record.digest].progress[name] = message
        shown = message.model_dump(mode="json", exclude={"type", "session"})
        self._feed.tell(record.digest, Update("progress", {"who": name, **shown}))

    # Steps

    def _move(self, turn: _Turn, record: SessionRecord, step: Step, fault: Fault | None = None) -> SessionRecord:
        state = advance(record.state, step)
        if entry := entry_for(record, state, fault, turn.rows.reports(record.digest)):
            self._journal.append(entry)
        moved = turn.rows.set_state(record.digest, state, fault)
        if state in FINAL:
            for name, progress in self._live[record.digest].progress.items():
                turn.rows.set_progress(name, progress)
        turn.changed[record.digest] = moved
        log.info("session", session=record.digest, state=str(state), fault=fault.line() if fault else None)
        return moved

    def _end(self, turn: _Turn, record: SessionRecord, step: Step, fault: Fault, *, spare: str = "") -> SessionRecord:
        """End it for everybody but the one who said so."""
        ended = self._move(turn, record, step, fault)
        turn.send([name for name in record.roles if name != spare], Stop(session=record.digest, fault=fault))
        return ended

    def _start_if_ready(self, turn: _Turn, record: SessionRecord) -> bool:
        """Start what all approved as soon as all are connected; whether it did."""
        if record.state is not State.APPROVED or not record.roles.keys() <= self._lines.keys():
            return False
        self._move(turn, record, Step.START)
        approvals = turn.rows.approvals(record.digest)
        turn.send(record.roles, Start(session=record.digest, approvals=approvals))
        return True

    def _catch_up(self, turn: _Turn, name: str, record: SessionRecord) -> None:
        """Say again where a session stands; a daemon acts on each message once."""
        match record.state:
            case State.PROPOSED:
                turn.send([name], Proposal(contract=record.text))
            case State.RUNNING if name not in turn.rows.reports(record.digest):
                turn.send([name], Start(session=record.digest, approvals=turn.rows.approvals(record.digest)))
            case State.REFUSED | State.CANCELLED | State.FAILED | State.EXPIRED if record.fault:
                turn.send([name], Stop(session=record.digest, fault=record.fault))
            case _:
                pass

    def _lost(self, rows: Rows, record: SessionRecord) -> Fault | None:
        """Of a running session that lost a participant."""
        reports = rows.reports(record.digest)
        lost = [name for name in record.roles if name not in reports and self._is_overdue(name)]
        if not lost:
            return None
        error = PeerLost(
            ", ".join(lost),
            f"left the gateway during the session and did not return within {self._settings.absence_s:g} s",
            action="ask its operator whether its daemon runs, then propose the session again",
        )
        return Fault.of(error, lost[0])

    def _settled(self, record: SessionRecord) -> Fault | None:
        """Of a running session whose participants lost one another, once all had time to say what they saw."""
        losses = self._live[record.digest].losses
        if not losses or self._monotonic() - min(loss.at for loss in losses.values()) <= GRACE_S:
            return None
        away = [name for name in record.roles if name not in self._lines]
        return first_cause({name: loss.fault for name, loss in losses.items()}, away)

    def _is_overdue(self, name: str) -> bool:
        if name in self._lines:
            return False
        if name in self._gone:
            return self._monotonic() - self._gone[name] > self._settings.absence_s
        return self._monotonic() - self._began > self._settings.restart_grace_s

    def _view(self, record: SessionRecord, rows: Rows) -> SessionView:
        return session_view(record, rows, self._live.get(record.digest, Live()), self._lines)


def _allowed(message: Finished, contract: AnyContract) -> Finished:
    """What a participant says of its session, less what the contract does not disclose."""
    if not isinstance(contract, Contract):
        return message.model_copy(update={"converged": None, "models": (), "validated": ()})
    named = [name for name in EVERY_FIGURE if contract.discloses(name)]
    known = {(C, positive) for C in contract.model.grid for positive in contract.label.told_apart}
    models = tuple(
        one.model_copy(update={"figures": one.figures and one.figures.only(named)})
        for one in message.models
        if (one.C, one.positive) in known
    )
    return message.model_copy(
        update={
            "converged": message.converged if contract.discloses("converged") else None,
            "models": models,
            "validated": message.validated if contract.discloses("cross-validation") else (),
        }
    )


def _attributed(fault: Fault | None, reporter: str, record: SessionRecord) -> Fault | None:
    """A fault may name another participant of the session (who went away), and nobody else."""
    return None if fault is None else fault.model_copy(update={"who": _within(record, fault.who, reporter)})


def _within(record: SessionRecord, who: str, reporter: str) -> str:
    return who if who in record.roles else reporter


def _resolved(plan: ProposedPlan, rows: Rows, now: datetime) -> AnyContract:
    nonce = secrets.token_bytes(32)
    if isinstance(plan, Plan):
        return resolve(plan, _directory(rows), now, nonce)
    if isinstance(plan, MatchingPlan):
        return resolve_matching(plan, _directory(rows), now, nonce)
    trained = rows.session(plan.model)
    if trained is None or trained.state is not State.COMPLETED or not isinstance(trained.contract, Contract):
        raise PlanError(
            f"model: no completed training has the id {plan.model[:12]}…",
            action="name the whole id of one, as `privity session show` prints it",
        )
    return resolve_prediction(plan, trained.contract, _directory(rows), now, nonce)


def _found(rows: Rows, digest: str) -> SessionRecord:
    if record := rows.session(digest):
        return record
    raise NotFound("this gateway has no such session", action="see `privity session list`")


def _directory(rows: Rows) -> Directory:
    return Directory(
        {
            member.name: Listed(member.name, member.role, member.public_key, rows.published(member.name))
            for member in rows.members()
        }
    )


def _state_update(view: SessionView) -> Update:
    return Update("state", view.model_dump(mode="json"), final=view.state in FINAL)
