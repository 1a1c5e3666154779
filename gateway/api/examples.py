"""Examples in the OpenAPI description; a test validates each against its model."""

from __future__ import annotations

from typing import Any

from fastapi.openapi.models import Example

TRAINING: dict[str, Any] = {
    "purpose": "predict readmission",
    "legal_basis": "consent",
    "parties": [
        {"name": "clinic-a", "data": "cohort", "columns": ["age"]},
        {"name": "clinic-b", "data": "cohort", "columns": ["dose"]},
    ],
    "label": {"party": "clinic-a", "column": "outcome", "positive": "yes"},
}
MATCHING: dict[str, Any] = {
    "kind": "matching",
    "purpose": "find common patients",
    "legal_basis": "consent",
    "parties": [{"name": "clinic-a", "data": "patients"}, {"name": "clinic-b", "data": "patients"}],
    "result": "common",
}
PLANS: dict[str, Example] = {
    "training": Example(summary="Two clinics train on the same records", value=TRAINING),
    "matching": Example(summary="Two clinics find the records that both have", value=MATCHING),
}
ESTIMATES: dict[str, Example] = {
    "usual": Example(summary="On links of 20 ms and 100 Mbit/s, as a contract's quote", value={"plan": TRAINING}),
    "link": Example(summary="On a slower link", value={"plan": TRAINING, "link": {"round_trip_ms": 80, "mbit_s": 20}}),
}
