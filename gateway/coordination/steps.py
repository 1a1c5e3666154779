"""Steps of a session: from a state to the next, with what is recorded of it and who is told."""

from __future__ import annotations

import structlog

from gateway.access.principal import Principal
from gateway.coordination.journal import entry_for
from gateway.coordination.switchboard import Switchboard, Turn
from gateway.storage.store import SessionRecord
from parties.service.lifecycle import FINAL, State, Step, advance
from parties.service.messages import Fault, Proposal, Start, Stop

log = structlog.get_logger()


class Steps:
    """Each within somebody's turn."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board

    def move(
        self, turn: Turn, record: SessionRecord, step: Step, fault: Fault | None = None, by: Principal | None = None
    ) -> SessionRecord:
        """Raises: LifecycleError if the step is not allowed in the session's state."""
        state = advance(record.state, step)
        if entry := entry_for(record, state, fault, turn.rows.reports(record.digest), by):
            self._board.journal.append(entry)
        moved = turn.rows.set_state(record.digest, state, fault)
        if state in FINAL:
            turn.rows.wait_no_more(record.digest)
            for name, progress in self._board.live[record.digest].progress.items():
                turn.rows.set_progress(name, progress)
        turn.changed[record.digest] = moved
        log.info("session", session=record.digest, state=str(state), fault=fault.line() if fault else None)
        return moved

    def end(
        self,
        turn: Turn,
        record: SessionRecord,
        step: Step,
        fault: Fault,
        *,
        spare: str = "",
        by: Principal | None = None,
    ) -> SessionRecord:
        """End it for everybody but the one who said so."""
        ended = self.move(turn, record, step, fault, by)
        turn.send([name for name in record.roles if name != spare], Stop(session=record.digest, fault=fault))
        return ended

    def start_if_ready(self, turn: Turn, record: SessionRecord) -> bool:
        """Start what all approved as soon as all are connected; whether it did."""
        if record.state is not State.APPROVED or not record.roles.keys() <= turn.present.keys():
            return False
        self.move(turn, record, Step.START)
        approvals = turn.rows.approvals(record.digest)
        turn.send(record.roles, Start(session=record.digest, approvals=approvals))
        return True

    def catch_up(self, turn: Turn, name: str, record: SessionRecord) -> None:
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
