"""Whether training has converged: one bit, exact at its bound, of the last gradient, at the declared cost."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc import costs
from mpc.convergence import converged
from mpc.convergence_derivation import TOL, least_tol
from mpc.design import Opening
from mpc.errors import ProgramError
from mpc.fused_program import Convergence
from mpc.partition import labels_of, vertical
from mpc.requests import Listed, any_beyond
from mpc.shares import shared
from mpc.simulation import Simulation
from mpc.specification import Spec
from tests.mpc.engine import few, fit, program, seeds, split, table, taken, worlds
from tests.mpc.observed import Observed
from tests.mpc.oracle import iterates, pooled, sigmoid
from tests.mpc.test_costs import counted, narrow, quoted
from tests.mpc.test_rejections import often_rejected

TOLD = Opening(name="converged", recipients="session", count=1, values=1)


def judged(world, gradient, bound, seed=1):
    """Each party's bit for a gradient, at the declared cost."""
    agreed = program([1] * world, tol="0.1")
    agreed = agreed.model_copy(update={"blocks": vertical(agreed.rows, [len(gradient) - 1] + [0] * (world - 1))})
    shares = split(np.random.default_rng(seed), world, np.array(gradient, dtype=np.int64)[:, None])
    dealt = program([1] * world)

    def party(runtime):
        taken(dealt, runtime)
        counters = runtime.channel.counters
        before = counters.rounds, counters.bytes_sent
        bit = converged(runtime, Convergence(tol="0.1", bounds=(bound,), every=(1,)), shared(shares[runtime.rank]))
        cost = costs.convergence(agreed, runtime.rank)
        assert (counters.rounds - before[0], counters.bytes_sent - before[1]) == (cost.rounds, cost.bytes_sent)
        return bit

    requests = Listed(phase=any_beyond(world, len(gradient)))
    return Simulation(dealt, ledgers=[Anything()] * world, requests=requests).run(party)


class Anything:
    """A ledger that permits whatever is called by this name."""

    def permit(self, disclosure):
        assert (disclosure.name, disclosure.recipients, disclosure.values) == ("converged", "session", 1)

    def told(self, disclosure, opened):
        assert opened.shape == (1,)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("beyond", [0, 1])
def test_the_bound_is_exact(sign, beyond):
    """An entry at the bound is small enough; one unit in the last place further it is not, on either side."""
    assert judged(2, [0, sign * (1000 + beyond), 1, -1000], 1000) == [not beyond] * 2


@few
@given(worlds, st.lists(st.integers(-(1 << 45), 1 << 45), min_size=2, max_size=6), seeds)
def test_the_bit_says_whether_every_entry_is_small(world, gradient, seed):
    """However many entries are beyond, at all parties the same bit."""
    bound = 1 << 44
    assert judged(world, gradient, bound, seed) == [all(abs(value) <= bound for value in gradient)] * world


def last_gradient(agreed, X, y, C):
    """Greatest entry of the mean gradient where the last one was taken, in floating point."""
    w, Z = iterates(agreed, X, y)[agreed.max_iter - 1], pooled(agreed, X)
    g = Z.T @ (sigmoid(Z @ w) - y)
    g[: agreed.columns] += w[: agreed.columns] / C
    return np.abs(g).max() / agreed.rows


@pytest.mark.parametrize("columns", [[2, 1], [1, 0, 2, 1]], ids=len)
@pytest.mark.parametrize(("rows", "max_iter", "C"), [(200, 20, "1.0"), (200, 100, "100"), (2000, 40, "3000")])
@pytest.mark.parametrize("fit_intercept", [True, False], ids=["intercept", "no intercept"])
def test_the_last_gradient_is_judged(columns, rows, max_iter, C, fit_intercept):
    """Of a tolerance just above what the plain gradient is, and one just below, the bits differ."""
    asked = {"rows": rows, "max_iter": max_iter, "C": C, "loss_every": 0, "fit_intercept": fit_intercept}
    agreed = program(columns, **asked)
    X, _ = table(agreed, 1)
    y = (X.sum(axis=1) > 0).astype(np.int64)
    greatest = last_gradient(agreed, X, y, float(C))
    for factor in (0.9, 1.1):
        fits, _ = fit(program(columns, tol=f"{factor * greatest:.7f}", **asked), X, y)
        assert [each.models[0].converged for each in fits] == [factor > 1] * len(columns)


@pytest.mark.parametrize(("max_iter", "expected"), [(2, False), (15, True)])
def test_newton_tells_whether_it_has_converged(max_iter, expected):
    """Two iterations are too few for scikit-learn's tolerance, the usual fifteen are not."""
    agreed = program([2, 2], rows=300, solver="newton", max_iter=max_iter, tol="auto", loss_every=0)
    fits, _ = fit(agreed, *table(agreed, 1))
    assert [each.models[0].converged for each in fits] == [expected] * 2


def test_nothing_is_told_unless_it_is_asked():
    """A program without a tolerance discloses no bit, and its fit has none."""
    agreed = program([1, 1])
    assert agreed.convergence is None
    assert TOLD not in agreed.disclosures()
    fits, _ = fit(agreed, *table(agreed, 1))
    assert fits[0].models[0].converged is None
    assert program([1, 1], tol="0.1").disclosures() == (*agreed.disclosures(), TOLD)


@pytest.mark.parametrize("columns", [[2, 1], [1, 0, 1, 1, 2]], ids=len)
@pytest.mark.parametrize("solver", ["newton", "nesterov"])
def test_a_quote_has_it(columns, solver):
    """Rounds and bytes of a run that tells its convergence are those quoted before it."""
    agreed = program(columns, rows=60, solver=solver, max_iter=4, tol="auto", loss_every=0)
    assert counted(agreed, *table(agreed, 1)) == ([0], quoted(agreed))


def test_a_run_that_climbs_tells_it_once():
    """Whatever rungs a run took, the bit is of its last pass, at the quoted cost."""
    agreed = narrow(program([2, 1], rows=30, max_iter=33, loss_every=0, C="100", tol="auto"), 32)
    X, y = table(agreed, 1)
    rungs, found = counted(agreed, X * 8, y)
    assert len(rungs) > len(agreed.segments)
    assert found == quoted(agreed, rungs)


def test_rejections_show_in_nothing():
    """What the dealer receives and what is sent depend neither on rejections nor on how the bit falls."""
    agreed = often_rejected([2, 1], max_iter=12, loss_every=4)
    told = program([2, 1], tol="auto", max_iter=12, loss_every=4).convergence
    agreed = agreed.model_copy(update={"convergence": told})
    X, y = table(agreed, 1)
    runs = [Observed(agreed), Observed(agreed, training=(X * 0, y))]
    first, other = [(run.listener.to_dealer(), run.listener.from_dealer(), run.listener.trace()) for run in runs]
    assert first == other


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tol": "0.00000001"}, "lies outside .* choose a tol within"),
        ({"tol": "0.2"}, "lies outside"),
        ({"tol": "small"}, "tol='small' is not a decimal"),
        ({"tol": "Infinity"}, "not finite"),
        ({"tol": "0.01", "solver": "sgd", "batch_rows": 4, "learning_rate": "0.1"}, "batches .* leave tol out"),
    ],
)
def test_what_can_t_be_told_is_refused(changes, says):
    """A tolerance that rounding would drown, or of a gradient that no slot has, makes no program."""
    with pytest.raises(ProgramError, match=says):
        program([1, 1], **changes)


def test_auto_is_as_little_as_can_be_told():
    """Scikit-learn's tolerance where it can be told, else the least; of batches none."""
    assert Decimal(program([10, 10], rows=20000, solver="newton", tol="auto").convergence.tol) == TOL
    asked = {"rows": 2000, "max_iter": 300, "loss_every": 0}
    wide = program([500, 500], tol="auto", **asked)
    least = Decimal(wide.convergence.tol)
    assert least > TOL
    assert program([500, 500], tol=f"{least:f}", **asked) == wide
    untold = {"solver": "sgd", "batch_rows": 4, "learning_rate": "0.1"}
    assert program([1, 1], tol="auto", **untold) == program([1, 1], **untold)


@few
@given(st.integers(0, 15), st.sampled_from(["newton", "nesterov"]), seeds)
def test_rounding_is_below_the_least_tolerance(step, solver, seed):
    """At the optimum of a table the gradient on shares is within the least tolerance: what is told is no noise."""
    rows, columns, C = 50 + 40 * step, [2, 3], "1.0"
    spec = Spec(
        solver=solver,
        rows=rows,
        blocks=vertical(rows, columns),
        labels=labels_of(rows, 1),
        C=C,
        fit_intercept=True,
        max_iter=40 if solver == "newton" else 600,
        loss_every=0,
        clip_bits=5,
    )
    agreed = program(columns, rows=rows, solver=solver, max_iter=spec.max_iter, loss_every=0)
    least = least_tol(spec, agreed)
    agreed = program(columns, rows=rows, solver=solver, max_iter=spec.max_iter, loss_every=0, tol=f"{least:f}")
    X = np.random.default_rng(seed).normal(size=(rows, 5))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = (X.sum(axis=1) + np.random.default_rng(seed + 1).logistic(size=rows) > 0).astype(np.int64)
    fits, _ = fit(agreed, X.clip(-32, 32), y)
    assert fits[0].models[0].converged
