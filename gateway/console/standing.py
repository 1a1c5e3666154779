"""Where a session stands, for its page: one sentence, a row for each participant, a curve of the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.views import ParticipantState, SessionView
from parties.service.lifecycle import State

WIDTH, HEIGHT = 300, 100  # of the curve's picture, in its own units

_WAITING: Final = {
    State.PROPOSED: "waits for the signature of {names}, each at its own node",
    State.APPROVED: "all have signed; waits for {names} to connect",
    State.RUNNING: "computing at {names}",
}
_SAID: Final = {
    State.APPROVED: "all have signed; it begins in a moment",
    State.RUNNING: "every participant has ended; the last word is on its way",
    State.COMPLETED: "as agreed",
    State.REFUSED: "nothing was computed",
    State.CANCELLED: "",
    State.FAILED: "",
    State.EXPIRED: "nothing was computed",
}


def sentence(session: SessionView) -> str:
    """Who is being waited for, and for what."""
    if session.waiting_for:
        return _WAITING[session.state].format(names=joined(session.waiting_for))
    return _SAID.get(session.state, "")


def joined(names: Sequence[str]) -> str:
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last


@dataclass(frozen=True)
class Row:
    """One participant in the table."""

    name: str
    role: str
    online: bool
    approved: bool
    waiting: str | None
    stage: str  # that it is in, while it runs
    iteration: str
    rounds: int | None
    bytes_sent: int | None

    @classmethod
    def of(cls, one: ParticipantState) -> Row:
        latest = one.report or one.progress
        return cls(
            name=one.name,
            role=one.role,
            online=one.online,
            approved=one.approved,
            waiting=one.waiting,
            stage=(one.progress.stage or "") if one.progress and not one.report else "",
            iteration=f"{one.progress.iteration:,} of {one.progress.of:,}" if one.progress and one.progress.of else "",
            rounds=latest.rounds if latest else None,
            bytes_sent=latest.bytes_sent if latest else None,
        )


@dataclass(frozen=True)
class Chart:
    """The loss by iteration, as a line in a picture of WIDTH by HEIGHT."""

    points: str
    first: float
    last: float
    last_at: int
    least: float
    most: float
    of: int

    @classmethod
    def of_losses(cls, losses: Sequence[tuple[int, float]], of: int) -> Chart | None:
        """None for fewer than two points: they make no curve."""
        if len(losses) < 2:
            return None
        values = [loss for _, loss in losses]
        least, most = min(values), max(values)
        points = " ".join(
            f"{WIDTH * at / max(of, 1):.1f},{HEIGHT * (most - loss) / ((most - least) or 1):.1f}" for at, loss in losses
        )
        return cls(points, values[0], values[-1], losses[-1][0], least, most, of)


@dataclass(frozen=True)
class Shown:
    """The part of a session's page that changes while it runs."""

    rows: tuple[Row, ...]
    iteration: int  # of the slowest party
    of: int
    done: int | None  # percent; None before anything was computed
    loss: float | None
    chart: Chart | None
    most_bytes: int

    @classmethod
    def of_session(cls, session: SessionView) -> Shown:
        rows = tuple(Row.of(one) for one in session.participants)
        told = [one.progress for one in session.participants if one.progress and one.progress.of]
        slowest = min(told, key=lambda each: each.iteration, default=None)
        losses = max((each.losses for each in told), key=len, default=())
        of = slowest.of if slowest else 0
        return cls(
            rows=rows,
            iteration=slowest.iteration if slowest else 0,
            of=of,
            done=100 * slowest.iteration // max(of, 1) if slowest else None,
            loss=losses[-1][1] if losses else None,
            chart=Chart.of_losses(losses, of),
            most_bytes=max((row.bytes_sent or 0 for row in rows), default=0),
        )
