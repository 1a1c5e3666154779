"""`privity demo`: scikit-learn's breast-cancer table, as three clinics would hold it, trained without showing it.

Each clinic measured the same patients' cell nuclei its own way: one has the means, one the standard errors and the
diagnosis, one the worst values.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer

from mpc.program import EVERY_FIGURE
from parties.planning import propose_plan

ID, LABEL, POSITIVE = "patient", "diagnosis", "malignant"
CLINICS = {"clinic-mean": "mean", "clinic-error": "error", "clinic-worst": "worst"}
LABEL_OWNER = "clinic-error"


def write_files(directory: Path) -> dict[str, Path]:
    """Three CSV files of ten measurements each, one with the diagnosis; rows in no common order."""
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
                own = [diagnoses[row]] if clinic == LABEL_OWNER else []
                writer.writerow([f"P{row:04d}", *own, *(repr(float(table.data[row, index])) for index in columns)])
    return files


def write_plan(files: dict[str, Path], path: Path) -> Path:
    """The plan that `privity plan new` would write for these files, but that tables of held-out rows are told too."""
    text = propose_plan(files, ID, f"{LABEL_OWNER}:{LABEL}", POSITIVE, figures=EVERY_FIGURE)
    path.write_text(text, encoding="utf-8")
    return path
