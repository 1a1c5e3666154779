"""The examples run, and show what they say they show."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from gateway.planning.resolve import Directory, Listed, resolve
from parties.agreement.plan import load_plan
from parties.data.schema import Column, Schema
from parties.service.messages import PublishedData

ROOT = Path(__file__).parents[1]


def test_the_founding_example_predicts_ten_rows():
    """1000 rows, 100 columns, 100 epochs of batches of 32: predictions for ten rows, near the pooled optimum's."""
    ran = subprocess.run(
        [sys.executable, ROOT / "examples" / "founding.py"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=250,
    )
    first, _, *rows = ran.stdout.splitlines()
    assert first.startswith("3125 steps on batches of 32")
    assert len(rows) == 10
    predictions = [(float(row.split()[2]), float(row.split()[3])) for row in rows]
    assert all(0 < secure < 1 and abs(secure - pooled) < 0.1 for secure, pooled in predictions)


def test_the_estimator_example_is_scikit_learn_s():
    """Costs first, then how often both are right, then probabilities that agree to three digits."""
    ran = subprocess.run(
        [sys.executable, ROOT / "examples" / "estimator.py"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=250,
    )
    costs, right, _, *rows = ran.stdout.splitlines()
    assert re.fullmatch(r"\d+ rounds, [\d.]+ MB from a party, [\d.]+ MB from the dealer", costs)
    assert len(set(re.findall(r"0\.9\d+", right))) == 1
    assert len(rows) == 5
    assert all(abs(float(secure) - float(pooled)) < 1e-3 for secure, pooled in map(str.split, rows))


def published(name, rows, *columns):
    """What a vault publishes of a data set with numbers and one label."""
    kinds = {"readmitted": "category"}
    described = tuple(Column(name=each, kind=kinds.get(each, "number"), complete=True) for each in columns)
    return PublishedData(version="ab" * 16, table=Schema(name=name, rows=rows, id_column="patient", columns=described))


def test_the_example_in_blocks_is_a_contract():
    """Two hospitals and an insurer of all their patients: the plan resolves, and says who is told what."""
    hospital = ("age", "days", "creatinine", "readmitted")
    listed = {
        "hospital-north": {"discharges": published("discharges", 240, *hospital)},
        "hospital-south": {"discharges": published("discharges", 160, *hospital)},
        "insurer": {"claims": published("claims", 400, "claims_last_year", "drugs")},
        "dealer": {},
    }
    directory = Directory(
        {
            name: Listed(name, "party" if data else "dealer", f"{number + 10}" * 32, data)
            for number, (name, data) in enumerate(listed.items())
        }
    )
    contract = resolve(load_plan(ROOT / "examples" / "blocks.toml"), directory, datetime.now(UTC), bytes(32))
    contract.check_derived()
    hospitals = "parties:hospital-north,hospital-south"
    assert [(item.name, item.recipient) for item in contract.disclosures if item.recipient != "session"] == [
        ("moments", hospitals),
        ("coefficients", hospitals),
        ("coefficients", "party:insurer"),
        ("intercept", hospitals),
        ("membership", "party:insurer"),
    ]
    assert [contract.training_rows(party.name) for party in contract.parties] == [180, 120, 300]
