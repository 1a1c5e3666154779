"""Several models in one session of real processes: of a grid the best, of three classes each, and predictions."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from parties.agreement.kinds import training
from parties.agreement.plan import ModelPlan, parse_plan
from parties.agreement.prediction import PredictionPlan
from parties.columns.preparation import split
from parties.service.lifecycle import State
from tests.e2e.world import ID, privity

DATA, LABEL = "wines", "grower"
GROWERS = ("Barolo", "Grignolino", "Barbera")
GRID = ("0.001", "0.1", "10")
FOLDS = 4


def wines():
    """A real table of three classes; as many columns as the nodes' policies allow of three models."""
    X, y = load_wine(return_X_y=True)
    return X[:, 5:], y


def held(world, number, X, y, prefix="W"):
    """A party's columns, in an order of its own; the last one has the label, if there is one."""
    columns = np.array_split(np.arange(X.shape[1]), len(world.parties))[number]
    order = np.random.default_rng(number).permutation(len(X))
    found = {ID: [f"{prefix}{row:03d}" for row in order]}
    found |= {f"x{column}": [repr(float(X[row, column])) for row in order] for column in columns}
    if y is not None and number == len(world.parties) - 1:
        found[LABEL] = [GROWERS[y[row]] for row in order]
    return found


@pytest.fixture(scope="module")
def plan(world):
    X, y = wines()
    parties = []
    for number, name in enumerate(world.parties):
        columns = held(world, number, X, y)
        world.add(name, DATA, columns)
        parties.append({"name": name, "data": DATA, "columns": [each for each in columns if each.startswith("x")]})
    return parse_plan(
        {
            "purpose": "tell growers apart",
            "dealer": world.plan.dealer,
            "parties": parties,
            "label": {"party": world.parties[-1], "column": LABEL, "classes": GROWERS},
            "model": {"C": GRID, "folds": FOLDS},
        }
    )


@pytest.fixture(scope="module")
def trained(world, plan):
    view = world.train(plan)
    assert view.state == State.COMPLETED, view.fault
    return view


@pytest.fixture(scope="module")
def pooled(world, trained):
    return joint(world, trained)


def joint(world, view):
    """The joint table in the order of a session: standardised rows to train on and held out, and their classes."""
    contract = training(world.client.contract(view.id))
    X, y = wines()
    rows, others = split([f"W{row:03d}" for row in range(len(X))], contract.split_key, contract.split.held_out)
    scaler = StandardScaler().fit(X[rows])
    return scaler, scaler.transform(X[rows]), y[rows], scaler.transform(X[others]), y[others]


def optimum(C, X, y):
    return LogisticRegression(C=float(C), tol=1e-10, max_iter=20_000).fit(X, y)


def validated(C, X, y):
    """The mean loss over classes and rows, of each row by models that did not see its fold."""
    fold = np.arange(len(X)) % FOLDS
    losses = []
    for place in range(FOLDS):
        for k in range(len(GROWERS)):
            kept = fold != place
            p = optimum(C, X[kept], y[kept] == k).predict_proba(X[~kept])[:, 1]
            losses += (-np.log(np.where(y[~kept] == k, p, 1 - p))).tolist()
    return float(np.mean(losses))


def test_the_best_of_the_grid_is_taken(trained, pooled):
    """Everybody is told each C's loss of left-out rows, which is scikit-learn's, and the models of the least one."""
    _, X, y, _, _ = pooled
    expected = {C: validated(C, X, y) for C in GRID}
    assert {each.C: pytest.approx(each.loss, abs=3e-3) for each in trained.validated} == expected
    best = min(expected, key=lambda C: expected[C])
    assert [(model.C, model.positive) for model in trained.models] == [(best, grower) for grower in GROWERS]


def test_each_class_is_told_apart_as_scikit_learn_does(world, trained, pooled):
    """Coefficients at their owners are those of the pooled optimum of each class; figures those of its scores."""
    _, X, y, others, labels = pooled
    outcomes = [
        json.loads(privity("result", "show", trained.id, "--home", world.directory / name, "--json").out)
        for name in world.parties
    ]
    for k, told in enumerate(trained.models):
        model = optimum(told.C, X, y == k)
        found = np.concatenate([each["models"][k]["standardised"] for each in outcomes])
        assert np.linalg.norm(found - model.coef_[0]) < 5e-3 * np.linalg.norm(model.coef_[0])
        auc = roc_auc_score(labels == k, others @ found)
        assert abs(told.figures.auc - auc) < 5e-3


def test_it_reads_well(world, trained):
    """The command line and the node's result name C, class and what the cross-validation told."""
    token = world.directory / "gateway" / "token"
    shown = privity("session", "show", trained.id, "--gateway", world.consortium.url, "--token-file", token).out
    own = privity("result", "show", trained.id, "--home", world.directory / world.parties[0]).out
    for said in (shown, own):
        assert said.count("cross-validated loss") == len(GRID)
        assert said.count("(taken)") == 1
    assert "auc of the held-out rows (Barolo" in shown
    assert f"Barbera, C={trained.models[0].C}" in own


def test_mini_batches_have_folds(world, plan):
    """Penalties that many passes meet: scikit-learn's losses of left-out rows, and the models of the least one told."""
    grid = ("0.01", "0.1")  # far apart, and strong enough for the steps to come near each optimum
    batches = {"solver": "sgd", "batch_size": 32, "learning_rate": "0.1", "epochs": 100}
    view = world.train(plan.model_copy(update={"model": ModelPlan(C=grid, folds=FOLDS, **batches)}))
    assert view.state == State.COMPLETED, view.fault
    _, X, y, _, _ = joint(world, view)
    expected = {C: validated(C, X, y) for C in grid}
    assert {each.C: pytest.approx(each.loss, abs=5e-3) for each in view.validated} == expected
    best = min(expected, key=expected.get)
    assert [(model.C, model.positive) for model in view.models] == [(best, grower) for grower in GROWERS]


def test_a_kept_model_tells_every_class(world, trained, pooled, tmp_path):
    """New rows have a probability of each class, at the recipient alone."""
    X, _ = wines()
    fresh = X[::6] + np.random.default_rng(3).normal(size=X[::6].shape) * X.std(axis=0) / 4
    for number, name in enumerate(world.parties):
        world.add(name, "new-wines", held(world, number, fresh, None, prefix="N"))
    recipient = world.parties[1]
    content = {
        "kind": "prediction",
        "purpose": "tell growers of new wines",
        "model": trained.id,
        "recipient": recipient,
        "dealer": world.plan.dealer,
        "parties": [{"name": name, "data": "new-wines"} for name in world.parties],
    }
    view = world.train(PredictionPlan.model_validate(content))
    assert view.state == State.COMPLETED, view.fault
    file = tmp_path / "told.csv"
    assert privity("result", "export", view.id, "-o", file, "--home", world.directory / recipient).status == 0
    with file.open(encoding="utf-8", newline="") as lines:
        heading, *rows = csv.reader(lines)
    assert heading == [ID, *GROWERS]
    order = sorted(range(len(fresh)), key=lambda row: f"N{row:03d}")
    assert [row[0] for row in rows] == [f"N{row:03d}" for row in order]
    scaler, table, y, _, _ = pooled
    for k in range(len(GROWERS)):
        p = optimum(trained.models[k].C, table, y == k).predict_proba(scaler.transform(fresh[order]))[:, 1]
        assert np.abs(np.array([float(row[1 + k]) for row in rows]) - p).max() < 5e-3
