"""A session moves along one table and no other way."""

from __future__ import annotations

from itertools import product

import pytest

from parties.errors import LifecycleError
from parties.service.lifecycle import FINAL, State, Step, advance

ALLOWED = {
    "proposed": {
        "approve": "approved",
        "refuse": "refused",
        "cancel": "cancelled",
        "expire": "expired",
        "fail": "failed",
    },
    "approved": {"start": "running", "cancel": "cancelled", "expire": "expired", "fail": "failed"},
    "running": {"complete": "completed", "cancel": "cancelled", "fail": "failed"},
}


@pytest.mark.parametrize(("state", "step"), list(product(State, Step)))
def test_every_step_from_every_state(state, step):
    """Each of all pairs goes where the table says, or is refused with state and step in the line."""
    expected = ALLOWED.get(state.value, {}).get(step.value)
    if expected is not None:
        assert advance(state, step) is State(expected)
        return
    with pytest.raises(LifecycleError, match=f"a session that is {state} can't {step}; see its state"):
        advance(state, step)


def test_final_states_have_no_way_out():
    """What is over stays over, and everything else can still end."""
    assert {state.value for state in State} - set(ALLOWED) == {state.value for state in FINAL}


def test_every_state_can_be_reached():
    """From proposed, some way leads to each state."""
    reached = {State.PROPOSED}
    for _ in State:
        reached |= {State(to) for state in reached for to in ALLOWED.get(state.value, {}).values()}
    assert reached == set(State)
