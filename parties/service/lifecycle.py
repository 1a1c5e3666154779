"""The states of a session and the steps between them: one pure table.

A node acts on its own row and on signatures; the gateway's row is for display.
"""

from __future__ import annotations

from enum import StrEnum

from parties.errors import LifecycleError


class State(StrEnum):
    PROPOSED = "proposed"
    APPROVED = "approved"
    RUNNING = "running"
    COMPLETED = "completed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    FAILED = "failed"
    EXPIRED = "expired"


class Step(StrEnum):
    APPROVE = "approve"  # the last missing approval came
    REFUSE = "refuse"
    CANCEL = "cancel"
    EXPIRE = "expire"
    START = "start"
    COMPLETE = "complete"
    FAIL = "fail"


_TABLE: dict[tuple[State, Step], State] = {
    (State.PROPOSED, Step.APPROVE): State.APPROVED,
    (State.PROPOSED, Step.REFUSE): State.REFUSED,
    (State.PROPOSED, Step.CANCEL): State.CANCELLED,
    (State.PROPOSED, Step.EXPIRE): State.EXPIRED,
    (State.PROPOSED, Step.FAIL): State.FAILED,
    (State.APPROVED, Step.START): State.RUNNING,
    (State.APPROVED, Step.CANCEL): State.CANCELLED,
    (State.APPROVED, Step.EXPIRE): State.EXPIRED,
    (State.APPROVED, Step.FAIL): State.FAILED,
    (State.RUNNING, Step.COMPLETE): State.COMPLETED,
    (State.RUNNING, Step.CANCEL): State.CANCELLED,
    (State.RUNNING, Step.FAIL): State.FAILED,
}

FINAL = frozenset({State.COMPLETED, State.REFUSED, State.CANCELLED, State.FAILED, State.EXPIRED})


def advance(state: State, step: Step) -> State:
    """The state after a step. Raises: LifecycleError if the step is not allowed in that state."""
    try:
        return _TABLE[state, step]
    except KeyError:
        raise LifecycleError(
            f"a session that is {state} can't {step}", action="see its state with `privity session show`"
        ) from None
