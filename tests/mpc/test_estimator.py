"""The estimator: scikit-learn's conventions, its models, and what a run costs."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import mpc
from mpc import SecureLogisticRegression
from mpc.costs import quote

NEAR = 1e-3  # of a probability
EXCLUDED = {
    "check_fit_idempotent": "each run rounds under masks of its own, so that its last digits are its own",
    "check_pipeline_consistency": "scikit-learn leaves it out for estimators with such digits",
    "check_array_api_input": "scikit-learn leaves it out unless SciPy was started for other libraries' arrays",
}
CHECKS = {str(each): each for _, each in estimator_checks_generator(SecureLogisticRegression())}


def name_of(check):
    return getattr(check, "func", check).__name__


@pytest.mark.parametrize("check", [each for each in CHECKS.values() if name_of(each) not in EXCLUDED], ids=name_of)
def test_conventions(check):
    """scikit-learn's own checks of an estimator."""
    check(SecureLogisticRegression())


def test_the_excluded_checks_are_scikit_learn_s():
    """What is left out above is what there is to leave out."""
    assert {name_of(each) for each in CHECKS.values()} >= set(EXCLUDED)


def pooled(C=1.0, **changes):
    scaler = StandardScaler(with_mean=changes.get("fit_intercept", True))
    return make_pipeline(scaler, OneVsRestClassifier(LogisticRegression(C=C, tol=1e-10, max_iter=10_000, **changes)))


@pytest.mark.parametrize("parties", [2, 5, [29, 1], [12, 18, 0]], ids=str)
def test_it_is_scikit_learn_s_model(parties):
    """However columns are divided, the model is that of the pooled table, in the units of its columns."""
    X, y = load_breast_cancer(return_X_y=True)
    names = np.array(["bad", "good"])[y]
    found, expected = SecureLogisticRegression(parties).fit(X, names), pooled().fit(X, names)
    assert found.classes_.tolist() == ["bad", "good"]
    assert found.coef_.shape == (1, 30)
    assert np.abs(found.predict_proba(X) - expected.predict_proba(X)).max() < NEAR
    assert np.allclose(found.decision_function(X), (X @ found.coef_.T + found.intercept_)[:, 0])
    assert found.score(X, names) == expected.score(X, names)


@pytest.mark.parametrize("changes", [{}, {"C": 30.0}, {"solver": "nesterov", "max_iter": 600}], ids=str)
def test_each_class_has_its_model(changes):
    """Of several classes probabilities are those of one against the rest, brought to a sum of 1."""
    X, y = load_iris(return_X_y=True)
    found, expected = SecureLogisticRegression(3, **changes).fit(X, y), pooled(changes.get("C", 1.0)).fit(X, y)
    assert (found.coef_.shape, found.intercept_.shape, found.n_iter_.shape) == ((3, 4), (3,), (3,))
    assert np.abs(found.predict_proba(X) - expected.predict_proba(X)).max() < 5 * NEAR
    assert np.allclose(found.predict_proba(X).sum(axis=1), 1)
    assert np.allclose(found.predict_log_proba(X), np.log(found.predict_proba(X)))


def test_without_an_intercept():
    """Columns are divided by their root mean square, not centred, and the score of a row of zeros is zero."""
    X, y = load_breast_cancer(return_X_y=True)
    found = SecureLogisticRegression(fit_intercept=False).fit(X[:, :5], y)
    unit = np.sqrt((X[:, :5] ** 2).mean(axis=0))
    expected = LogisticRegression(fit_intercept=False, tol=1e-10, max_iter=10_000).fit(X[:, :5] / unit, y)
    assert found.intercept_.tolist() == [0.0]
    assert np.abs(found.predict_proba(X[:, :5]) - expected.predict_proba(X[:, :5] / unit)).max() < 5 * NEAR


def test_mini_batches():
    """They come near the optimum, in as many rounds as are declared."""
    X, y = load_breast_cancer(return_X_y=True)
    found = SecureLogisticRegression(solver="sgd", batch_size=64, learning_rate=0.2, max_iter=500).fit(X, y)
    assert np.abs(found.predict_proba(X) - pooled().fit(X, y).predict_proba(X)).mean() < 0.02
    assert found.n_iter_.tolist() == [500]


def test_costs_are_told():
    """Rounds, each party's bytes and the dealer's are those that the engine quotes for such a run."""
    X, y = load_iris(return_X_y=True)
    found = SecureLogisticRegression([1, 2, 1]).fit(X, y)
    quoted = quote(found._program(len(X), [1, 2, 1]))
    assert (found.rounds_, found.bytes_.tolist()) == (quoted.rounds, [*quoted.bytes_sent, quoted.dealer_bytes])


def test_it_goes_where_estimators_go():
    """Cloned, searched and put into a pipeline; nothing of the data is in its print."""
    X, y = load_iris(return_X_y=True)
    search = GridSearchCV(make_pipeline(SecureLogisticRegression()), {"securelogisticregression__C": [0.01, 1.0]}, cv=2)
    search.fit(X[:100], y[:100])
    assert search.best_score_ > 0.95
    assert clone(search.best_estimator_[0]).get_params() == search.best_estimator_[0].get_params()
    assert repr(SecureLogisticRegression(3, C=2.0)) == "SecureLogisticRegression(C=2.0, parties=3)"


def test_too_few_iterations_are_a_warning():
    """As scikit-learn warns, by the one bit that the run tells; of a tolerance of 0 nothing is told."""
    X, y = load_breast_cancer(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="after 2 iterations the gradient is not below tol=0.0001"):
        SecureLogisticRegression(max_iter=2).fit(X, y)
    SecureLogisticRegression(max_iter=2, tol=0).fit(X, y)


X, Y = np.random.default_rng(1).normal(size=(30, 3)), np.arange(30) % 2
BAD = {
    "sparse": ({}, csr_matrix(X), Y, TypeError, "dense data is required"),
    "a gap": ({}, np.where(X > 1, np.nan, X), Y, ValueError, "contains NaN"),
    "infinite": ({}, np.where(X > 1, np.inf, X), Y, ValueError, "contains infinity"),
    "one class": ({}, X, Y * 0, ValueError, "y has one class"),
    "many classes": ({}, np.tile(X, (2, 1)), np.arange(60) % 21, ValueError, "y has 21 classes; a model tells 2 to 20"),
    "a target": ({}, X, X[:, 0], ValueError, "Unknown label type"),
    "one party": ({"parties": 1}, X, Y, ValueError, "parties=1; choose 2 to 16"),
    "other columns": ({"parties": [1, 1]}, X, Y, ValueError, "write how many of the 3 columns"),
    "an idle party": ({"parties": [3, 0, 0]}, X, Y, ValueError, "party 1 owns no entry"),
    "C": ({"C": 0}, X, Y, ValueError, "C=0.0 lies outside"),
    "no C": ({"C": float("nan")}, X, Y, ValueError, "C=nan"),
    "tol": ({"tol": -1.0}, X, Y, ValueError, "tol=-1.0"),
    "a solver": ({"solver": "lbfgs"}, X, Y, ValueError, "solver='lbfgs'; choose auto, newton, nesterov, sgd"),
    "iterations": ({"max_iter": 0}, X, Y, ValueError, "max_iter=0 lies outside"),
    "half of sgd": ({"solver": "sgd", "learning_rate": 0.1}, X, Y, ValueError, "a batch of None"),
    "batches": ({"batch_size": 3}, X, Y, ValueError, "solver = sgd alone"),
}


@pytest.mark.parametrize(("changes", "table", "labels", "error", "says"), BAD.values(), ids=BAD)
def test_what_can_t_be_is_said(changes, table, labels, error, says):
    """One line that names what is wrong."""
    with pytest.raises(error, match=says):
        SecureLogisticRegression(**changes).fit(table, labels)


def test_nothing_is_predicted_before_a_fit():
    """As of every estimator."""
    with pytest.raises(NotFittedError):
        SecureLogisticRegression().predict(X)


def test_separable_columns_are_told_apart():
    """A weak penalty on columns that tell the classes apart without error: no silent nonsense, whatever the range."""
    separable = np.where(Y[:, None] == 1, 1.0, -1.0) + X / 100
    found = SecureLogisticRegression(C=1000.0).fit(separable, Y)
    assert found.score(separable, Y) == 1
    assert np.abs(found.decision_function(separable)).max() < 246


def test_it_is_loaded_when_asked_for():
    """The package alone loads neither scikit-learn nor torch."""
    assert mpc.__all__ == ["SecureLogisticRegression"]
    code = "import sys, mpc; print({'torch', 'sklearn', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        mpc.Nothing  # noqa: B018
