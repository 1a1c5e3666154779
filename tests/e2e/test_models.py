"""The secure model against scikit-learn on the pooled plaintext: real tables, real processes, two to four parties."""

import json

import numpy as np
import pandas as pd
import pytest

from gateway.sandbox.trial import run
from parties.agreement.plan import load_plan
from parties.columns.recipe import Recipe
from tests.e2e.world import (
    ID,
    plan_by_rows,
    plan_for,
    plan_in_blocks,
    privity,
    split_blocks,
    split_columns,
    split_rows,
)

COEFFICIENT_TOLERANCE = 5e-3  # in standardised units, after the default number of iterations


@pytest.mark.parametrize("table", ["breast cancer", "diabetes"])
@pytest.mark.parametrize("parties", [2, 3, pytest.param(4, marks=pytest.mark.long)])
def test_secure_equals_pooled(tmp_path, table, parties):
    """However many parties hold the columns, the model is the one that the pooled table gives."""
    files = split_columns(tmp_path, table, parties)
    report = run(plan_for(files), files, ID, tmp_path / "run", lambda _: None, lambda _: None)
    assert not report.failures
    assert report.comparison.coefficient_difference < COEFFICIENT_TOLERANCE
    assert len(report.logs) == parties + 2


@pytest.mark.parametrize(("table", "positive"), [("breast cancer", "malignant"), ("diabetes", "high")])
def test_a_table_divided_by_rows_equals_the_pooled_one(tmp_path, table, positive):
    """Three organisations with records of their own get, each of them, the model of all records together."""
    files = split_rows(tmp_path, table, 3)
    report = run(plan_by_rows(files, positive), files, ID, tmp_path / "run", lambda _: None, lambda _: None)
    assert not report.failures
    assert report.comparison.coefficient_difference < COEFFICIENT_TOLERANCE
    everybody = "parties:org-0,org-1,org-2"
    told = {(item.name, item.recipient): item.count for item in report.disclosures}
    assert {name: told[name, everybody] for name in ("moments", "coefficients", "intercept")} == {
        "moments": 1,
        "coefficients": 1,
        "intercept": 1,
    }
    assert {recipient for _, recipient in told} == {everybody, "session"}
    paths = list((tmp_path / "run").glob("org-*/results/*.json"))
    results = {json.dumps(json.loads(path.read_text()) | {"stages": {}}) for path in paths}
    assert (len(paths), len(results)) == (3, 1)  # the same model everywhere, bit by bit; each took its own time


@pytest.mark.parametrize("label_at_hospitals", [False, True], ids=["label at the insurer", "label at the hospitals"])
def test_a_table_in_blocks_equals_the_pooled_one(tmp_path, label_at_hospitals):
    """Two hospitals with the same columns of different records and an insurer of all get the model of the whole table,
    each the coefficients of its own columns.
    """
    files = split_blocks(tmp_path, "breast cancer", label_at_hospitals=label_at_hospitals)
    label = "hospital-a:outcome" if label_at_hospitals else "insurer:outcome"
    plan = plan_in_blocks(files, label, "malignant")
    report = run(plan, files, ID, tmp_path / "run", lambda _: None, lambda _: None)
    assert not report.failures
    assert report.comparison.coefficient_difference < COEFFICIENT_TOLERANCE
    hospitals = "parties:hospital-a,hospital-b"
    told = {(item.name, item.recipient): item.count for item in report.disclosures if item.recipient != "session"}
    assert told == {
        ("moments", hospitals): 1,
        ("coefficients", hospitals): 1,
        ("coefficients", "party:insurer"): 1,
        ("membership", "party:insurer"): 1,
        ("intercept", hospitals if label_at_hospitals else "party:insurer"): 1,
    }


def test_plan_new_and_sandbox_by_rows(tmp_path):
    """The command line writes the plan of a table that is divided by rows, and runs it: gaps are filled with the mean
    of all rows that have a value, and the model is the pooled table's.
    """
    files = split_rows(tmp_path, "diabetes", 2)
    for number, file in enumerate(files.values()):
        frame = pd.read_csv(file)
        frame.loc[number :: number + 3, "x2"] = np.nan
        frame.to_csv(file, index=False)
    data = [part for party, file in files.items() for part in ("--data", f"{party}={file}")]
    plan, report = tmp_path / "my.toml", tmp_path / "report.json"
    options = ("--id", ID, "--label", "outcome", "--positive", "high", "--partition", "rows")
    wrote = privity("plan", "new", *data, *options, "-o", plan)
    assert wrote.status == 0, wrote.err
    assert "label outcome of every party" in privity("plan", "check", plan).out
    assert load_plan(plan).preparation.columns == {"x2": Recipe(missing="mean", indicator=True)}
    ran = privity("sandbox", plan, *data, "--id", ID, "--report", report)
    assert ran.status == 0, ran.err
    assert "parties:org-0,org-1" in ran.out
    assert json.loads(report.read_text())["coef_max_abs_diff"] < COEFFICIENT_TOLERANCE


def test_sandbox_runs_what_plan_new_wrote(tmp_path):
    """The two commands that somebody tries first work one after the other, on their own files."""
    files = split_columns(tmp_path, "diabetes", 2)
    data = [part for party, file in files.items() for part in ("--data", f"{party}={file}")]
    plan, report = tmp_path / "my.toml", tmp_path / "report.json"
    wrote = privity("plan", "new", *data, "--id", ID, "--label", "org-1:outcome", "--positive", "high", "-o", plan)
    assert wrote.status == 0, wrote.err
    assert 'positive = "high"' in plan.read_text()
    ran = privity("sandbox", plan, *data, "--id", ID, "--report", report)
    assert ran.status == 0, ran.err
    assert "pooled: scikit-learn" in ran.out
    assert report.exists()
