"""Who is named when participants of a session lose one another."""

import pytest

from gateway.coordination.blame import first_cause
from parties.service.messages import Fault


def lost(who):
    return Fault(code="engine.peer-lost", who=who, what=f"{who} closed its connection")


@pytest.mark.parametrize(
    ("losses", "away", "named"),
    [
        ({"a": "b"}, [], "b"),
        ({"a": "c", "c": "b", "d": "c"}, [], "b"),  # c closed its streams because b had
        ({"a": "b", "b": "a"}, [], "b"),  # the network between two: the first word counts
        ({"a": "c", "c": "b"}, ["b"], "b"),
        ({"a": "c"}, ["b"], "b"),  # b's daemon is gone with its worker
    ],
)
def test_the_first_to_vanish_is_named(losses, away, named):
    """A death makes others close their streams; the fault names the death."""
    fault = first_cause({reporter: lost(who) for reporter, who in losses.items()}, away)
    assert fault.who == named
    assert fault.what.startswith(named)
