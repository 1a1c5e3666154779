"""What ends a session that nobody ends: its time, a participant that went away, partners that lost one another."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.coordination.blame import first_cause
from gateway.coordination.pulse import Pulse
from gateway.coordination.steps import Steps
from gateway.coordination.switchboard import Switchboard, Turn
from gateway.errors import StoreAway
from gateway.storage.store import SessionRecord
from mpc.errors import PeerLost
from parties.audit.events import InvitationMade
from parties.service.lifecycle import State, Step
from parties.service.messages import Fault

GRACE_S = 1.0  # from the first word that somebody vanished to the verdict


class Watchdog:
    """Looks every half second or so."""

    def __init__(self, board: Switchboard, steps: Steps) -> None:
        self._board, self._steps = board, steps
        self._pulse = Pulse(board)
        self._seen: dict[str, str] = {}  # who was connected at the last look, and to which gateway
        self._gone: dict[str, tuple[float, float]] = {}  # since when, and for how long it may be
        self._began = board.monotonic()
        self._is_blind = False  # the database was away: who is gone could not come back

    def tick(self) -> None:
        """Expire what nobody approved in time, fail what lost a participant; call it every half second or so.

        Raises: StoreAway.
        """
        try:
            self._look()
        except StoreAway:
            self._is_blind = True
            raise

    def _look(self) -> None:
        with self._board.turn() as turn:
            self._pulse.beat(turn)
            self._observe(turn.present)
            for name in turn.rows.unrecorded():
                self._board.journal.append(InvitationMade(name=name))
                turn.rows.mark_recorded(name)
            for record in turn.rows.open_sessions():
                if record.state is State.RUNNING:
                    if fault := self._lost(turn, record) or self._settled(turn, record):
                        self._steps.end(turn, record, Step.FAIL, fault)
                elif record.expires <= self._board.clock():
                    fault = Fault(
                        code="expired",
                        who="gateway",
                        what="the contract's time ran out before the session began",
                        action="propose it again, with more time",
                    )
                    self._steps.end(turn, record, Step.EXPIRE, fault)

    def _observe(self, present: Mapping[str, str]) -> None:
        """Whoever left its gateway may be away for a while; whoever's gateway vanished, as after a gateway's start."""
        settings, now = self._board.settings, self._board.monotonic()
        if self._is_blind:
            self._is_blind, self._began = False, now
            self._gone.clear()
        left = self._board.left
        for name, gateway in (dict.fromkeys(left, self._board.id) | self._seen).items():  # some between two looks
            if name not in present:
                allowed = settings.absence_s if self._pulse.lives(gateway) else settings.restart_grace_s
                self._gone[name] = left.get(name, now), allowed
        left.clear()
        self._seen = dict(present)
        for name in present:
            self._gone.pop(name, None)

    def _lost(self, turn: Turn, record: SessionRecord) -> Fault | None:
        """Of a running session that lost a participant."""
        reports = turn.rows.reports(record.digest)
        away = [name for name in record.roles if name not in reports and name not in turn.present]
        lost = [name for name in away if self._is_overdue(name)]
        if not lost:
            return None
        error = PeerLost(
            ", ".join(lost),
            f"left the gateway during the session and did not return within {self._board.settings.absence_s:g} s",
            action="ask its operator whether its daemon runs, then propose the session again",
        )
        return Fault.of(error, lost[0])

    def _settled(self, turn: Turn, record: SessionRecord) -> Fault | None:
        """Of a running session whose participants lost one another, once all had time to say what they saw."""
        losses = self._board.live[record.digest].losses
        if not losses or self._board.monotonic() - min(loss.at for loss in losses.values()) <= GRACE_S:
            return None
        away = [name for name in record.roles if name not in turn.present]
        return first_cause({name: loss.fault for name, loss in losses.items()}, away)

    def _is_overdue(self, name: str) -> bool:
        since, allowed = self._gone.get(name, (self._began, self._board.settings.restart_grace_s))
        return self._board.monotonic() - since > allowed
