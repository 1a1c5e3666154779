"""The secure model against scikit-learn on the pooled plaintext: real tables, real processes, two to four parties."""

import pytest

from gateway.sandbox import run
from tests.e2e.world import ID, plan_for, privity, split_columns

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
