"""`privity demo`: scikit-learn's breast-cancer table, as three clinics would hold it, trained without showing it.

Each clinic measured its patients' cell nuclei its own way: one has the means, one the standard errors and the
diagnosis, one the worst values. Each lacks some of the patients, and writes their numbers in an order and a way of its
own: the clinics match their lists before they train.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer

from mpc.evaluation_program import EVERY_FIGURE
from parties.agreement.match_plan import parse_matching_plan
from parties.agreement.match_planning import propose_matching
from parties.agreement.planning import propose_plan

ID, LABEL, POSITIVE = "patient", "diagnosis", "malignant"
CLINICS = {"clinic-mean": "mean", "clinic-error": "error", "clinic-worst": "worst"}
LABEL_OWNER = "clinic-error"
LACKING = {"clinic-mean": 9, "clinic-error": 11, "clinic-worst": 13}  # of so many patients it does not know one
WRITTEN = {"clinic-mean": "P{:04d}", "clinic-error": "p{:04d}", "clinic-worst": "P{:04d}"}
RESULT = "matched-patients"


def write_files(directory: Path) -> dict[str, Path]:
    """Three CSV files of ten measurements each, one with the diagnosis; lists that overlap in part, in no order."""
    table = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in table.feature_names]
    diagnoses = [str(table.target_names[target]) for target in table.target]
    directory.mkdir(parents=True, exist_ok=True)
    files = {}
    for number, (clinic, kind) in enumerate(CLINICS.items()):
        columns = [index for index, name in enumerate(names) if kind in name.split("_")]
        files[clinic] = directory / f"{clinic}.csv"
        order = np.argsort([(row * 7919 + number * 104729) % 569 for row in range(len(table.data))], kind="stable")
        with files[clinic].open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            label = [LABEL] if clinic == LABEL_OWNER else []
            writer.writerow([ID, *label, *(names[index] for index in columns)])
            for row in order:
                if (row + number) % LACKING[clinic] == 0:
                    continue
                own = [diagnoses[row]] if clinic == LABEL_OWNER else []
                values = (repr(float(table.data[row, index])) for index in columns)
                writer.writerow([WRITTEN[clinic].format(row), *own, *values])
    return files


def write_plans(files: Mapping[str, Path], directory: Path) -> list[Path]:
    """A matching's plan and a training's on what it leaves, as `privity plan new` writes them.

    But that the session is told tables of held-out rows, too.
    """
    matching, training = directory / "matching.toml", directory / "plan.toml"
    matching.write_text(propose_matching(files, ID, result=RESULT), encoding="utf-8")
    agreed = parse_matching_plan(tomllib.loads(matching.read_text(encoding="utf-8")))
    text = propose_plan(files, ID, f"{LABEL_OWNER}:{LABEL}", POSITIVE, figures=EVERY_FIGURE, matching=agreed)
    training.write_text(text, encoding="utf-8")
    return [matching, training]
