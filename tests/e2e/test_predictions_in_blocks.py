"""Predictions by a model of a table in blocks, by real processes: two hospitals and an insurer of all patients.

The hospitals' wards have levels that no plan lists: they agree on them. Ages are missing at both: they fill them with
the mean of all that are there.
"""

from __future__ import annotations

import csv
import json
import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mpc.moments import FINE_BITS, LIMB_BITS, SUM_BITS
from mpc.scales import LIMBS
from parties.agreement.kinds import training
from parties.agreement.plan import parse_plan
from parties.agreement.prediction import PredictionPlan
from parties.audit.events import CommitmentSigned, DisclosureRecorded, DisclosureTold
from parties.audit.snapshot import locate, take
from parties.columns.preparation import split
from parties.outcome.told import path_of, read
from parties.service.home import Home
from parties.service.lifecycle import State
from tests.e2e.world import ID, LABEL, privity, tables
from tests.parties.test_prepared_matrix import by_rank, levels_of, most_frequent

HOSPITALS, INSURER = ("org-0", "org-2"), "org-1"
HALF = 4  # numbers of the hospitals; the insurer has the others
WARD, CAP, SMALLEST = "ward", 4, 10
WARDS = np.array(["Aster", "Birke", "Cassis", "Distel", "Enzian", "Flieder"])
NEW = 40
TOLERANCE = 2e-3  # the model's distance from the optimum after its iterations, and a prediction's digits


LIMITS, BINS = ["0.05", "0.9"], 4
RECIPES = {
    "x0": {"missing": "mean", "indicator": True},
    WARD: {"encoding": "one-hot", "most_levels": CAP},
    "x2": {"quantile_bins": BINS},
    "x3": {"winsorise": LIMITS},
}


def wards(X):
    """Of each row the ward: two depend on what only some records of either hospital have."""
    found = WARDS[np.digitize(X[:, 2], np.quantile(tables("diabetes")[0][:, 2], [0.2, 0.45, 0.5, 0.75]))]
    return np.where(X[:, 0] > np.quantile(tables("diabetes")[0][:, 0], 0.97), WARDS[5], found)


def gaps(X):
    """Rows whose x0 is missing, about a quarter of any table."""
    return np.abs(X[:, 0] * 1e6).astype(int) % 4 == 0


def cells(X, rows, column):
    """As a file has them."""
    missing = gaps(X) & (column == 0)
    return ["" if missing[row] else repr(float(X[row, column])) for row in rows]


def brought(world, data, records, X, y=None):
    """Put a table into the vaults, in an order of each party's own: a third of the records at one hospital."""
    order = np.random.default_rng(7).permutation(len(X))
    parts = {HOSPITALS[0]: (order[::3], range(HALF)), INSURER: (np.flip(order), range(HALF, X.shape[1]))}
    parts[HOSPITALS[1]] = (np.setdiff1d(order, order[::3]), range(HALF))
    for party, (rows, columns) in parts.items():
        content = {ID: [records[row] for row in rows]}
        content |= {f"x{column}": cells(X, rows, column) for column in columns}
        if party != INSURER:
            content[WARD] = wards(X)[rows].tolist()
        if y is not None and party != INSURER:
            content[LABEL] = [y[row] for row in rows]
        world.add(party, data, content)
    return {party: [records[row] for row in rows] for party, (rows, _) in parts.items()}


@pytest.fixture(scope="module")
def trained(world):
    """A completed training in blocks, with the hospitals' labels, whose model lies in shares."""
    X, y = tables("diabetes")
    parts = brought(world, "blocks", [f"R{row:05d}" for row in range(len(X))], X, y)
    columns = [f"x{column}" for column in range(X.shape[1])]
    of_hospitals = [*columns[:HALF], WARD]
    content = {
        "purpose": "find the high ones",
        "partition": "blocks",
        "dealer": world.plan.dealer,
        "parties": [
            {"name": name, "data": "blocks", "columns": columns[HALF:] if name == INSURER else of_hospitals}
            for name in world.parties
        ],
        "label": {"party": list(HOSPITALS), "column": LABEL, "positive": "high"},
        "preparation": {"columns": RECIPES},
    }
    view = world.train(parse_plan(content))
    assert view.state == State.COMPLETED, view.fault
    return view.id, parts


@pytest.fixture(scope="module")
def fresh(world):
    """New records, held as those of the training."""
    X, _ = tables("diabetes")
    generator = np.random.default_rng(11)
    found = X[generator.integers(0, len(X), NEW)] + generator.normal(size=(NEW, X.shape[1])) * X.std(axis=0) / 2
    return found, brought(world, "new-blocks", [f"N{row:03d}" for row in range(NEW)], found)


def plan(world, model, recipient):
    content = {
        "kind": "prediction",
        "purpose": "score new patients",
        "model": model,
        "recipient": recipient,
        "dealer": world.plan.dealer,
        "parties": [{"name": name, "data": "new-blocks"} for name in world.parties],
    }
    return PredictionPlan.model_validate(content)


def pooled(world, trained):
    """scikit-learn's probabilities of rows, by the very records that the session trained on."""
    X, y = tables("diabetes")
    trains = training_rows(world, trained)
    rows, levels = np.concatenate(trains), joint_levels(trains)

    limits = by_rank(sorted(X[rows, 3]), map(Fraction, LIMITS))
    edges = by_rank(sorted(X[rows, 2]), [Fraction(place, BINS) for place in range(1, BINS)])
    assert len(set(edges)) == BINS - 1
    mean = X[rows, 0][~gaps(X[rows])].mean()

    def prepared(new):
        """Numbers, gaps filled and told, bins by joint quantiles, columns for levels that the hospitals agreed on."""
        chosen = np.array([wards(new) == level for level in levels] + [~np.isin(wards(new), levels)])
        bins = np.digitize(new[:, 2], edges)[:, None] == np.arange(BINS)
        filled = np.column_stack([np.where(gaps(new), mean, new[:, 0]), gaps(new), new[:, 1]])
        return np.hstack([filled, bins, new[:, 3:4].clip(*limits), new[:, 4:], chosen.T])

    scaler = StandardScaler().fit(prepared(X[rows]))
    fitted = scaler.transform(prepared(X[rows]))
    model = LogisticRegression(tol=1e-10, max_iter=10_000).fit(fitted, np.array(y)[rows] == "high")
    return lambda new: model.predict_proba(scaler.transform(prepared(new)))[:, 1]


def test_hospitals_are_told_joint_quantiles_and_nobody_else(world, trained):
    """The contract says how many and to whom; only their results have them, and they are of all training rows."""
    session, _ = trained
    contract = training(world.client.contract(session))
    (item,) = (each.model_dump(exclude={"clause"}) for each in contract.disclosures if each.name == "quantiles")
    hospitals = f"parties:{','.join(HOSPITALS)}"
    assert item == {"name": "quantiles", "recipient": hospitals, "count": 4, "values": BINS - 1 + len(LIMITS)}
    for name in world.parties:
        entries = [entry.event for entry in take(locate(world.directory / name)).entries()]
        told = [event for event in entries if isinstance(event, DisclosureTold) and event.session == session]
        assert len([event for event in told if event.name == "quantiles"]) == (4 if name in HOSPITALS else 0)
    shown = json.loads(privity("result", "show", session, "--home", world.directory / HOSPITALS[0], "--json").out)
    rows = np.concatenate(training_rows(world, trained))
    low, *_ = by_rank(sorted(tables("diabetes")[0][rows, 2]), [Fraction(1, BINS)])
    assert f"x2 below {low:g}" in shown["columns"]


def test_hospitals_are_told_a_joint_mean_and_nobody_else(world, trained):
    """A sum and a count: each hospital has the mean of all values that are there, and, by subtraction, the other's."""
    session, _ = trained
    contract = training(world.client.contract(session))
    (item,) = (each.model_dump(exclude={"clause"}) for each in contract.disclosures if each.name == "means")
    assert item == {"name": "means", "recipient": f"parties:{','.join(HOSPITALS)}", "count": 1, "values": 2}
    X = tables("diabetes")[0]
    present = [X[rows, 0][~gaps(X[rows])] for rows in training_rows(world, trained)]
    assert min(map(len, present)) < min(map(len, training_rows(world, trained)))
    for name in world.parties:
        home = Home(world.directory / name)
        told = [each for each in read(path_of(home.path("results"), session)) if each.name == "means"]
        assert len(told) == (name in HOSPITALS)
        for each in told:
            limbs = each.numbers().reshape(2, LIMBS).tolist()
            total, count = (sum(word << (LIMB_BITS * place) for place, word in enumerate(row)) for row in limbs)
            assert count % (1 << SUM_BITS) == sum(map(len, present))
            total = (total + (1 << (SUM_BITS - 1))) % (1 << SUM_BITS) - (1 << (SUM_BITS - 1))
            assert math.isclose(total / 2**FINE_BITS, np.concatenate(present).sum(), rel_tol=1e-9)


def training_rows(world, trained):
    """Of each hospital the rows of the table that the session trained on."""
    session, parts = trained
    contract = training(world.client.contract(session))
    split_by = contract.split_key, contract.split.held_out
    return [[int(parts[name][row][1:]) for row in split(parts[name], *split_by)[0]] for name in HOSPITALS]


def joint_levels(trains):
    """Those that one hospital's training records have often enough; too many for the cap, those that both have."""
    owners = [pd.Index(rows) for rows in trains]
    return sorted(levels_of(pd.Series(wards(tables("diabetes")[0])), CAP, owners, SMALLEST))


def test_hospitals_agree_on_levels_and_nobody_else_is_told(world, trained):
    """Neither the insurer nor dealer or gateway has a ward by name; each hospital can show what it was told."""
    session, _ = trained
    trains = training_rows(world, trained)
    agreed = joint_levels(trains)
    assert len(agreed) == CAP < len(WARDS)
    contract = training(world.client.contract(session))
    (item,) = (each.model_dump(exclude={"clause"}) for each in contract.disclosures if each.name == "levels")
    assert item == {"name": "levels", "recipient": f"parties:{','.join(HOSPITALS)}", "count": 1, "values": 2 * CAP}
    shown = json.loads(privity("result", "show", session, "--home", world.directory / HOSPITALS[0], "--json").out)
    levels = [name for name in shown["columns"] if name.startswith(WARD)]
    assert levels == [f"{WARD} = {level}" for level in agreed] + [f"{WARD} = other"]
    for name in {*world.consortium.members, "gateway"} - {*HOSPITALS}:
        for path in (world.directory / name).rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert not [ward for ward in WARDS if ward.encode() in content], path
    for name in world.parties:
        entries = [entry.event for entry in take(locate(world.directory / name)).entries()]
        recorded = [event for event in entries if getattr(event, "name", "") == "levels" and event.session == session]
        kinds = [DisclosureRecorded] + [DisclosureTold] * (
            name in HOSPITALS
        )  # before anything left, and what came of it
        assert [type(event) for event in recorded] == kinds
        # each party had signed what it sent until then, and once before who has which record was told
        signed = [event for event in entries[: entries.index(recorded[0])] if isinstance(event, CommitmentSigned)]
        assert [event.session for event in signed if event.session == session] == [session] * 2
        assert not [ward for ward in WARDS if ward in "".join(map(repr, entries))]


def test_a_hospital_shows_what_it_was_told(world, trained, tmp_path):
    """The names of both hospitals' frequent wards, as the log has their salted digest."""
    session, _ = trained
    home = world.directory / HOSPITALS[1]
    contract = training(world.client.contract(session))
    (item,) = (each for each in contract.disclosures if each.name == "levels")
    file = tmp_path / "levels.json"
    assert privity("result", "reveal", session, item.clause, "--home", home, "--out", file).status == 0
    checked = privity("result", "check", file, "--key", Home(home).identity.fingerprint, "--json")
    assert checked.status == 0, checked.err
    every = pd.Series(wards(tables("diabetes")[0]))
    expected = [
        level for rows in training_rows(world, trained) for level in sorted(most_frequent(every[rows], CAP, SMALLEST))
    ]
    assert json.loads(checked.out)["levels"] == expected
    assert privity("result", "verify", session, "--home", home).status == 0


@pytest.mark.parametrize("recipient", [INSURER, HOSPITALS[1]])
def test_a_recipient_has_the_probabilities_of_its_records(world, trained, fresh, recipient):
    """As scikit-learn on the pooled table has them: of all records at the insurer, of its own at a hospital."""
    X, parts = fresh
    view = world.train(plan(world, trained[0], recipient))
    assert view.state == State.COMPLETED, view.fault
    shown = privity("result", "show", view.id, "--home", world.directory / recipient)
    heading, *rows = csv.reader(shown.out.splitlines())
    assert heading == [ID, "probability"]
    assert sorted(record for record, _ in rows) == sorted(parts[recipient])
    expected = pooled(world, trained)(X[[int(record[1:]) for record, _ in rows]])
    assert expected.std() > 0.1
    assert np.abs(np.array([float(told) for _, told in rows]) - expected).max() < TOLERANCE
    listed = [each.model_dump() for each in world.client.contract(view.id).disclosures]
    told = {(item["name"], item["recipient"], item["values"]) for item in listed}
    records = len(parts[recipient])
    assert told == {("probabilities", f"party:{recipient}", records), ("membership", f"party:{INSURER}", NEW)}
    for name in {*world.parties} - {recipient}:
        assert privity("result", "show", view.id, "--home", world.directory / name).status == 1


def test_a_record_that_the_insurer_lacks_ends_the_session(world, trained, fresh):
    """Nothing is told: neither a probability nor whose any record is."""
    X, parts = fresh
    hospital = HOSPITALS[0]
    rows = [int(record[1:]) for record in parts[hospital]]
    content = {ID: [*parts[hospital][:-1], "N999"]}
    content |= {f"x{column}": cells(X, rows, column) for column in range(HALF)}
    content[WARD] = wards(X)[rows].tolist()
    world.add(hospital, "strangers", content)
    asked = plan(world, trained[0], INSURER).model_dump(mode="json")
    for party in asked["parties"]:
        party["data"] = "strangers" if party["name"] == hospital else "new-blocks"
    view = world.train(PredictionPlan.model_validate(asked))
    assert view.state == State.FAILED
    assert "are not the same" in view.fault.what
    assert "N999" not in json.dumps(view.model_dump(mode="json"))
    assert not list((world.directory / INSURER / "results").glob(f"{view.id}*"))
