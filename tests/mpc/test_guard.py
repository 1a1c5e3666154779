"""The range guard: one bit, exact at the bound, at the declared cost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc import guard
from mpc.costs import range_guard
from mpc.scales import SCORE_BITS
from mpc.shares import shared
from mpc.simulation import Simulation
from tests.mpc.engine import few, program, seeds, split, taken, worlds


def guarded(agreed, z, rung=0, seed=1):
    """Each party's bit for scores z, and whether its cost was the declared one."""
    shares = split(np.random.default_rng(seed), agreed.world, np.array(z, dtype=np.int64))
    simulation = Simulation(agreed)

    def party(runtime):
        taken(agreed, runtime)
        counters = runtime.channel.counters
        before = counters.rounds, counters.bytes_sent
        bit = guard.exceeded(runtime, agreed.ladder[rung], shared(shares[runtime.rank]))
        cost = range_guard(agreed, runtime.rank)
        assert (counters.rounds - before[0], counters.bytes_sent - before[1]) == (cost.rounds, cost.bytes_sent)
        return bit

    return simulation.run(party)


@pytest.mark.parametrize("rung", [0, 1, 2])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("beyond", [0, 1])
def test_the_bound_is_exact(rung, sign, beyond):
    """A score at the bound passes; one unit in the last place further does not, on either side."""
    agreed = program([1, 1], rows=5)
    limit = agreed.ladder[rung].bound << SCORE_BITS
    z = [0, sign * (limit + beyond), 1, -1, sign * limit]
    assert guarded(agreed, z, rung) == [bool(beyond)] * 2


@few
@given(worlds, st.lists(st.integers(-(1 << 40), 1 << 40), min_size=2, max_size=6), seeds)
def test_the_bit_says_whether_any_score_is_outside(world, z, seed):
    """However many scores are outside, at all parties the same bit."""
    agreed = program([1] * world, rows=len(z))
    limit = agreed.ladder[0].bound << SCORE_BITS
    assert guarded(agreed, z, seed=seed) == [any(abs(value) > limit for value in z)] * world


def test_scores_far_outside_do_not_cancel():
    """Scores out of range on both sides, near the ring's quarter, are one hit: they are counted and not summed."""
    agreed = program([1, 1], rows=4)
    assert guarded(agreed, [1 << 61, -(1 << 61), 1 << 61, -(1 << 61)]) == [True, True]
