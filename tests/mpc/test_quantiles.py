"""Joint quantiles: told to a column's owners alone, digit by digit, the pooled column's, and at the declared cost."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mpc import costs
from mpc.curves import LEAST_CELL
from mpc.disclosure import Disclosure, ProgramLedger
from mpc.errors import DisclosureRefused, ProgramError
from mpc.lanes import ANNOUNCEMENT
from mpc.moments import joint_moments
from mpc.partition import horizontal, labels_of
from mpc.quantiles import joint_quantiles, quantiles_of
from mpc.quantiles_program import DIGIT_BITS, DIGITS, MARKS, Quantiles, Ranked, compared_words
from mpc.simulation import Simulation
from mpc.training import train
from tests.mpc.engine import own, seeds, table, taken
from tests.mpc.listener import Listener
from tests.mpc.test_costs import quoted
from tests.mpc.test_requests import Asked, expected
from tests.mpc.tilings import derived, divided

ROWS = 60
FACTS = {"rows": ROWS, "blocks": horizontal([30, 20, 10], 1), "labels": labels_of(ROWS, 0)}
finite = st.floats(-1e30, 1e30, allow_subnormal=True)


def ranked(*quantiles: tuple[int, int], owners: tuple[int, ...] = (0, 1)) -> Ranked:
    return Ranked(owners=owners, quantiles=quantiles)


def program(*columns: Ranked, **changes):
    facts = {"max_iter": 1, "solver": "nesterov", "loss_every": 0, "tol": "0"}
    return derived(**FACTS, quantiles=Quantiles(columns=columns, smallest_cell=LEAST_CELL), **facts | changes)


def learnt(agreed, values, listener=None):
    """What each party is told and what it spent; `values`: by column and party."""
    simulation = Simulation(agreed, **({"wire": listener.wire} if listener else {}))

    def party(runtime):
        if listener:
            listener.introduce(runtime)
        before = runtime.channel.counters.rounds, runtime.channel.counters.bytes_sent
        mine = {
            place: values[place][runtime.rank]
            for place, column in enumerate(agreed.quantiles.columns)
            if runtime.rank in column.owners
        }
        found = joint_quantiles(agreed, mine, runtime)
        after = runtime.channel.counters.rounds, runtime.channel.counters.bytes_sent
        taken(agreed, runtime)
        return found, tuple(np.subtract(after, before).tolist())

    return simulation.run(party)


def by_rank(values, fractions):
    """The rule on the pooled values: of that rank, rounded down to 13 binary digits, or to 2**-1034 if that is more."""
    found = []
    for each in fractions:
        value = Fraction(sorted(values)[int(each * len(values))])
        step = Fraction(2) ** max(math.frexp(value)[1] - 13, -1034)
        found.append(float(math.floor(value / step) * step))
    return tuple(found)


@given(st.lists(finite, min_size=1, max_size=40), st.integers(1, 99))
@example([-0.0, 0.0, 1.0], 40)
@example([5e-324, -5e-324], 50)
def test_a_quantile_is_a_value_rounded_down(values, percent):
    """By 13 binary digits; nothing that is rounded lies below, nothing that stands before lies above."""
    q = Fraction(percent, 100)
    (found,) = quantiles_of(np.array(values), [q])
    assert (found,) == by_rank(values, [q])
    value = sorted(values)[int(q * len(values))]
    assert found <= value
    assert value - found <= abs(value) * 2.0**-12 + 2.0**-1034
    assert sum(each < found for each in values) <= q * len(values)


@settings(max_examples=12)
@given(seeds, st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True), st.booleans())
def test_owners_are_told_the_pooled_column_s(seed, tenths, ties):
    """Of two columns of several owners each learns those of its own, whoever has how many values; others nothing."""
    generator = np.random.default_rng(seed)
    targets = tuple((tenth, 10) for tenth in sorted(tenths))
    agreed = program(ranked(*targets), ranked((1, 2), owners=(0, 1, 2)))
    scale = 10.0 ** generator.integers(-9, 9)

    def some(most):
        found = generator.standard_t(2, generator.integers(0, most)) * scale
        return np.round(found / scale) * scale if ties else found

    values = [[some(30), np.append(some(20), scale), np.zeros(0)], [some(30), some(20), np.array([-scale, 0.0])]]
    results = learnt(agreed, values)
    for rank, (found, _) in enumerate(results):
        assert sorted(found) == [0, 1] if rank < 2 else [1]
        for place, told in found.items():
            pooled = np.concatenate(values[place])
            fractions = agreed.quantiles.columns[place].fractions
            assert told == quantiles_of(pooled, fractions) == by_rank(pooled.tolist(), fractions)
    declared = [costs.ranking(agreed, rank) for rank in range(agreed.world)]
    assert [spent for _, spent in results] == [(each.rounds, each.bytes_sent) for each in declared]


def test_of_no_value_nothing_finite_is_told():
    """Owners see by that that no training row has a value; there is no other error, which would show to others."""
    agreed = program(ranked((1, 2)))
    (found, _), *_ = learnt(agreed, [[np.zeros(0), np.zeros(0), np.zeros(0)]])
    assert not np.isfinite(found[0]).any()


@pytest.mark.parametrize("solver", ["newton", "nesterov", "sgd"])
def test_training_goes_on_in_the_same_session(solver):
    """Quantiles, then training: rounds, bytes and requests of the whole run are those quoted."""
    changes = {"batch_rows": 8, "learning_rate": "0.1"} if solver == "sgd" else {}
    asked_of = Quantiles(columns=(ranked((1, 4), (3, 4)),), smallest_cell=LEAST_CELL)
    agreed = divided(
        "horizontal", rows=40, solver=solver, max_iter=3, loss_every=0, quantiles=asked_of, tol="0", **changes
    )
    asked, (X, y) = Asked(), table(agreed, 1)
    simulation = Simulation(agreed, wire=asked.wire)

    def party(runtime):
        brought, labels = own(agreed, runtime.rank, X, y)
        mine = {0: X[runtime.rank :: 2, 0]} if runtime.rank < 2 else {}
        found = joint_quantiles(agreed, mine, runtime)
        joint_moments(agreed, brought, runtime)
        train(agreed, brought, labels, runtime)
        return found, (runtime.channel.counters.rounds, runtime.channel.counters.bytes_sent)

    results = simulation.run(party)
    rounds, sent, dealt = quoted(agreed)
    assert [spent for _, spent in results] == [(rounds, each) for each in sent]
    assert simulation.dealing.bytes_sent == dealt
    phases = 1 + sum(message.startswith(ANNOUNCEMENT) for message in asked.messages) // agreed.world
    assert asked.requests == expected(agreed, phases)
    assert results[0][0][0] == quantiles_of(X[:, 0], agreed.quantiles.columns[0].fractions)


def test_what_is_sent_does_not_depend_on_data():
    """Names, order and sizes of all frames, and what the dealer is asked, are the same for any values and numbers."""
    agreed, seen = program(ranked((1, 4), (1, 2))), []
    for count in (0, 25):
        listener = Listener()
        learnt(agreed, [[np.arange(float(count)), np.arange(1.0), np.zeros(0)]], listener)
        requests = [[message for message in each if message.startswith(b'{"number"')] for each in listener.to_dealer()]
        seen.append((listener.trace(), requests))
    assert seen[0] == seen[1]


def test_disclosures_are_to_owners_and_named():
    """One for each set of owners, a digit of each of its quantiles each time, so often and no more."""
    agreed = program(ranked((1, 4), (1, 2)), ranked((1, 2), owners=(0, 1, 2)), ranked((1, 3)))
    found = [each for each in agreed.disclosures() if each.name == "quantiles"]
    assert [(each.recipients, each.count, each.values) for each in found] == [
        ((0, 1), DIGITS, 3),
        ((0, 1, 2), DIGITS, 1),
    ]
    assert compared_words(agreed.quantiles) == 4 * MARKS
    assert MARKS == 2**DIGIT_BITS - 1
    ledger, asked = ProgramLedger(agreed), Disclosure("quantiles", (0, 1), 3)
    for _ in range(DIGITS):
        ledger.permit(asked)
    with pytest.raises(DisclosureRefused, match="quantiles"):
        ledger.permit(asked)
    with pytest.raises(DisclosureRefused):
        ProgramLedger(agreed).permit(Disclosure("quantiles", "session", 3))


BAD = {
    "a quantile of 0": ([(0, 4)], LEAST_CELL, "above 0 and below 1"),
    "a quantile of 1": ([(4, 4)], LEAST_CELL, "above 0 and below 1"),
    "too fine a fraction": ([(1, 10**9 + 1)], LEAST_CELL, "above 0 and below 1"),
    "near an end": ([(1, 20)], LEAST_CELL, "fewer than 5 lie from one quantile to the next"),
    "near each other": ([(1, 2), (11, 20)], LEAST_CELL, "fewer than 5 lie"),
    "one twice": ([(1, 2), (2, 4)], LEAST_CELL, "fewer than 5 lie"),
    "out of order": ([(3, 4), (1, 4)], LEAST_CELL, "fewer than 5 lie"),
    "a small cell": ([(1, 2)], LEAST_CELL - 1, "a smallest cell of 4 rows"),
}


@pytest.mark.parametrize(("quantiles", "cell", "says"), BAD.values(), ids=BAD)
def test_quantiles_that_tell_too_much_make_no_program(quantiles, cell, says):
    """Fewer rows than a cell never lie between two of them, or between one and an end."""
    with pytest.raises(ProgramError, match=says):
        derived(**FACTS, quantiles=Quantiles(columns=(ranked(*quantiles),), smallest_cell=cell))


@pytest.mark.parametrize("owners", [(1, 0), (0, 0), (0, 7)])
def test_owners_that_are_none_make_no_program(owners):
    """They stand in order, once, and are parties."""
    with pytest.raises(ProgramError, match="owners of a column whose quantiles are told"):
        derived(**FACTS, quantiles=Quantiles(columns=(ranked((1, 2), owners=owners),), smallest_cell=LEAST_CELL))


@given(st.lists(finite, min_size=2, max_size=30))
def test_keys_keep_the_order(values):
    """Of doubles of any sign and size: a value that is no less never has a lesser one."""
    keys = [quantiles_of(np.array([value]), [Fraction(1, 2)])[0] for value in sorted(values)]
    assert all(below <= above for below, above in pairwise(keys))
