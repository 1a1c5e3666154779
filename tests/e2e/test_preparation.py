"""A public table with gaps, text and dates, trained by real processes: the model is scikit-learn's pipeline's.

344 penguins near Palmer Station, as the package palmerpenguins has them; sexes, weights and isotopes are missing there.
"""

from __future__ import annotations

import csv
import json
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OneHotEncoder, StandardScaler

from gateway.sandbox.consortium import Consortium
from parties.agreement.kinds import training
from parties.agreement.plan import parse_plan
from parties.agreement.prediction import PredictionPlan
from parties.columns.preparation import split
from parties.service.lifecycle import State
from tests.e2e.world import ID, World, assert_logs_verify, privity, write_csv
from tests.parties.test_prepared_matrix import bins_of, weight_of_evidence

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
    expected = expected[expected != 0]  # a column whose few gaps are all in held-out rows is no part either
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


CELL = 10  # the plan's default, and the least that a node's policy signs
HOME = "at Biscoe"  # whether a penguin was seen there: of both values enough for bins
FIELD_RECIPES = {"studyName": {"encoding": "one-hot", "most_levels": 2, "weight_of_evidence": True}}
WEIGHED = {
    "Culmen Length (mm)": {"quantile_bins": 4, "missing": "own", "weight_of_evidence": True},
    "Flipper Length (mm)": {"edges": ["185", "195", "205"], "missing": "own", "weight_of_evidence": True},
    "Sex": {"encoding": "one-hot", "most_levels": 2, "missing": "own", "weight_of_evidence": True},
    "Body Mass (g)": {"missing": "median"},
    "Delta 15 N (o/oo)": {"missing": "mean", "indicator": True},
}


def weighed_plan(world, model=None):
    content = {
        "purpose": "predict which penguins are seen at Biscoe",
        "parties": [
            {"name": "field", "data": "places", "columns": ["studyName"]},
            {"name": "laboratory", "data": "laboratory", "columns": list(WEIGHED)},
        ],
        "label": {"party": "field", "column": HOME, "positive": "yes"},
        "preparation": {"columns": FIELD_RECIPES | WEIGHED, "information_value": True},
        "model": model or {},
    }
    return parse_plan(content | {"dealer": world.plan.dealer})


@pytest.fixture(scope="module")
def weighed(world):
    """A session whose columns are weighed by a label that another party holds."""
    frame = penguins()
    places = frame.assign(**{HOME: np.where(frame["Island"] == "Biscoe", "yes", "no")})
    ids = [f"R{row:05d}" for row in range(len(frame))]
    world.add("field", "places", held(places, ("studyName", HOME), ids, 5))
    view = world.train(weighed_plan(world))
    assert view.state == State.COMPLETED, view.fault
    return view


def by_pandas(world, session, C="1.0", weighs=slice(None)):
    """All columns of the pooled table, weighed by the rule by some training rows, scikit-learn's model, and weights."""
    contract, frame = training(world.client.contract(session)), penguins().astype({"Sex": object})
    frame.index = pd.Index([f"R{row:05d}" for row in range(len(frame))])
    rows, _ = split(frame.index.tolist(), contract.split_key, contract.split.held_out)
    fit, positive = frame.index[rows], frame["Island"] == "Biscoe"
    weights, columns = {}, {}
    for name, recipe in (FIELD_RECIPES | WEIGHED).items():
        if recipe.get("weight_of_evidence"):
            bins = bins_of(frame[name], recipe, fit)
            weights[name], _ = weight_of_evidence(
                bins.loc[fit[weighs]], positive[fit[weighs]], divided=False, cell=CELL
            )
            columns[name] = bins @ weights[name]
    columns["mass"] = frame["Body Mass (g)"].fillna(frame["Body Mass (g)"][fit].median())
    columns["delta"] = frame["Delta 15 N (o/oo)"].fillna(frame["Delta 15 N (o/oo)"][fit].mean())
    columns["gap"] = frame["Delta 15 N (o/oo)"].isna().astype(float)
    X = pd.DataFrame(columns)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=float(C), tol=1e-10, max_iter=10_000))
    return model.fit(X.loc[fit], positive[fit]), weights


def test_columns_are_weighed_by_another_party_s_label(world, weighed):
    """The model is that of the pooled table weighed by the rule, and a column whose bins all weigh 0 is no part of it;
    the contract says who is told how much."""
    model, weights = by_pandas(world, weighed.id)
    own = [shown(world, party, weighed.id) for party in world.parties]
    told = [value for each in own for value in each.values()]
    names = [f"{name} (weight of evidence)" for name in weights if weights[name].any()]
    assert [name for each in own for name in each if "(weight" in name] == [name[:30].strip() for name in names]
    assert max(abs(weights["Flipper Length (mm)"])) > 0.5
    expected = model[-1].coef_[0][model[0].var_ > 0]
    assert len(told) == len(expected) >= 5
    assert np.abs(np.array(told) - expected).max() < TOLERANCE
    contract = training(world.client.contract(weighed.id))
    listed = [item.model_dump(include={"name", "recipient", "values"}) for item in contract.disclosures[:2]]
    assert listed == [
        {"name": "weight-of-evidence", "recipient": "party:laboratory", "values": 5 + 5 + 4},
        {"name": "information-value", "recipient": "session", "values": 4},
    ]


@pytest.mark.usefixtures("weighed")
def test_beside_folds_columns_are_weighed_by_the_other_rows(world):
    """Of each four training rows the first two are of a fold each; weights are those of the other two alone, and the
    model of all rows is the pooled table's."""
    view = world.train(weighed_plan(world, {"C": ["0.01", "1.0"], "folds": 2}))
    assert view.state == State.COMPLETED, view.fault
    told = privity("result", "show", view.id, "--home", world.directory / "laboratory", "--json")
    outcome = json.loads(told.out)
    C, rows = outcome["models"][0]["C"], training(world.client.contract(view.id)).program.rows
    assert C == min(view.validated, key=lambda each: each.loss).C
    model, weights = by_pandas(world, view.id, C, np.arange(rows) % 4 >= 2)
    for each in outcome["evidence"]:
        assert np.allclose(each["weights"], weights[each["column"]], rtol=1e-12)
    own = [value for party in world.parties for value in shown(world, party, view.id).values()]
    expected = model[-1].coef_[0][model[0].var_ > 0]
    assert len(own) == len(expected)
    assert np.abs(np.array(own) - expected).max() < TOLERANCE


def test_weights_stay_with_the_column_s_owner(world, weighed):
    """It reads them in its result; who has the labels, the dealer and the gateway have none of them, nor any count."""
    told = privity("result", "show", weighed.id, "--home", world.directory / "laboratory", "--json")
    found = {each["column"]: each for each in json.loads(told.out)["evidence"]}
    _, weights = by_pandas(world, weighed.id)
    assert list(found) == [name for name, recipe in WEIGHED.items() if recipe.get("weight_of_evidence")]
    for name, each in found.items():
        assert np.allclose(each["weights"], weights[name], rtol=1e-12)
        assert all(most - least + 1 >= CELL for least, most in each["positives"] if least > 0)
    other = privity("result", "show", weighed.id, "--home", world.directory / "field", "--json")
    assert [each["column"] for each in json.loads(other.out)["evidence"]] == ["studyName"]
    digits = [repr(weight).encode() for each in found.values() for weight in each["weights"] if weight]
    for name in (*world.consortium.members, "gateway"):
        for path in (world.directory / name).rglob("*"):
            if path.is_file() and path.parent != world.directory / "laboratory" / "results":
                content = path.read_bytes()
                assert not [one for one in digits if one in content], path


def test_all_are_told_how_much_a_column_says(world, weighed):
    """One number of each, at the gateway and at every party; and each log has who was told what."""
    assert [(each.party, each.column) for each in weighed.information_values] == [
        ("field", "studyName"),
        *(("laboratory", name) for name, recipe in WEIGHED.items() if recipe.get("weight_of_evidence")),
    ]
    assert max(each.value for each in weighed.information_values) > 0.1
    lines = privity("result", "show", weighed.id, "--home", world.directory / "field").out.splitlines()
    assert [line for line in lines if line.startswith("information value of laboratory's Sex: ")]
    for party in world.parties:
        listed = privity("audit", "list", "--home", world.directory / party, "--json").out
        disclosed = [json.loads(line) for line in listed.splitlines() if "weight-of-evidence" in line]
        assert disclosed, listed[:500]


def test_a_policy_can_refuse_to_weigh(world):
    """Whoever holds labels may say that no counts of them are told."""
    path = world.directory / "field" / "policy.toml"
    before = path.read_text()
    path.write_text(before.replace('"weight-of-evidence",', ""))
    try:
        session = world.client.propose(weighed_plan(world)).id
        view = world.ended(session)
    finally:
        path.write_text(before)
    assert view.state == State.REFUSED
    assert "weight-of-evidence" in view.fault.what


def test_new_rows_are_weighed_by_the_kept_model(world, weighed):
    """Values beyond all bins, gaps, and levels that nobody trained on."""
    model, _ = by_pandas(world, weighed.id)
    fresh = penguins().astype({"Sex": object}).sample(25, random_state=6).reset_index(drop=True)
    fresh.loc[:4, "Sex"] = np.nan
    fresh.loc[5:9, "studyName"] = "PAL2021"
    fresh.loc[10:14, "Flipper Length (mm)"] = 999.0
    ids = [f"N{row:03d}" for row in range(len(fresh))]
    world.add("field", "fresh-places", held(fresh, ("studyName",), ids, 7))
    world.add("laboratory", "fresh-measures", held(fresh, LABORATORY, ids, 8))
    content = {
        "kind": "prediction",
        "purpose": "score new penguins",
        "model": weighed.id,
        "recipient": "field",
        "dealer": world.plan.dealer,
        "parties": [{"name": "field", "data": "fresh-places"}, {"name": "laboratory", "data": "fresh-measures"}],
    }
    view = world.train(PredictionPlan.model_validate(content))
    assert view.state == State.COMPLETED, view.fault
    _, *rows = csv.reader(privity("result", "show", view.id, "--home", world.directory / "field").out.splitlines())
    expected = model.predict_proba(new_columns(world, weighed.id, fresh))[:, 1]
    assert np.abs(np.array([float(value) for _, value in rows]) - expected).max() < TOLERANCE


def new_columns(world, session, fresh):
    """New rows by what the training rows fitted: edges, levels, fills and weights."""
    contract, frame = training(world.client.contract(session)), penguins().astype({"Sex": object})
    rows, _ = split([f"R{row:05d}" for row in range(len(frame))], contract.split_key, contract.split.held_out)
    fit = frame.iloc[rows].reset_index(drop=True)
    both = pd.concat([fit, fresh], ignore_index=True)
    positive = fit["Island"] == "Biscoe"
    columns = {}
    for name, recipe in (FIELD_RECIPES | WEIGHED).items():
        if recipe.get("weight_of_evidence"):
            bins = bins_of(both[name], recipe, fit.index)
            columns[name] = bins @ weight_of_evidence(bins.loc[fit.index], positive, divided=False, cell=CELL)[0]
    columns["mass"] = both["Body Mass (g)"].fillna(fit["Body Mass (g)"].median())
    columns["delta"] = both["Delta 15 N (o/oo)"].fillna(fit["Delta 15 N (o/oo)"].mean())
    columns["gap"] = both["Delta 15 N (o/oo)"].isna().astype(float)
    return pd.DataFrame(columns).iloc[len(fit) :]
