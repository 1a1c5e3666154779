"""What participants say: their streams come and go, and each message is one step.

Approvals are stored here and can't be made here; what a participant says of itself is shown as its own word.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TypeAlias

import rfc8785
import structlog

from gateway.coordination import relay
from gateway.coordination.allowed import allowed_progress, allowed_report, attributed, within
from gateway.coordination.heads import is_head_of
from gateway.coordination.relay import Line
from gateway.coordination.steps import Steps
from gateway.coordination.switchboard import Switchboard, Turn
from gateway.errors import StoreAway
from gateway.storage.neighbours import Missed, Progressed
from gateway.storage.store import SessionRecord
from parties.agreement.contract import check_approval
from parties.audit.events import ApprovalStored, ConsentWithdrawn, ContractAltered
from parties.errors import ConsentWithdrawn as WithdrawnError
from parties.errors import ContractError, GatewayError
from parties.service.lifecycle import FINAL, State, Step
from parties.service.messages import (
    Approve,
    Cosigned,
    Fault,
    Finished,
    FromDaemon,
    FromPartner,
    Head,
    Hello,
    Lost,
    Progress,
    Publish,
    Refuse,
    Relayed,
    Stop,
    Waiting,
    Welcome,
    Withdraw,
    Withdrawn,
    session_of,
)
from parties.service.oplog import about
from parties.testimony.withdrawal import check_withdrawal, digest_of

log = structlog.get_logger()

AboutSession: TypeAlias = Approve | Refuse | Withdraw | Waiting | Progress | Lost | Finished


class Reception:
    """Takes what comes on the streams."""

    def __init__(self, board: Switchboard, steps: Steps) -> None:
        self._board, self._steps = board, steps

    def connected(self, name: str, line: Line, version: str) -> None:
        """An admitted participant's stream is up: tell it everything that it may have missed."""
        line.send(Welcome(gateway=self._board.settings.name))
        with self._board.turn() as turn:
            self._board.connect(turn, name, line)
            turn.rows.came(name, version, self._board.clock())
            for record in turn.rows.unexpired_sessions(name, self._board.clock()):
                if record.state not in FINAL:
                    turn.changed[record.digest] = record  # its watchers see that somebody is back
                if not self._steps.start_if_ready(turn, record):
                    self._steps.catch_up(turn, name, record)
            for digest, other, envelope in turn.rows.withdrawn_beside(name):
                turn.send([name], Withdrawn(session=digest, name=other, envelope=envelope))
            for message in relay.kept(turn.rows, name):
                turn.send([name], message)
        self._board.offer_head([name])

    def disconnected(self, name: str, line: Line) -> None:
        """A stream ended; nothing, if a newer one took its place."""
        if self._board.lines.get(name) is not line:
            return
        del self._board.lines[name]
        with suppress(StoreAway), self._board.turn() as turn:  # else the watchdog sees it
            if self._board.disconnect(turn, name):
                turn.rows.left(name, self._board.clock())
            turn.changed |= {record.digest: record for record in turn.rows.open_sessions(name)}

    def received(self, name: str, message: FromDaemon) -> None:
        """One message of a connected participant. Raises: GatewayError if it has no place after the first."""
        with about(session_of(message)):
            self._received(name, message)

    def _received(self, name: str, message: FromDaemon) -> None:
        cosigning = self._board.cosigning
        if isinstance(message, Relayed) and cosigning is not None and cosigning.concerns(message):
            for answer in cosigning.hear(name, message):
                self._board.lines[name].send(answer)
            return
        with self._board.turn() as turn:
            match message:
                case Hello():
                    raise GatewayError(f"{name} introduced itself twice", action="ask its operator to restart it")
                case Publish():
                    turn.rows.publish(name, message.data)
                case Head():
                    turn.rows.set_head(name, message.note)
                case Relayed():
                    if isinstance(message, Cosigned):
                        self._keep_cosigned(turn, name, message)
                    self._pass_on(turn, name, message)
                case Approve() | Refuse() | Withdraw() | Waiting() | Progress() | Lost() | Finished():
                    self._about_session(turn, name, message)

    @staticmethod
    def _keep_cosigned(turn: Turn, cosigner: str, message: Cosigned) -> None:
        """For whoever looks at the log's heads; what is none of that log is passed on alone."""
        if is_head_of(message.note, message.peer) and turn.rows.member(message.peer):
            turn.rows.keep_cosigned(message.peer, cosigner, message.note)

    @staticmethod
    def _pass_on(turn: Turn, sender: str, message: FromPartner) -> None:
        """At once or, if the receiver is away, once it is back."""
        signed = relay.addressed(turn.rows, sender, message)
        if signed is None:
            return
        if message.peer in turn.present:
            turn.send([message.peer], signed)
        else:
            relay.keep(turn.rows, message.peer, signed)

    def _about_session(self, turn: Turn, name: str, message: AboutSession) -> None:
        record = turn.rows.session(message.session)
        if record is None or name not in record.roles:
            log.warning("message about a foreign session", who=name, type=message.type)
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
                turn.rows.wait(record.digest, name, message.reason)
                turn.changed[record.digest] = record
            case Progress() if record.state is State.RUNNING:
                turn.news.append(Progressed(who=name, progress=allowed_progress(message, record.contract)))
            case Lost() if record.state is State.RUNNING:
                fault = message.fault.model_copy(update={"who": within(record, message.fault.who, name)})
                turn.news.append(Missed(session=record.digest, who=name, fault=fault))
            case _:
                pass  # late: the session went on without it

    def _approve(self, turn: Turn, name: str, record: SessionRecord, message: Approve) -> None:
        if record.state is not State.PROPOSED:
            self._steps.catch_up(turn, name, record)
            return
        try:
            check_approval(record.contract, name, message.envelope)
        except ContractError as exc:
            self._board.journal.append(ContractAltered(session=record.digest, who=name))
            self._steps.end(turn, record, Step.FAIL, Fault.of(exc, name))
            return
        digest = hashlib.sha256(rfc8785.dumps(message.envelope)).hexdigest()
        self._board.journal.append(ApprovalStored(session=record.digest, name=name, digest=digest))
        turn.rows.approve(record.digest, name, message.envelope)
        turn.rows.wait_no_more(record.digest, name)
        turn.changed[record.digest] = record
        if turn.rows.approvals(record.digest).keys() == record.roles.keys():
            self._steps.start_if_ready(turn, self._steps.move(turn, record, Step.APPROVE))

    def _refuse(self, turn: Turn, name: str, record: SessionRecord, message: Refuse) -> None:
        if record.state in FINAL:
            return
        step = Step.REFUSE if record.state is State.PROPOSED else Step.FAIL
        self._steps.end(turn, record, step, message.fault.model_copy(update={"who": name}), spare=name)

    def _withdraw(self, turn: Turn, name: str, record: SessionRecord, message: Withdraw) -> None:
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
            log.warning("a withdrawal that does not hold", who=name, error=exc.what)
            return
        digest = digest_of(message.envelope)
        self._board.journal.append(ConsentWithdrawn(session=record.digest, who=name, by="partner", digest=digest))
        turn.rows.withdraw(record.digest, name, message.envelope)
        turn.changed[record.digest] = record
        if record.state not in FINAL:
            step = Step.REFUSE if record.state is State.PROPOSED else Step.FAIL
            self._steps.end(turn, record, step, Fault.of(WithdrawnError(name, record.digest), name), spare=name)
        others = [other for other in record.roles if other != name]
        turn.send(others, Withdrawn(session=record.digest, name=name, envelope=message.envelope))

    def _finish(self, turn: Turn, name: str, record: SessionRecord, message: Finished) -> None:
        fault = attributed(message.fault, name, record)
        turn.rows.report(name, allowed_report(message, record.contract).model_copy(update={"fault": fault}))
        for link in message.links:
            if link.name in record.roles and link.name != name:
                turn.rows.links.measure(name, link)
        turn.changed[record.digest] = record
        if record.state in FINAL:
            return
        if fault is not None:
            self._steps.end(turn, record, Step.FAIL, fault, spare=name)
        elif record.state is not State.RUNNING:
            what = "reported the end of a session that had not begun"
            self._steps.end(turn, record, Step.FAIL, Fault(code=GatewayError.code, who=name, what=what))
        elif turn.rows.reports(record.digest).keys() == record.roles.keys():
            self._steps.move(turn, record, Step.COMPLETE)
