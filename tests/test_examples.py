"""The examples run, and show what they say they show."""

import subprocess
import sys
from pathlib import Path

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
