"""Folds and classes in one run: models are scikit-learn's, the C that all choose is the best, and no other is told."""

from functools import cache

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from mpc.costs import quote
from mpc.errors import ProgramError
from mpc.held_out import OwnRows
from mpc.partition import horizontal, labels_with
from mpc.simulation import Simulation
from mpc.training import check_input, train
from mpc.validation import judges, spread, summed, told, total_columns, totals, trains
from tests.mpc.engine import fit, own, program, table
from tests.mpc.observed import Observed
from tests.mpc.oracle import sigmoid
from tests.mpc.test_convergence import last_gradient
from tests.mpc.test_costs import counted, narrow, quoted
from tests.mpc.test_models import alone
from tests.mpc.test_rejections import often_rejected
from tests.mpc.tilings import mixed

GRID = ("0.0003", "0.05", "30")
FOLDS = 4
PARTITIONS = ([3, 2], [2, 0, 3], [2, 1, 0, 2], [1, 1, 1, 1, 1])


def noisy(agreed, seed):
    """Columns of about unit size, and labels that they say little of: neither a weak nor a strong penalty is best."""
    X, _ = table(agreed, seed)
    noise = np.random.default_rng(seed + 1).logistic(size=agreed.rows)
    return X, (X.sum(axis=1) * 0.4 + noise > 0).astype(np.int64)


def classes(agreed, seed, count=3):
    """Columns of about unit size, and classes that depend on them."""
    X, _ = table(agreed, seed)
    noise = np.random.default_rng(seed + 1).gumbel(size=(agreed.rows, count))
    return X, np.argmax(X[:, :count] * 1.5 + noise, axis=1).astype(np.int64)


def reference(C, X, y):
    return LogisticRegression(C=float(C), tol=1e-10, max_iter=20_000).fit(X, y)


@cache
def validated(C, seed, rows, columns):
    """scikit-learn's loss of every row, by the model that did not see it."""
    X, y = noisy(program([columns, 0], rows=rows), seed)
    p = np.empty(rows)
    for fold in range(FOLDS):
        left_out = np.arange(rows) % FOLDS == fold
        p[left_out] = reference(C, X[~left_out], y[~left_out]).predict_proba(X[left_out])[:, 1]
    return log_loss(y, p)


def coefficients(agreed, fits, place=0):
    """Of a told model, with its intercept."""
    found = np.zeros(agreed.width)
    for rank, each in enumerate(fits):
        found[agreed.held(rank)] = each.models[place].coefficients
    found[-1] = fits[agreed.label_owners[0]].models[place].intercept
    return found


@pytest.mark.parametrize("columns", PARTITIONS, ids=len)
@pytest.mark.parametrize("solver", ["newton", "nesterov"])
def test_the_best_strength_is_told_and_no_other(columns, solver):
    """Losses of left-out rows are scikit-learn's, all parties choose the least, whose model on all rows is told."""
    changes = {"max_iter": None, "loss_every": 1} if solver == "newton" else {"max_iter": 400, "loss_every": 100}
    agreed = program(columns, rows=160, C=GRID, folds=FOLDS, solver=solver, **changes)
    X, y = noisy(agreed, 1)
    fits, _ = fit(agreed, X, y)
    expected = {C: validated(C, 1, 160, 5) for C in GRID}
    for each in fits:
        assert each.validated.keys() == expected.keys()
        assert all(abs(each.validated[C] - loss) < 2e-3 for C, loss in expected.items())
        assert [model.C for model in each.models] == [min(expected, key=expected.get)] == ["0.05"]
    best = reference("0.05", X, y)
    assert np.linalg.norm(coefficients(agreed, fits) - np.append(best.coef_[0], best.intercept_)) < 2e-2
    on_all_rows = log_loss(y, best.predict_proba(X)[:, 1])
    assert abs(fits[0].models[0].losses[-1] - on_all_rows) < 2e-3


@pytest.mark.parametrize("kind", ["rows", "mixed"])
def test_folds_go_across_all_blocks(kind):
    """A fold has rows of every party, whoever owns them."""
    agreed = program([3, 1, 1], rows=160, C="0.05", folds=FOLDS, solver="newton", max_iter=None)
    blocks = horizontal([50, 60, 50], 5) if kind == "rows" else mixed(160, 5)[0]
    labels = labels_with(blocks) if kind == "rows" else mixed(160, 5)[1]
    agreed = agreed.model_copy(update={"blocks": blocks, "labels": labels})
    X, y = noisy(agreed, 1)
    fits, _ = fit(agreed, X, y)
    assert all(abs(each.validated["0.05"] - validated("0.05", 1, 160, 5)) < 2e-3 for each in fits)


@pytest.mark.parametrize("columns", PARTITIONS[:3], ids=len)
def test_each_class_has_its_model(columns):
    """One run finds scikit-learn's model of each class against the rest."""
    agreed = program(columns, rows=150, classes=3, C=("0.1", "1.0"), solver="newton", max_iter=None)
    X, y = classes(agreed, 1)
    fits, _ = fit(agreed, X, y)
    assert [(model.C, model.label) for model in fits[0].models] == [(C, k) for C in ("0.1", "1.0") for k in range(3)]
    for place, model in enumerate(fits[0].models):
        of_class = reference(model.C, X, (y == model.label).astype(int))
        expected = np.append(of_class.coef_[0], of_class.intercept_)
        assert np.linalg.norm(coefficients(agreed, fits, place) - expected) < 5e-3 * np.linalg.norm(expected)
        loss = log_loss(y == model.label, of_class.predict_proba(X)[:, 1])
        assert abs(model.losses[-1] - loss) < 1e-3


def test_labels_of_several_owners_have_classes():
    """By rows every party has labels of all classes, and a class 0 that is not the zero of others' rows."""
    agreed = program([3, 1], rows=150, classes=3, solver="newton", max_iter=None)
    blocks = horizontal([70, 80], 4)
    agreed = agreed.model_copy(update={"blocks": blocks, "labels": labels_with(blocks)})
    X, y = classes(agreed, 1)
    fits, _ = fit(agreed, X, y)
    for place, model in enumerate(fits[1].models):
        of_class = reference("1.0", X, (y == model.label).astype(int))
        expected = np.append(of_class.coef_[0], of_class.intercept_)
        assert np.linalg.norm(coefficients(agreed, fits, place) - expected) < 5e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize("columns", [[2, 2], [0, 3, 1]], ids=len)
def test_classes_are_validated_and_evaluated_together(columns):
    """Classes share one C, by the mean of their losses; each has its own figures; all at the quoted cost."""
    asked = {"folds": 3, "classes": 3, "figures": ("auc", "log-loss", "brier"), "tol": "auto", "held_out_rows": 90}
    agreed = program(columns, rows=90, C=("0.001", "1.0"), solver="newton", max_iter=40, **asked)
    held_out = agreed.evaluation.partition
    X, y = classes(agreed, 1)
    new = agreed.model_copy(update={"rows": 90})
    theirs, labels = classes(new, 7)
    simulation = Simulation(agreed)

    def party(runtime):
        block, own_labels = own(held_out, runtime.rank, theirs, labels)
        return train(agreed, *own(agreed, runtime.rank, X, y), runtime, OwnRows(block, own_labels))

    fits = simulation.run(party)
    assert [(model.C, model.label) for model in fits[0].models] == [("1.0", k) for k in range(3)]
    assert fits[0].models[0].converged
    for place, model in enumerate(fits[1].models):
        w = coefficients(agreed, fits, place)
        z, positive = theirs @ w[:-1] + w[-1], labels == model.label
        assert abs(model.figures["auc"] - roc_auc_score(positive, z)) < 5e-3
        assert abs(model.figures["log-loss"] - log_loss(positive, sigmoid(z))) < 5e-3
    assert fits[0].share.shape == (agreed.width, 3)
    found = quote(agreed)
    assert fits[0].rounds == found.rounds
    assert tuple(each.bytes_sent for each in fits) == found.bytes_sent
    assert simulation.dealing.bytes_sent == found.dealer_bytes


@pytest.mark.parametrize("columns", [[2, 1], [2, 0, 1], [1, 0, 1, 1, 2]], ids=len)
@pytest.mark.parametrize("solver", ["nesterov", "newton"])
@pytest.mark.parametrize("changes", [{"folds": 2}, {"classes": 3}, {"folds": 3, "classes": 3}], ids=str)
def test_a_quote_is_what_a_run_costs(columns, solver, changes):
    """Rounds and bytes of all folds and classes are quoted to the byte."""
    agreed = program(columns, rows=9, max_iter=8, C=("0.5", "2.0"), loss_every=2, solver=solver, **changes)
    X, y = table(agreed, 1)
    assert counted(agreed, X, y) == ([0], quoted(agreed))


def test_a_climb_forgets_reports():
    """Reports of a segment that is repeated do not count, in the choice either."""
    agreed = narrow(program([2, 1], rows=9, max_iter=33, loss_every=5, C=("0.01", "100"), folds=2), 32)
    X, y = table(agreed, 1)
    rungs, found = counted(agreed, X * 8, y)
    assert len(rungs) > len(agreed.segments)
    assert found == quoted(agreed, rungs)
    fits, _ = fit(agreed, X * 8, y)
    assert len(fits[0].models[0].losses) == sum(map(agreed.reports, agreed.segments))


@pytest.mark.parametrize("solver", ["nesterov", "newton"])
def test_the_dealer_learns_neither_rejections_nor_the_choice(solver):
    """Whichever C is best, and whatever was rejected, the dealer sees the same bytes in the same order."""
    changes = {"C": ("0.001", "2.0"), "folds": 2, "rows": 24}
    changes |= {"solver": "newton", "max_iter": 20} if solver == "newton" else {}
    agreed = often_rejected([2, 1], **changes)
    narrower = {"state_window": 58, "residual_window": 56}  # six times as many words are opened
    if solver == "newton":
        narrower |= {"gradient_window": 57, "density_window": 55, "inverse_window": 53, "product_window": 53}
    agreed = agreed.model_copy(update=narrower)
    X, y = table(agreed, 1)
    noise = np.random.default_rng(5).integers(0, 2, agreed.rows)
    runs = [Observed(agreed, training=training) for training in ((X * 2, y), (X, y), (X, noise))]
    assert {run.fits[0].models[0].C for run in runs} == {"0.001", "2.0"}
    first, *others = [(run.listener.to_dealer(), run.listener.from_dealer(), run.listener.trace()) for run in runs]
    assert all(other == first for other in others)


def test_only_what_is_told_is_disclosed():
    """The list of disclosures has the coefficients of one C, each class's, and one cross-validated loss a C."""
    agreed = program([2, 1], C=GRID, folds=2, classes=3, max_iter=5, loss_every=5)
    assert len(agreed.models) == 3 * 3 * (1 + 2)
    assert {each.name: each.values for each in agreed.disclosures() if each.recipients != (1,)} == {
        "coefficients": 2 * 3,
        "guard": 1,
        "loss": 3 * 3,
        "cross-validation": 3,
    }


@pytest.mark.parametrize(("factor", "expected"), [(0.5, False), (2, True)])
def test_one_bit_tells_whether_every_model_converged(factor, expected):
    """The tolerance is held against the last gradient of every model: the farthest from its optimum decides."""
    asked = {"rows": 200, "max_iter": 20, "C": ("0.01", "1.0"), "loss_every": 0}
    X, y = table(program([2, 1], **asked), 1)
    grid = program([2, 1], **asked)
    greatest = [last_gradient(alone(grid, place), X, y, float(C)) for place, C in enumerate(asked["C"])]
    assert max(greatest) > 4 * min(greatest)
    fits, _ = fit(program([2, 1], tol=f"{factor * max(greatest):.7f}", **asked), X, y)
    assert fits[0].models[0].converged == fits[1].models[1].converged == expected


def test_rows_train_or_judge():
    """Every row of a fold judges the models that it does not train; models of all rows are judged by all."""
    agreed = program([1, 1], rows=10, folds=3, classes=3, C=("1", "2"))
    trained, judged = trains(agreed, np.arange(4, 9)), judges(agreed, np.arange(4, 9))
    for place, model in enumerate(agreed.models):
        left_out = [model.fold is not None and row % 3 == model.fold for row in range(4, 9)]
        assert trained[:, place].tolist() == [not each for each in left_out]
        assert judged[:, place].tolist() == [model.fold is None or each for each in left_out]
    assert trains(program([1, 1]), np.arange(2)) is judges(program([1, 1]), np.arange(2)) is None


def test_totals_are_of_judging_rows():
    """Labels of a model's class count where they judge it, once for all models that share both."""
    agreed = program([1, 1], rows=10, folds=3, classes=3, C=("1", "2"))
    labels = np.arange(30).reshape(10, 3)
    found = spread(agreed, labels)
    assert found.shape == (10, len(totals(agreed))) == (10, 3 * 4)
    whole = judges(agreed, np.arange(10))
    for place, model in enumerate(agreed.models):
        assert (found[:, total_columns(agreed)[place]] == labels[:, model.label] * whole[:, place]).all()


def test_reports_add_up_folds_and_classes():
    """A C's cross-validated loss is of all classes and folds."""
    agreed = program([1, 1], rows=10, folds=2, classes=3, C=("1", "2"))
    losses = np.arange(len(agreed.models)) + 100
    found = summed(agreed, losses)
    assert found[:6].tolist() == losses[:6].tolist()
    for place, C in enumerate(("1", "2")):
        of_folds = [n for n, model in enumerate(agreed.models) if model.C == C and model.fold is not None]
        assert found[6 + place] == losses[of_folds].sum()
    assert told(agreed, (0.5, 0.4)) == [3, 4, 5]
    assert told(agreed, (0.4, 0.4)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"folds": 1}, "1 folds"),
        ({"folds": 7}, "7 folds of 12 rows"),
        ({"folds": -1}, "folds"),
        ({"folds": 2, "loss_every": 0}, "loss report"),
        ({"folds": 2, "loss_every": 9, "max_iter": 5}, "every 9 of 5"),
        ({"folds": 2, "solver": "sgd", "batch_rows": 4, "learning_rate": "0.1", "loss_every": 0}, "loss report"),
        ({"classes": 2}, "2 classes"),
        ({"classes": 0}, "0 classes"),
        ({"classes": 21}, "21 classes"),
        ({"classes": 20, "C": GRID, "folds": 2}, "180 models"),
        ({"classes": 3, "engine": "reference", "solver": None}, "one model"),
        ({"folds": 2, "engine": "reference", "solver": None}, "one model"),
    ],
)
def test_what_can_t_be_is_refused(changes, says):
    """Folds and classes that make no run are refused before anything is derived."""
    with pytest.raises(ProgramError, match=says):
        program([1, 1], **changes)


@pytest.mark.parametrize("labels", [[0, 1, 3], [0, -1, 2]])
def test_a_class_that_is_none_is_refused(labels):
    """Labels are numbers of the classes."""
    agreed = program([1, 1], rows=3, classes=3, loss_every=0)
    X, _ = table(agreed, 1)
    with pytest.raises(ProgramError, match="0 to 2"):
        check_input(agreed, *own(agreed, 1, X, np.array(labels, dtype=np.int64)), 1)
