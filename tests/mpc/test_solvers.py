"""Nesterov's method on shares: one step is the same integers as without shares, and never a round."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mpc.scales import ITERATE_BITS, MOMENTUM_BITS
from mpc.shares import shared, words
from mpc.solvers import Nesterov
from tests.mpc.engine import RING, joined, program, seeds, some, split, uniform, unsigned, worlds


def expected(agreed, iteration, state, gradient, here):
    """The next look-ahead and step, in Python's integers: a - (1 + mu) s g + mu s g' + mu (a - a')."""
    ahead, last_step, before = ([int(word) for word in words_[:, 0]] for words_ in state)
    step = [int(word) for word in gradient[:, 0]]
    if iteration % agreed.models[0].ridge_every == 0:
        for column in range(agreed.columns):  # never the intercept
            step[column] += int(here[column, 0]) * agreed.models[0].ridge
    mu = 0 if iteration + 1 == agreed.max_iter else (iteration << MOMENTUM_BITS) // (iteration + 3)
    lift = agreed.state_bits - ITERATE_BITS - MOMENTUM_BITS
    moved = [
        a - ((1 << MOMENTUM_BITS) + mu) * s + mu * last + (mu << lift) * (int(h) - b)
        for a, s, last, h, b in zip(ahead, step, last_step, here[:, 0], before, strict=True)
    ]
    return [value % RING for value in moved], [value % RING for value in step]


@some
@given(worlds, seeds, st.sampled_from([0, 1, 7, 38, 39]), st.booleans(), st.sampled_from(["1.0", "1000"]))
def test_a_step_is_the_method_s(world, seed, iteration, fit_intercept, C):
    """Over all parties, a step on shares is the integers' step modulo 2**64, with its ridge and its momentum."""
    agreed = program([1] * world, max_iter=40, fit_intercept=fit_intercept, C=C, loss_every=0)
    generator = np.random.default_rng(seed)
    ahead, step, before, gradient, here = uniform(generator, (5, agreed.width, 1))
    parts = [split(generator, world, each) for each in (ahead, step, before, gradient, here)]
    moved = [
        Nesterov(agreed, iteration, *(part[rank] for part in parts[:3])).stepped(
            shared(parts[3][rank]), shared(parts[4][rank])
        )
        for rank in range(world)
    ]
    found = joined([words(each.iterate()) for each in moved]), joined([each.step for each in moved])
    assert tuple(map(unsigned, found)) == expected(agreed, iteration, (ahead, step, before), gradient, here)
    assert unsigned(joined([each.truncated for each in moved])) == unsigned(here)
    assert {each.iteration for each in moved} == {iteration + 1}


def test_a_solver_is_not_printed():
    """Shares of the state do not appear where a solver is printed."""
    assert "array" not in repr(Nesterov.start(program([1, 1])))
