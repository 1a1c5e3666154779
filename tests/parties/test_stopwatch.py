"""Seconds by stage: a party's own times, by the schedule."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from parties.process.stopwatch import Stopwatch
from parties.service.messages import Finished


def test_stages_follow_each_other():
    """Each lasts until the next, the last until now; what came before the first is of none."""
    ticks = iter([10.0, 10.504, 12.25, 15.0])
    watch = Stopwatch(lambda: next(ticks))
    for name in ("matching", "training", "results"):
        watch.stage(name)
    found = watch.seconds()
    assert found == {"matching": 0.5, "training": 1.75, "results": 2.75}
    assert list(found) == ["matching", "training", "results"]


def test_a_stage_that_comes_again_counts_twice():
    """Both times are one figure, at the place of the first."""
    ticks = iter([0.0, 1.0, 3.0, 6.0])
    watch = Stopwatch(lambda: next(ticks))
    for name in ("training", "evaluation", "training"):
        watch.stage(name)
    assert watch.seconds() == {"training": 4.0, "evaluation": 2.0}


def test_without_a_stage_there_is_no_time():
    """A run that fails at once has none."""
    assert Stopwatch().seconds() == {}


@pytest.mark.parametrize("stages", [{"sleeping": 1}, {"training": -1}, {"training": "NaN"}], ids=str)
def test_other_stages_are_no_message(stages):
    """What another organisation reports are known stages and times."""
    with pytest.raises(ValidationError):
        Finished(session="ab" * 32, seconds=1, rounds=1, bytes_sent=1, stages=stages)
