"""Many models in one run: each is the one that a run of its own makes, and they share every round."""

from functools import cache

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from mpc import costs
from mpc.costs import quote
from mpc.errors import ProgramError
from mpc.held_out import OwnRows
from mpc.ring import product
from mpc.simulation import Simulation
from mpc.training import train
from tests.mpc.engine import fit, own, program, table
from tests.mpc.oracle import iterates, losses, pooled, sigmoid
from tests.mpc.test_batches import batches
from tests.mpc.test_costs import counted, narrow, quoted
from tests.mpc.test_fused import LOSS_NOISE, NOISE, loss_unit
from tests.mpc.test_rejections import RUNS, Rejected, often_rejected

GRID = ("0.05", "1.0", "20")
PARTITIONS = ([3, 2], [2, 0, 3], [2, 1, 0, 2], [1, 1, 1, 1, 1])


def weights(agreed, fits):
    """All coefficients of each model and its intercept: (models, width)."""
    intercepts = fits[agreed.label_owners[0]].models
    return np.array(
        [
            np.append(np.concatenate([each.models[place].coefficients for each in fits]), told.intercept)
            for place, told in enumerate(intercepts)
        ]
    )


def alone(agreed, place):
    """The program of one model of a grid, with the grid's scales."""
    return agreed.model_copy(update={"models": agreed.models[place : place + 1]})


def optima(X, y, grid=GRID):
    """scikit-learn's model for each C: (models, width)."""
    models = [LogisticRegression(C=float(C), tol=1e-12, max_iter=20_000).fit(X, y) for C in grid]
    return np.array([np.append(each.coef_[0], each.intercept_) for each in models])


@pytest.mark.parametrize("columns", PARTITIONS, ids=len)
def test_newton_finds_every_optimum(columns):
    """However the columns are divided, each model is scikit-learn's at its C, in the rounds of one."""
    agreed = program(columns, rows=150, C=GRID, solver="newton", max_iter=None, loss_every=5)
    X, y = table(agreed, 1)
    fits, _ = fit(agreed, X, y)
    found, expected = weights(agreed, fits), optima(X, y)
    apart = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert apart.max() < 5e-3
    assert np.abs(sigmoid(pooled(agreed, X) @ (found - expected).T) - 0.5).max() < 5e-3
    one = program(columns, rows=150, C=GRID[-1], solver="newton", max_iter=None, loss_every=5)
    assert agreed.max_iter == one.max_iter


@pytest.mark.parametrize("columns", PARTITIONS[:3], ids=len)
@pytest.mark.parametrize("loss_every", [0, 7], ids=["no loss", "loss"])
def test_descents_are_those_of_each_model(columns, loss_every):
    """Each model of a grid takes Nesterov's steps with its own penalty and step length, and tells its own losses."""
    agreed = program(columns, rows=150, max_iter=40, C=GRID, loss_every=loss_every)
    X, y = table(agreed, 1)
    fits, _ = fit(agreed, X, y)
    for place, found in enumerate(weights(agreed, fits)):
        assert np.abs(found - iterates(alone(agreed, place), X, y)[-1]).max() < NOISE
        told = [each.models[place].losses for each in fits]
        assert all(each == told[0] for each in told)
        assert len(told[0]) == (5 if loss_every else 0)
        if loss_every:
            allowed = loss_unit(agreed) + LOSS_NOISE
            assert np.abs(np.array(told[0]) - losses(alone(agreed, place), X, y)).max() < allowed


@pytest.mark.parametrize("columns", [(2, 1), (1, 0, 2)], ids=len)
def test_mini_batches_serve_every_model(columns):
    """Models of a grid that differ in their penalty take the same batches; a strong penalty holds the weights down."""
    agreed = batches(columns, C=("0.001", "1.0"), max_iter=200, rows=64)
    X, y = table(agreed, 1)
    found = weights(agreed, fit(agreed, X, y)[0])
    strong, weak = np.linalg.norm(found[:, :-1], axis=1)
    assert strong < weak / 3
    # Far from converged, but near enough to its own optimum to tell it from the other's.
    expected = optima(X, y, ("0.001", "1.0"))
    assert np.linalg.norm(found[0] - expected[0]) < np.linalg.norm(found[0] - expected[1])
    assert np.linalg.norm(found[1] - expected[1]) < np.linalg.norm(found[1] - expected[0])


@pytest.mark.parametrize("columns", [[2, 1], [2, 0, 1], [1, 0, 1, 1, 2]], ids=len)
@pytest.mark.parametrize("solver", ["nesterov", "newton"])
def test_a_quote_is_what_a_run_costs(columns, solver):
    """Rounds and bytes of all models together are quoted to the byte."""
    agreed = program(columns, rows=9, max_iter=8, C=GRID, loss_every=2, solver=solver)
    assert counted(agreed, *table(agreed, 1)) == ([0], quoted(agreed))


def test_rounds_are_those_of_one_model():
    """A further model costs bytes and no round, while no more slots are spare."""
    one, many = (program([2, 1], rows=40, max_iter=20, C=C, loss_every=4) for C in ("1.0", GRID))
    many = many.model_copy(update={"segments": one.segments})
    assert quote(one).rounds == quote(many).rounds
    sent = costs.item(many, 0, many.ladder[0], "slot").bytes_sent - costs.item(one, 0, one.ladder[0], "slot").bytes_sent
    assert sent == 2 * (8 * one.width + 12 * one.rows)


def test_a_climb_is_every_model_s():
    """Where one model's scores leave the range all are run again, at the quoted costs."""
    agreed = narrow(program([2, 1], rows=9, max_iter=33, loss_every=5, C=("0.01", "100")), 32)
    X, y = table(agreed, 1)
    rungs, found = counted(agreed, X * 8, y)
    assert len(rungs) > len(agreed.segments)
    assert found == quoted(agreed, rungs)


@cache
def rejected(solver):
    """Several runs of one program of several models, rejected here and there."""
    changes = {"solver": "newton", "max_iter": 20} if solver == "newton" else {}
    agreed = often_rejected([2, 1], C=("0.5", "2.0"), **changes)
    narrower = {"state_window": 60, "residual_window": 58}  # twice as many words are opened
    if solver == "newton":
        narrower |= {"gradient_window": 59, "density_window": 57, "inverse_window": 55, "product_window": 55}
    return [Rejected(agreed.model_copy(update=narrower)) for _ in range(RUNS)]


@pytest.mark.parametrize("solver", ["nesterov", "newton"])
def test_a_void_slot_is_every_model_s(solver):
    """A rejected word of one model leaves all where they are: each is right at the end, the dealer sees the same."""
    first, *rest = rejected(solver)
    assert len({tuple(run.pattern) for run in (first, *rest)}) == RUNS
    for run in (first, *rest):
        assert any(run.pattern[: run.agreed.segments[0].iterations])
        found = weights(run.agreed, run.fits)
        for place, each in enumerate(found):
            if solver == "newton":
                assert np.abs(each - optima(run.X, run.y, ("0.5", "2.0"))[place]).max() < 5e-3
            else:
                assert np.abs(each - iterates(alone(run.agreed, place), run.X, run.y)[-1]).max() < NOISE
    for run in rest:
        assert run.listener.to_dealer() == first.listener.to_dealer()
        assert run.listener.from_dealer() == first.listener.from_dealer()
        assert run.listener.trace() == first.listener.trace()


@pytest.mark.parametrize("columns", [[2, 2], [0, 3, 1]], ids=len)
def test_each_model_has_its_figures(columns):
    """Figures of the held-out rows are told for each model, near those of its own scores; their cost is quoted."""
    names = ("auc", "log-loss", "brier")
    agreed = program(columns, rows=60, held_out_rows=80, max_iter=20, C=GRID, loss_every=0, figures=names)
    X, y = table(agreed, 1)
    held_out = agreed.evaluation.partition
    theirs = np.random.default_rng(2).normal(size=(80, agreed.columns)).clip(-4, 4)
    labels = (theirs.sum(axis=1) > 0).astype(np.int64)
    simulation = Simulation(agreed)

    def party(runtime):
        rank = runtime.rank
        block, own_labels = own(held_out, rank, theirs, labels)
        return train(agreed, *own(agreed, rank, X, y), runtime, OwnRows(block, own_labels))

    fits = simulation.run(party)
    assert all([each.figures for each in one.models] == [each.figures for each in fits[0].models] for one in fits)
    for each, w in zip(fits[0].models, weights(agreed, fits), strict=True):
        z = theirs @ w[:-1] + w[-1]
        assert abs(each.figures["log-loss"] - log_loss(labels, sigmoid(z))) < 5e-3
        assert abs(each.figures["auc"] - roc_auc_score(labels, z)) < 5e-3
    found = quote(agreed)
    assert fits[0].rounds == found.rounds
    assert tuple(each.bytes_sent for each in fits) == found.bytes_sent
    assert simulation.dealing.bytes_sent == found.dealer_bytes


def test_strips_hold_the_scores_of_all_models():
    """Tables in the making are of a bounded number of scores, however many models there are."""
    one, many = (program([1, 1], rows=100_000, loss_every=0, C=C) for C in ("1.0", GRID))
    assert many.strip_rows * len(many.models) <= 1 << 15
    assert (one.strips, many.strips) == (4, 10)
    assert quote(many).memory_bytes < 3 * quote(one).memory_bytes


def test_a_program_discloses_every_model():
    """Coefficients, intercepts and losses of all models are in the program's list of disclosures, and no more."""
    agreed = program([2, 1], C=GRID, max_iter=5)
    assert {each.name: each.values for each in agreed.disclosures() if each.recipients != (1,)} == {
        "coefficients": 2 * 3,
        "guard": 1,
        "loss": 3,
    }
    assert [model.C for model in agreed.models] == list(GRID)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"C": ()}, "grid of 0"),
        ({"C": ("1.0", "1.0")}, "different"),
        ({"C": ("1", "1.0")}, "different"),
        ({"C": tuple(map(str, range(1, 18)))}, "1 to 16"),
        ({"C": ("1.0", "1e9")}, "outside"),
        ({"C": ("1.0", "much")}, "decimal"),
        ({"C": ("0.5", "1.0"), "engine": "reference", "solver": None}, "one model"),
    ],
)
def test_a_grid_that_can_t_be_is_refused(changes, says):
    """A grid has a few different values of C, each of which could stand alone."""
    with pytest.raises(ProgramError, match=says):
        program([1, 1], **changes)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_stack_s_product_is_each_matrix_s(count):
    """Products of stacks are those of their matrices, one by one."""
    generator = np.random.default_rng(count)
    X = generator.integers(-(1 << 63), 1 << 63, size=(count, 4, 3), dtype=np.int64)
    Y = generator.integers(-(1 << 63), 1 << 63, size=(count, 3, 2), dtype=np.int64)
    assert all((product(X, Y)[place] == product(X[place], Y[place])).all() for place in range(count))
