"""Training in three rounds: the same model as floating point on the same schedule, and as scikit-learn's where that
schedule ends near its optimum.
"""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mpc.disclosure import ProgramLedger
from mpc.errors import EngineError, PeerLost, ProgramError, RangeExceeded
from mpc.scales import LOSS_BITS
from mpc.simulation import Simulation
from mpc.training import train
from tests.mpc.engine import fit, own, program, table
from tests.mpc.oracle import iterates, losses, pooled, sigmoid, standardised

NOISE = 2e-4  # of a coefficient: weights and residuals are rounded, sigmoids are within 5e-4
LOSS_NOISE = 5e-5


def weights(agreed, fits, number=0):
    """All coefficients of a model, as their owners learnt them, and the intercept."""
    models = [each.models[number] for each in fits]
    found = np.concatenate([each.coefficients for each in models])
    return np.append(found, models[agreed.label_owners[0]].intercept) if agreed.fit_intercept else found


def loss_unit(agreed):
    """What a disclosed loss is rounded to."""
    return 2.0 ** (agreed.loss_shift - LOSS_BITS) / agreed.rows


@pytest.mark.parametrize("columns", [[3, 2], [2, 0, 3], [2, 0, 1, 2], [1, 1, 1, 1, 1]], ids=len)
@pytest.mark.parametrize("fit_intercept", [True, False], ids=["intercept", "no intercept"])
@pytest.mark.parametrize("loss_every", [0, 7], ids=["no loss", "loss"])
def test_training_is_nesterov_s_method(columns, fit_intercept, loss_every):
    """Whoever holds the columns and the labels, the model and the losses are floating point's, within rounding."""
    agreed = program(
        columns, rows=150, max_iter=40, fit_intercept=fit_intercept, loss_every=loss_every, label_owner=1, C="0.5"
    )
    X, y = table(agreed, 1)
    fits, _ = fit(agreed, X, y)
    assert np.abs(weights(agreed, fits) - iterates(agreed, X, y)[-1]).max() < NOISE
    assert all(each.models[0].losses == fits[0].models[0].losses for each in fits)
    assert {each.rungs for each in fits} == {(0,) * len(agreed.segments)}
    assert len(fits[0].models[0].losses) == (5 if loss_every else 0)
    if loss_every:
        allowed = loss_unit(agreed) + LOSS_NOISE
        assert np.abs(np.array(fits[0].models[0].losses) - losses(agreed, X, y)).max() < allowed


@pytest.mark.parametrize("label_owner", [0, 1, 2])
def test_each_learns_its_own_part(label_owner):
    """A party learns the coefficients of its columns, the labels' owner the intercept, and nobody anything else."""
    agreed = program([2, 1, 1], max_iter=2, label_owner=label_owner)
    fits, _ = fit(agreed, *table(agreed, 1))
    assert [each.models[0].coefficients.size for each in fits] == [2, 1, 1]
    assert [rank for rank, each in enumerate(fits) if each.models[0].intercept is not None] == [label_owner]


@pytest.mark.parametrize(
    ("name", "columns", "C", "max_iter", "coefficient", "probability", "noise"),
    [
        ("breast cancer", [10, 20], "0.01", 150, 5e-3, 2e-3, NOISE),
        ("breast cancer", [6, 6, 6, 6, 6], "1.0", 300, 5e-2, 2e-2, NOISE),
        pytest.param("breast cancer", [30, 0], "1.0", 3000, 5e-3, 2e-3, NOISE, marks=pytest.mark.long),
        ("diabetes", [4, 3, 3], "1.0", 600, 5e-3, 2e-3, NOISE),
        ("digits", [31, 0, 30], "0.01", 200, 2e-2, 2e-2, 1e-3),
    ],
)
def test_models_approach_scikit_learn_s(name, columns, C, max_iter, coefficient, probability, noise):
    """On tables that everybody has, coefficients, probabilities and AUC are those of the pooled plaintext fit, as near
    as so many iterations come; and those of floating point on the same schedule, much nearer.
    """
    X, y = standardised(name)
    agreed = program(columns, rows=len(X), C=C, max_iter=max_iter, loss_every=50)
    fits, _ = fit(agreed, X, y)
    found, features = weights(agreed, fits), pooled(agreed, X)
    best = LogisticRegression(C=float(C), tol=1e-10, max_iter=20_000).fit(X, y)
    expected = np.append(best.coef_[0], best.intercept_)
    assert np.abs(found - iterates(agreed, X, y)[-1]).max() < noise
    assert np.abs(found - expected).max() < coefficient
    assert np.abs(sigmoid(features @ found) - sigmoid(features @ expected)).max() < probability
    assert abs(roc_auc_score(y, features @ found) - roc_auc_score(y, features @ expected)) < 1e-3
    assert np.abs(np.array(fits[0].models[0].losses) - losses(agreed, X, y)).max() < loss_unit(agreed) + LOSS_NOISE


def narrow(agreed, *periods):
    """The program with shorter first periods: what it can't hold, a small table reaches."""
    from mpc.derivation import rung

    rungs = [rung(period, period // 4) for period in periods]
    return agreed.model_copy(update={"ladder": (*rungs, *agreed.ladder[len(rungs) :])})


@pytest.mark.parametrize("columns", [[3, 2], [2, 1, 0, 2]], ids=len)
def test_a_climb_repeats_the_segment(columns):
    """Where scores leave a rung's range the segment is run again on the next, from where it began: the model and the
    losses are the same as if the wider rung had been there from the first.
    """
    agreed = narrow(program(columns, rows=150, max_iter=40, loss_every=8, C="100"), 32, 64)
    X, y = table(agreed, 3)
    y = (X.sum(axis=1) > 0).astype(np.int64)
    fits, simulation = fit(agreed, X * 2, y)
    assert simulation.dealing._rungs[-1] >= 1
    phases = [0, *simulation.dealing._rungs]  # one that is followed by a wider one did not count
    ended = [rung for rung, following in zip(phases, [*phases[1:], phases[-1]], strict=True) if rung == following]
    assert [each.rungs for each in fits] == [tuple(ended)] * agreed.world
    assert len(ended) == len(agreed.segments)
    assert np.abs(weights(agreed, fits) - iterates(agreed, X * 2, y)[-1]).max() < 5 * NOISE
    assert np.abs(np.array(fits[0].models[0].losses) - losses(agreed, X * 2, y)).max() < loss_unit(agreed) + LOSS_NOISE


def test_separable_data_ends_in_a_model_that_separates():
    """More columns than rows, hardly a penalty: weights grow as far as the iterations let them, and are right."""
    agreed = program([20, 20], rows=20, max_iter=60, loss_every=0, C="1000")
    X, _ = table(agreed, 1)
    y = np.arange(20) % 2
    fits, _ = fit(agreed, X, y)
    found = weights(agreed, fits)
    assert roc_auc_score(y, pooled(agreed, X) @ found) == 1
    assert np.abs(found - iterates(agreed, X, y)[-1]).max() < NOISE


def test_scores_beyond_the_last_rung_end_the_session():
    """A run that diverges is no model: after the widest rung every party says so, and no coefficient is disclosed."""
    agreed = program([1, 1], rows=20, max_iter=5)
    X, y = np.full((20, 2), 31.0), np.arange(20) % 2
    disclosed = [[] for _ in range(2)]
    ledgers = [ProgramLedger(agreed, names.append) for names in disclosed]
    simulation = Simulation(agreed, ledgers=ledgers)
    X[:, 0] *= 2 * y - 1

    def party(runtime):
        with pytest.raises(RangeExceeded, match="the widest") as caught:
            train(agreed, *own(agreed, runtime.rank, X, y), runtime)
        return caught.value.action

    actions = simulation.run(party)
    assert len(set(actions)) == 1
    assert "smaller C" in actions[0]
    assert {each.name for names in disclosed for each in names} == {"guard", "loss"}
    assert [each.name for each in disclosed[0]].count("guard") == len(agreed.ladder)


BAD_INPUTS = {
    "too large": (lambda X: X + 33, lambda y: y, "bound"),
    "too small": (lambda X: X - 33, lambda y: y, "bound"),
    "not a number": (lambda X: X * np.nan, lambda y: y, "bound"),
    "infinite": (lambda X: X + np.inf, lambda y: y, "bound"),
    "too few rows": (lambda X: X[1:], lambda y: y, "table is"),
    "too many columns": (lambda X: np.concatenate([X, X], axis=1), lambda y: y, "table is"),
    "one dimension": (lambda X: X[:, 0], lambda y: y, "table is"),
    "no labels": (lambda X: X, lambda _: None, "owner"),
    "too few labels": (lambda X: X, lambda y: y[1:], "0 to 1"),
    "signed labels": (lambda X: X, lambda y: 2 * y - 1, "0 to 1"),
    "half labels": (lambda X: X, lambda y: y / 2, "0 to 1"),
    "labels as numbers with a point": (lambda X: X, lambda y: y * 1.0, "0 to 1"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_is_refused_before_anything_is_sent(case):
    """What is not as the program says ends the run at its owner before any of it is sent, and its peer's before
    anything is disclosed.
    """
    columns, labels, says = BAD_INPUTS[case]
    agreed = program([1, 2])
    X, y = table(agreed, 1)
    sent, ended = [], []

    def party(runtime):
        mine, label = own(agreed, runtime.rank, X, y)
        if runtime.rank == 0:
            with pytest.raises(PeerLost) as caught:
                train(agreed, mine, label, runtime)
            ended.append(runtime.channel.counters.sent_by_name)
            raise caught.value
        counters = runtime.channel.counters
        before = counters.bytes_sent
        try:
            return train(agreed, columns(mine), labels(label), runtime)
        finally:
            sent.append(counters.bytes_sent - before)

    with pytest.raises(ProgramError, match=says):
        Simulation(agreed).run(party)
    assert sent == [0]
    assert len(ended) == 1
    assert "disclosure" not in ended[0]


def test_labels_of_another_party_are_refused():
    """A party that is not the labels' owner can't bring labels of its own."""
    agreed = program([1, 1])
    X, y = table(agreed, 1)
    with pytest.raises(ProgramError, match="nobody else"):
        Simulation(agreed).run(lambda runtime: train(agreed, X[:, :1], y, runtime))


def test_a_column_of_zeros_does_no_harm():
    """A column without any value gets no weight, and a table of nothing else trains the intercept alone."""
    agreed = program([1, 1], rows=40, max_iter=40)
    X, y = np.zeros((40, 2)), (np.arange(40) < 30).astype(np.int64)
    fits, _ = fit(agreed, X, y)
    assert np.abs(weights(agreed, fits) - iterates(agreed, X, y)[-1]).max() < NOISE


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("fit_intercept", [True, False], ids=["intercept", "no intercept"])
def test_labels_of_one_class_are_learnt(label, fit_intercept):
    """Where all rows are of one class, the model is floating point's, which says so."""
    agreed = program([2, 1], rows=60, max_iter=60, fit_intercept=fit_intercept, loss_every=20)
    X, _ = table(agreed, 1)
    y = np.full(60, label)
    fits, _ = fit(agreed, X, y)
    assert np.abs(weights(agreed, fits) - iterates(agreed, X, y)[-1]).max() < 1e-3
    assert np.abs(np.array(fits[0].models[0].losses) - losses(agreed, X, y)).max() < loss_unit(agreed) + LOSS_NOISE
    if fit_intercept:
        assert np.abs(sigmoid(pooled(agreed, X) @ weights(agreed, fits)) - label).max() < 5e-3


def test_a_failed_run_names_an_engine_error():
    """Every way in which a run ends early is one of the engine's errors."""
    assert issubclass(RangeExceeded, EngineError)
    assert issubclass(ProgramError, EngineError)
