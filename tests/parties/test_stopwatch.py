"""Seconds by stage: a party's own times, by the schedule."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mpc.channel import Counters
from mpc.runtime import Progress
from parties.process.job import Answer, Intent, Report
from parties.process.running import Reporter
from parties.process.stopwatch import Stopwatch
from parties.service.messages import Finished


class Quiet:
    """In place of a node: keeps what its worker says."""

    def __init__(self, said: list[Report]) -> None:
        self.said = said

    def say(self, report: Report) -> None:
        self.said.append(report)

    def ask(self, intent: Intent) -> None:
        raise AssertionError(intent)

    def request(self, report: Report) -> Answer:
        raise AssertionError(report)


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


def test_a_stage_is_told_as_it_begins_with_what_was_counted():
    """Before the engine counts, of nothing; later what was counted last, and the rounds of the moment."""
    said: list[Report] = []
    counters = Counters()
    reporter = Reporter(Quiet(said), Stopwatch(), counters)
    reporter.stage("masking")
    counters.rounds, counters.bytes_sent = 7, 900
    reporter.advance(Progress(1, 2, 5, 600, None))  # a moment later: left out, and not forgotten
    reporter.stage("training")
    reporter.advance(Progress(2, 2, 8, 901, (0.5, 0.25)))
    told = [(one.stage, one.iteration, one.of, one.rounds, one.bytes_sent, one.loss) for one in said]
    assert told == [
        ("masking", 0, 0, 0, 0, None),
        ("training", 1, 2, 7, 900, None),
        ("training", 2, 2, 8, 901, 0.375),
    ]


@pytest.mark.parametrize("stages", [{"sleeping": 1}, {"training": -1}, {"training": "NaN"}], ids=str)
def test_other_stages_are_no_message(stages):
    """What another organisation reports are known stages and times."""
    with pytest.raises(ValidationError):
        Finished(session="ab" * 32, seconds=1, rounds=1, bytes_sent=1, stages=stages)
