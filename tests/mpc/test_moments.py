"""Joint moments: exact sums, told to the owners of a column and to nobody else, in words that tell nothing beside."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from mpc import costs
from mpc.disclosure import Disclosure, ProgramLedger
from mpc.errors import DisclosureRefused, ProgramError, RangeExceeded
from mpc.moments import FINE_BITS, LIMB_BITS, VALUE_BITS, joint_means, joint_moments, pooled_mean
from mpc.scales import LIMBS, MEANS
from mpc.simulation import Simulation
from mpc.training import train
from tests.mpc.engine import own, seeds, table, taken
from tests.mpc.listener import Listener
from tests.mpc.test_costs import quoted
from tests.mpc.tilings import derived, divided, tilings


def learnt(agreed, X, listener=None):
    """What each party learns, once the dealer is done."""
    y = np.zeros(agreed.rows, dtype=np.int64)
    simulation = Simulation(agreed, **({"wire": listener.wire} if listener else {}))

    def party(runtime):
        if listener:
            listener.introduce(runtime)
        taken(agreed, runtime)
        return joint_moments(agreed, own(agreed, runtime.rank, X, y)[0], runtime)

    return simulation.run(party), simulation


def exact(column):
    """Mean and variance of values as they are rounded, as fractions."""
    values = [Fraction(int(np.rint(np.ldexp(value, FINE_BITS))), 1 << FINE_BITS) for value in column]
    mean = sum(values) / len(values)
    return mean, sum((value - mean) ** 2 for value in values) / len(values)


def assert_exact(found, X):
    for column, mean, deviation in zip(found.columns, found.means, found.deviations, strict=True):
        expected, variance = exact(X[:, column])
        assert mean == float(expected)
        assert abs(Fraction(float(deviation)) ** 2 - variance) <= variance * Fraction(1, 1 << 50)


@settings(max_examples=25)
@given(tilings(), seeds, st.sampled_from([1e-9, 1e-3, 1.0, 1e6, 1e11]), st.sampled_from([0.0, 1e11]))
def test_moments_are_those_of_the_whole_column(tiling, seed, scale, offset):
    """For any tiling and units, means are rounded once and deviations are right to the last bits, also where a column
    varies little about a great mean.
    """
    agreed = derived(*tiling, solver="nesterov", max_iter=1)
    X = offset + scale * table(agreed, seed)[0]
    for rank, found in enumerate(learnt(agreed, X)[0]):
        assert_exact(found, X)
        wanted = {
            column for group in agreed.groups if group.divided and rank in group.owners for column in group.columns
        }
        assert set(found.columns) == wanted


def test_the_bound_itself_fits():
    """Sums of the greatest values that are allowed, and of the least, do not wrap."""
    agreed = divided("horizontal", solver="nesterov", max_iter=1)
    for sign in (1, -1):
        X = np.full((agreed.rows, agreed.columns), sign * 2.0**VALUE_BITS)
        for found in learnt(agreed, X)[0]:
            assert (found.means == sign * 2.0**VALUE_BITS).all()
            assert (found.deviations == 0).all()
    assert 2 * (VALUE_BITS + FINE_BITS) + 28 + 1 <= LIMBS * LIMB_BITS  # program.MAX_CELLS is 2**28


@pytest.mark.parametrize("value", [2.0**VALUE_BITS * 1.001, -(2.0**60), np.inf, np.nan])
def test_a_value_beyond_the_bound_is_refused_before_anything_is_sent(value):
    """It ends the session with a sentence that does not name it."""
    agreed = divided("horizontal", solver="nesterov", max_iter=1)
    X = np.full((agreed.rows, agreed.columns), value)

    def party(runtime):
        taken(agreed, runtime)
        before = runtime.channel.counters.bytes_sent
        with pytest.raises(RangeExceeded, match="larger units"):
            joint_moments(agreed, own(agreed, runtime.rank, X, np.zeros(agreed.rows, np.int64))[0], runtime)
        return runtime.channel.counters.bytes_sent - before

    assert Simulation(agreed).run(party) == [0, 0, 0]


def test_columns_of_one_owner_may_hold_anything():
    """They are summed by nobody, so no bound holds for them."""
    agreed = divided("mixed", solver="nesterov", max_iter=1)
    X = table(agreed, 1)[0]
    X[:, 5] *= 1e15
    assert [each.columns for each in learnt(agreed, X)[0]] == [(0, 1, 2), (0, 1, 2), ()]


@pytest.mark.parametrize("kind", ["vertical", "horizontal", "mixed", "windmill"])
def test_moments_cost_what_is_declared(kind):
    """Two rounds for each group of owners, six words a sum to each of them; nothing where no column is divided."""
    agreed = divided(kind, solver="nesterov", max_iter=1)

    def party(runtime):
        taken(agreed, runtime)
        counters = runtime.channel.counters
        before = counters.rounds, counters.bytes_sent
        joint_moments(agreed, own(agreed, runtime.rank, *table(agreed, 1))[0], runtime)
        return counters.rounds - before[0], counters.bytes_sent - before[1]

    declared = [costs.joint_moments(agreed, rank) for rank in range(agreed.world)]
    assert Simulation(agreed).run(party) == [(cost.rounds, cost.bytes_sent) for cost in declared]
    assert (declared[0].rounds == 0) == (kind == "vertical")


def test_moments_are_told_once():
    """A second time the same masks would be used: the ledger refuses, and nothing of them is sent."""
    agreed = divided("horizontal", solver="nesterov", max_iter=1)

    def party(runtime):
        taken(agreed, runtime)
        block, _ = own(agreed, runtime.rank, *table(agreed, 1))
        joint_moments(agreed, block, runtime)
        before = runtime.channel.counters.bytes_sent
        with pytest.raises(DisclosureRefused):
            joint_moments(agreed, block, runtime)
        return runtime.channel.counters.bytes_sent - before

    assert Simulation(agreed).run(party) == [costs.commitment(3).bytes_sent] * 3


def test_words_that_are_sent_are_uniform():
    """On a table of zeros every byte of a share is uniform: no party's own sum shows, nor a limb of it."""
    agreed = divided("horizontal", rows=12, columns=200, solver="nesterov", max_iter=1)
    listener = Listener()
    learnt(agreed, np.zeros((12, 200)), listener)
    for rank in range(3):
        sent = [array for name, array in listener.frames(rank)[::2] if name == "disclosure"]
        payload = np.frombuffer(b"".join(array.tobytes() for array in sent), "u1")
        for place in range(8):
            assert chisquare(np.bincount(payload[place::8], minlength=256)).pvalue > 1e-9


def test_limbs_tell_nothing_beside_the_totals():
    """What owners add up, limb by limb, differs from run to run where the totals are the same: a carry between limbs,
    which would tell of the parts, is one of a fresh sharing.
    """
    agreed = divided("horizontal", rows=12, columns=1, solver="nesterov", max_iter=1)
    X = np.full((12, 1), 2.0**-8)
    seen, totals = set(), set()
    for _ in range(6):
        listener = Listener()
        results, _ = learnt(agreed, X, listener)
        sums = np.add.reduce([next(a for n, a in listener.frames(rank) if n == "disclosure") for rank in range(3)])
        seen.add(sums.tobytes())
        totals.add(results[0].means.tobytes())
    assert len(totals) == 1
    assert len(seen) > 1


def test_nobody_else_learns_moments():
    """Owners of a column alone; what they learnt is not printed."""
    agreed = divided("mixed", solver="nesterov", max_iter=1)
    X = table(agreed, 1)[0] + 17.123
    results, _ = learnt(agreed, X)
    assert [each.columns for each in results] == [(0, 1, 2), (0, 1, 2), ()]
    assert results[2].means.size == results[2].deviations.size == 0
    assert "17." not in repr(results[0])


def averaged(*means, **changes):
    facts = {"solver": "nesterov", "max_iter": 1, "loss_every": 0, "tol": "0"}
    return divided("horizontal", rows=12, columns=2, means=means, **facts | changes)


def told_means(agreed, values, listener=None):
    """What each party is told of means and what it spent; `values`: by column and party."""
    simulation = Simulation(agreed, **({"wire": listener.wire} if listener else {}))

    def party(runtime):
        if listener:
            listener.introduce(runtime)
        counters = runtime.channel.counters
        before = counters.rounds, counters.bytes_sent
        mine = {place: values[place][runtime.rank] for place, who in enumerate(agreed.means) if runtime.rank in who}
        found = joint_means(agreed, mine, runtime)
        spent = counters.rounds - before[0], counters.bytes_sent - before[1]
        taken(agreed, runtime)
        return found, spent

    return simulation.run(party)


@settings(max_examples=15)
@given(seeds, st.sampled_from([1e-9, 1.0, 1e11]))
def test_means_are_those_of_all_values_that_are_there(seed, scale):
    """Whoever has how many values, of none too: owners learn the pooled mean, rounded once, and others nothing."""
    generator = np.random.default_rng(seed)
    agreed = averaged((0, 1), (0, 1, 2), (0, 1))

    def some(least):
        return scale * generator.standard_normal(generator.integers(least, 9))

    values = [[some(0), some(1), some(0)], [some(1), np.zeros(0), some(0)], [np.zeros(0), some(1), some(0)]]
    results = told_means(agreed, values)
    for rank, (found, _) in enumerate(results):
        assert sorted(found) == ([0, 1, 2] if rank < 2 else [1])
        for place, mean in found.items():
            pooled = np.concatenate([values[place][owner] for owner in agreed.means[place]])
            assert mean == float(exact(pooled)[0]) == pooled_mean(pooled)
    declared = [costs.averaging(agreed, rank) for rank in range(agreed.world)]
    assert [spent for _, spent in results] == [(cost.rounds, cost.bytes_sent) for cost in declared]


def test_of_no_value_there_is_no_mean():
    """Owners see by that that no training row has one."""
    (found, _), *_ = told_means(averaged((0, 1)), [[np.zeros(0)] * 3])
    assert np.isnan(found[0])


def test_a_value_that_is_too_great_has_no_mean():
    """It is refused before anything is sent."""
    agreed = averaged((0, 1, 2))

    def party(runtime):
        taken(agreed, runtime)
        before = runtime.channel.counters.bytes_sent
        with pytest.raises(RangeExceeded, match="larger units"):
            joint_means(agreed, {0: np.array([1.0, -(2.0**41)])}, runtime)
        return runtime.channel.counters.bytes_sent - before

    assert Simulation(agreed).run(party) == [0, 0, 0]


def test_words_of_means_tell_nothing_beside_the_totals():
    """What owners add up, limb by limb, differs from run to run, and so does what each sends; sizes follow from the
    contract alone.
    """
    agreed, seen, sizes = averaged((0, 1)), set(), []
    for values in ([np.array([1.0, 2.0]), np.array([3.0]), np.zeros(0)], [np.zeros(0), np.arange(9.0), np.zeros(0)]):
        for _ in range(3):
            listener = Listener()
            told_means(agreed, [values], listener)
            sent = [[a for n, a in listener.frames(rank) if n == "disclosure"] for rank in range(2)]
            seen.add(np.add.reduce([each[0] for each in sent]).tobytes())
            sizes.append(listener.trace())
    assert len(seen) == 6
    assert all(each == sizes[0] for each in sizes)


def test_means_are_told_once_and_to_owners():
    """A sum and a count of each column, of each set of owners at once; more, or to others, is refused."""
    agreed = averaged((0, 1), (0, 1, 2), (0, 1))
    found = [(each.recipients, each.count, each.values) for each in agreed.disclosures() if each.name == "means"]
    assert found == [((0, 1), 1, 2 * MEANS), ((0, 1, 2), 1, MEANS)]
    ledger = ProgramLedger(agreed)
    ledger.permit(Disclosure("means", (0, 1), 2 * MEANS))
    for again in (Disclosure("means", (0, 1), MEANS), Disclosure("means", "session", MEANS)):
        with pytest.raises(DisclosureRefused, match="means"):
            ledger.permit(again)


@pytest.mark.parametrize("owners", [(1, 0), (0, 0), (0, 7)])
def test_owners_of_means_that_are_none_make_no_program(owners):
    """They stand in order, once, and are parties."""
    with pytest.raises(ProgramError, match="owners of a column whose mean is told"):
        averaged(owners)


@pytest.mark.parametrize("solver", ["newton", "nesterov", "sgd"])
def test_training_after_means_costs_what_is_quoted(solver):
    """Means, then moments and training: rounds and bytes of the whole run are those of the quote."""
    changes = {"batch_rows": 8, "learning_rate": "0.1"} if solver == "sgd" else {}
    agreed = divided(
        "horizontal", rows=40, solver=solver, max_iter=3, loss_every=0, tol="0", means=((0, 1), (1, 2)), **changes
    )
    X, y = table(agreed, 1)
    simulation = Simulation(agreed)

    def party(runtime):
        brought, labels = own(agreed, runtime.rank, X, y)
        mine = {place: X[:5, 0] for place, who in enumerate(agreed.means) if runtime.rank in who}
        joint_means(agreed, mine, runtime)
        joint_moments(agreed, brought, runtime)
        train(agreed, brought, labels, runtime)
        return runtime.channel.counters.rounds, runtime.channel.counters.bytes_sent

    found = simulation.run(party)
    rounds, sent, dealt = quoted(agreed)
    assert found == [(rounds, each) for each in sent]
    assert simulation.dealing.bytes_sent == dealt
