"""Rejected openings: here they are frequent, because windows are much wider than a program would have them.

A wide window is right, only often rejected. What the dealer and the gateway see must not tell of it, and neither may
the sizes and the order of what parties send each other.
"""

from functools import cache

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mpc.errors import EngineError
from mpc.fused_program import Newton, Segment
from mpc.simulation import Simulation
from mpc.training import train
from tests.mpc.engine import own, program, table
from tests.mpc.observed import Observed
from tests.mpc.oracle import iterates, losses
from tests.mpc.test_fused import LOSS_NOISE, NOISE, loss_unit, weights

CASES = {
    "two parties": {"columns": [2, 1]},
    "three parties": {"columns": [1, 0, 2]},
    "four parties": {"columns": [1, 1, 1, 0]},
    "newton": {"columns": [2, 0, 1], "solver": "newton", "max_iter": 20},
    "newton in strips": {"columns": [1, 1], "solver": "newton", "max_iter": 20, "strip_rows": 5},
}
RUNS = 3


def often_rejected(columns, *, spares=110, strip_rows=12, **changes):
    """A program that rejects more than half of its slots, and has enough of them."""
    agreed = program(columns, **{"rows": 12, "max_iter": 33, "loss_every": 4, **changes})
    segments = tuple(Segment(iterations=each.iterations, slots=each.iterations + spares) for each in agreed.segments)
    wide = {"state_window": 61, "residual_window": 59, "loss_window": 62, "copies": 120, "segments": segments}
    wide["strip_rows"] = strip_rows
    if isinstance(agreed, Newton):
        wide |= {"gradient_window": 60, "density_window": 58, "inverse_window": 56, "product_window": 56}
    return agreed.model_copy(update=wide)


class Rejected(Observed):
    """A run whose slots were rejected here and there."""

    @property
    def pattern(self):
        """Which slots were rejected, as only the parties can know."""
        windows = {"weights": self.agreed.state_window, "residuals": self.agreed.residual_window}
        if isinstance(self.agreed, Newton):
            windows["gradient"] = self.agreed.gradient_window
        return self.void(**windows)


@cache
def observed(case):
    """Several runs of one program, rejected here and there."""
    return [Rejected(often_rejected(**CASES[case])) for _ in range(RUNS)]


@pytest.fixture(params=CASES)
def runs(request):
    """Of either solver."""
    return observed(request.param)


@pytest.fixture(params=[case for case in CASES if "newton" not in case])
def descents(request):
    """Of Nesterov's method, whose iterates follow from the program and the table alone."""
    return observed(request.param)


def test_rejections_are_frequent_and_differ(runs):
    """What the following tests are about happens: slots before the last iteration are rejected, in each run others."""
    for run in runs:
        slots = run.agreed.segments[0].iterations
        assert any(run.pattern[:slots])
        assert sum(run.pattern) > slots
    assert len({tuple(run.pattern) for run in runs}) == RUNS


def test_rejections_do_not_change_the_model(descents):
    """Whatever is rejected, the model is floating point's on the same schedule, within rounding."""
    for run in descents:
        assert np.abs(weights(run.agreed, run.fits) - iterates(run.agreed, run.X, run.y)[-1]).max() < NOISE


def test_newton_s_model_is_the_optimum():
    """Whatever is rejected, steps of refreshes too, the optimum is reached within what is promised."""
    for run in observed("newton"):
        best = LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000).fit(run.X, run.y)
        assert np.abs(weights(run.agreed, run.fits) - np.append(best.coef_[0], best.intercept_)).max() < 5e-3


def test_losses_are_of_the_same_iterations(descents):
    """Whatever is rejected, each report is of its own iteration: it has that iteration's loss, within rounding."""
    for run in descents:
        expected = losses(run.agreed, run.X, run.y)
        assert len(expected) == 8
        allowed = loss_unit(run.agreed) + LOSS_NOISE
        assert all(np.abs(np.array(each.models[0].losses) - expected).max() < allowed for each in run.fits)


def test_the_dealer_receives_the_same_bytes(runs):
    """Whatever is rejected, each party's messages to the dealer are, after the keys, equal byte by byte."""
    first, *rest = [run.listener.to_dealer() for run in runs]
    assert all(len(messages) > 10 for messages in first)
    assert all(other == first for other in rest)


def test_the_dealer_sends_in_the_same_order_and_sizes(runs):
    """Whatever is rejected, the dealer sends the same sizes in the same order on every link, and counts the same."""
    first, *rest = runs
    for run in rest:
        assert run.listener.from_dealer() == first.listener.from_dealer()
        assert run.simulation.dealing.bytes_sent == first.simulation.dealing.bytes_sent
        assert run.simulation.dealing.tuples == first.simulation.dealing.tuples


def test_parties_send_in_the_same_order_and_sizes(runs):
    """Whatever is rejected, names, types, shapes and order of all frames between parties are the same."""
    first, *rest = [run.listener.trace() for run in runs]
    assert all(other == first for other in rest)


def test_the_gateway_is_told_the_same(runs):
    """Whatever is rejected, progress tells the same iterations, rounds and bytes, and losses at the same moments; and
    the end the same numbers of openings and words.
    """
    first, *rest = [(run.progress, run.account) for run in runs]
    assert all(openings > 10 for openings, *_ in first[1])
    assert all(other == first for other in rest)


def test_void_slots_are_filled_with_fresh_words(runs):
    """No word that was opened, in void slots or others, comes again in another slot or run."""
    seen = np.concatenate(
        [np.concatenate(run.listener.opened(name)).reshape(-1) for run in runs for name in ("weights", "residuals")]
    )
    assert len(set(seen.tolist())) == seen.size


@pytest.mark.parametrize("columns", [[2, 1], [1, 0, 2]], ids=len)
def test_too_few_slots_without_reports_cost_iterations(columns):
    """If more is rejected than a program has slots for, the model is of fewer iterations, and still a right one."""
    run = Rejected(often_rejected(columns, spares=0, max_iter=20, loss_every=0))
    accepted = run.pattern.count(False)
    assert 0 < accepted < 20
    assert np.abs(weights(run.agreed, run.fits) - iterates(run.agreed, run.X, run.y)[accepted]).max() < NOISE


def test_too_few_slots_for_a_report_end_the_session():
    """A loss that is due and not there is no other iteration's loss: the run ends at every party instead."""
    agreed = often_rejected([2, 1], spares=0, max_iter=20, loss_every=20)
    X, y = table(agreed, 1)
    said = []

    def party(runtime):
        try:
            train(agreed, *own(agreed, runtime.rank, X, y), runtime)
        except EngineError as error:
            said.append(error)
            raise

    with pytest.raises(EngineError, match="more openings were rejected"):
        Simulation(agreed).run(party)
    assert len(said) == agreed.world
