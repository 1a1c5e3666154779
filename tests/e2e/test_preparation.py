"""A public table with gaps, text and dates, trained by real processes: the model is scikit-learn's pipeline's.

344 penguins near Palmer Station, as the package palmerpenguins has them; sexes, weights and isotopes are missing there.
"""

from __future__ import annotations

import csv
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OneHotEncoder, StandardScaler

from gateway.consortium import Consortium
from parties.kinds import training
from parties.lifecycle import State
from parties.plan import parse_plan
from parties.prediction import PredictionPlan
from parties.preparation import split
from tests.e2e.world import ID, World, assert_logs_verify, privity, write_csv

FIELD = ("Species", "studyName", "Island", "Date Egg")
MEASURES = ("Culmen Length (mm)", "Culmen Depth (mm)", "Flipper Length (mm)", "Body Mass (g)")
LABORATORY = (*MEASURES, "Sex", "Delta 15 N (o/oo)")
LABEL, POSITIVE = "Clutch Completion", "No"
WINSORISED = (0.05, 0.95)
SINCE = "2007-01-01"
RECIPES = {
    "Species": {"encoding": "one-hot", "most_levels": 3, "drop_first": True},
    "studyName": {"encoding": "one-hot", "most_levels": 1},
    "Island": {"encoding": "one-hot", "most_levels": 8},  # more than there are
    "Date Egg": {"encoding": "days", "since": SINCE},
    "Culmen Length (mm)": {"missing": "mean", "winsorise": [str(each) for each in WINSORISED]},
    "Culmen Depth (mm)": {"missing": "constant", "constant": "17.5"},
    "Flipper Length (mm)": {"quantile_bins": 4, "missing": "own", "drop_first": True},
    "Body Mass (g)": {"missing": "median"},
    "Sex": {"encoding": "one-hot", "most_levels": 2, "missing": "own"},
    "Delta 15 N (o/oo)": {"missing": "mean", "indicator": True},
}
LEVELS = (b"Torgersen", b"PAL0910", b"Gentoo", b"FEMALE")
TOLERANCE = 5e-3  # the model's distance from the optimum after its iterations


def penguins() -> pd.DataFrame:
    with (files("palmerpenguins") / "data" / "penguins-raw.csv").open() as file:
        return pd.read_csv(file)


def held(frame: pd.DataFrame, columns: tuple[str, ...], ids: list[str], seed: int) -> dict[str, list[str]]:
    """One party's columns as a CSV file has them, in an order of its own."""
    order = np.random.default_rng(seed).permutation(len(frame))
    return {ID: [ids[row] for row in order]} | {
        name: ["" if pd.isna(frame[name].iloc[row]) else str(frame[name].iloc[row]) for row in order]
        for name in columns
    }


def plan():
    return parse_plan(
        {
            "purpose": "predict which nests stay incomplete",
            "parties": [
                {"name": "field", "data": "field", "columns": list(FIELD)},
                {"name": "laboratory", "data": "laboratory", "columns": list(LABORATORY)},
            ],
            "label": {"party": "field", "column": LABEL, "positive": POSITIVE},
            "preparation": {"columns": RECIPES},
        }
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Who was in the field has species, places, dates and the label; the laboratory measured the same birds."""
    place, scratch, frame = tmp_path_factory.mktemp("consortium"), tmp_path_factory.mktemp("files"), penguins()
    ids = [f"R{row:05d}" for row in range(len(frame))]
    tables = {
        "field": write_csv(scratch / "field.csv", held(frame, (*FIELD, LABEL), ids, 1)),
        "laboratory": write_csv(scratch / "laboratory.csv", held(frame, LABORATORY, ids, 2)),
    }
    with Consortium(place, plan()) as consortium:
        consortium.start(tables, ID, lambda _: None)
        yield World(consortium)
        identities = consortium.identities()
        consortium.stop()
        assert_logs_verify(place, identities)


@pytest.fixture(scope="module")
def trained(world):
    view = world.train(world.plan)
    assert view.state == State.COMPLETED, view.fault
    return view.id


def clipped(frame: pd.DataFrame, fit: pd.DataFrame) -> pd.DataFrame:
    low, high = fit["Culmen Length (mm)"].quantile(list(WINSORISED))
    return frame.assign(**{"Culmen Length (mm)": frame["Culmen Length (mm)"].clip(low, high)})


class Bins(KBinsDiscretizer):
    """scikit-learn's bins of what is there; no bin where nothing is."""

    def fit(self, X, y=None, sample_weight=None):
        return super().fit(X.dropna(), y, sample_weight)

    def transform(self, X):
        found = np.zeros((len(X), int(self.n_bins_[0])))
        there = X.notna().to_numpy()[:, 0]
        found[there] = super().transform(X[there])
        return np.hstack([found[:, 1:], ~there[:, None]])


def days(frame: pd.DataFrame) -> np.ndarray:
    return (pd.to_datetime(frame["Date Egg"]) - pd.Timestamp(SINCE)).dt.days.to_numpy()[:, None]


def pipeline():
    """The same preparation in scikit-learn's words, column after column, and its logistic regression."""

    def one_hot(**settings):
        return OneHotEncoder(sparse_output=False, handle_unknown="infrequent_if_exist", **settings)

    missing = SimpleImputer(strategy="constant", fill_value="missing", missing_values=np.nan)
    steps = {
        "Species": one_hot(drop="first"),
        "studyName": one_hot(max_categories=2),
        "Island": one_hot(),
        "Date Egg": FunctionTransformer(days),
        "Culmen Length (mm)": SimpleImputer(strategy="mean"),
        "Culmen Depth (mm)": SimpleImputer(strategy="constant", fill_value=17.5),
        "Flipper Length (mm)": Bins(4, encode="onehot-dense", quantile_method="linear"),
        "Body Mass (g)": SimpleImputer(strategy="median"),
        "Sex": make_pipeline(missing, one_hot()),
        "Delta 15 N (o/oo)": SimpleImputer(strategy="mean", add_indicator=True),
    }
    columns = ColumnTransformer([(name, step, [name]) for name, step in steps.items()])
    return make_pipeline(columns, StandardScaler(), LogisticRegression(tol=1e-10, max_iter=10_000))


def pooled(world, trained):
    """scikit-learn's pipeline, fitted by the very rows that the session trained on."""
    contract, frame = training(world.client.contract(trained)), penguins().astype({"Sex": object})
    ids = [f"R{row:05d}" for row in range(len(frame))]
    rows, _ = split(ids, contract.split_key, contract.split.held_out)
    fit = frame.iloc[rows]
    return pipeline().fit(clipped(fit, fit), fit[LABEL] == POSITIVE), fit


def shown(world, party, session):
    """What `result show` prints of own columns: standardised coefficients by name."""
    told = privity("result", "show", session, "--home", world.directory / party)
    assert told.status == 0, told.err
    lines = told.out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("column "))
    end = next(number for number, line in enumerate(lines) if line.startswith("own centring offset"))
    return {line[:30].strip(): float(line[30:].split()[-2]) for line in lines[start + 1 : end]}


def test_the_model_is_that_of_scikit_learns_pipeline(world, trained):
    """Every coefficient of every derived column, in the owner's words; columns that the caps leave over are no part."""
    model, _ = pooled(world, trained)
    own = [shown(world, party, trained) for party in world.parties]
    names = [name for each in own for name in each]
    assert "studyName = other" in names
    assert "Sex is missing" in names
    assert "Island = other" not in names
    told = np.array([value for each in own for value in each.values()])
    expected = model[-1].coef_[0]
    assert told.shape == expected.shape
    assert np.abs(expected).max() > 0.5
    assert np.abs(told - expected).max() < TOLERANCE


def test_no_level_leaves_its_owner(world, trained):
    """The contract says how many columns there are; what they stand for is neither in it nor at anybody else's."""
    contract = training(world.client.contract(trained))
    assert [len(contract.program.held(rank)) for rank in (0, 1)] == [3 + 2 + 9 + 1, 1 + 1 + 4 + 1 + 4 + 2]
    content = contract.canonical()
    assert not [level for level in LEVELS if level in content]
    for name in (*world.consortium.members, "gateway"):
        for path in (world.directory / name).rglob("*"):
            if path.is_file() and path.parent.name != "results":
                found = path.read_bytes()
                assert not [level for level in LEVELS if level in found], path
    assert b"Torgersen" not in (world.directory / "laboratory" / "results" / f"{trained}.json").read_bytes()
    assert b"Island = Torgersen" in (world.directory / "field" / "results" / f"{trained}.json").read_bytes()


def test_new_rows_are_prepared_by_the_kept_model(world, trained):
    """Gaps where there were none before and levels that nobody trained on: as scikit-learn's fitted pipeline."""
    model, fit = pooled(world, trained)
    fresh = penguins().astype({"Sex": object}).sample(30, random_state=5).reset_index(drop=True)
    fresh.loc[:4, "studyName"] = "PAL2021"
    fresh.loc[5:9, ["Sex", "Delta 15 N (o/oo)", "Body Mass (g)"]] = np.nan
    fresh.loc[10:14, "Date Egg"] = "2024-02-29"
    ids = [f"N{row:03d}" for row in range(len(fresh))]
    world.add("field", "fresh-field", held(fresh, FIELD, ids, 3))
    world.add("laboratory", "fresh-laboratory", held(fresh, LABORATORY, ids, 4))
    content = {
        "kind": "prediction",
        "purpose": "score new nests",
        "model": trained,
        "recipient": "laboratory",
        "dealer": world.plan.dealer,
        "parties": [{"name": name, "data": f"fresh-{name}"} for name in world.parties],
    }
    view = world.train(PredictionPlan.model_validate(content))
    assert view.state == State.COMPLETED, view.fault
    done = privity("result", "show", view.id, "--home", world.directory / "laboratory")
    _, *rows = csv.reader(done.out.splitlines())
    assert [record for record, _ in rows] == ids
    expected = model.predict_proba(clipped(fresh, fit))[:, 1]
    assert expected.std() > 0.02
    assert np.abs(np.array([float(value) for _, value in rows]) - expected).max() < TOLERANCE
