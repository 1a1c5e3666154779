"""The proposal forms' fields and plans, both ways, and plans as TOML: nothing that a plan says is lost."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from gateway.console import training_form
from gateway.console.complaints import Errors, parse
from gateway.console.forms import MOST_FIELDS, Form, parse_form
from gateway.errors import BadForm
from gateway.planning.plan_text import plan_text
from parties.agreement.kinds import parse_plan_text
from parties.agreement.plan import Plan, parse_plan
from parties.data.schema import Column, Schema
from parties.service.messages import PublishedData

TWO = [{"name": "a", "data": "t", "columns": ["x", "y"]}, {"name": "b", "data": "t", "columns": ["z"]}]
SAME = [{"name": name, "data": "t", "columns": ["x", "y"]} for name in ("a", "b")]
LABEL = {"party": "b", "column": "outcome", "positive": "yes"}
PLANS: dict[str, dict[str, Any]] = {
    "least": {"parties": TWO, "label": LABEL},
    "grid": {"parties": TWO, "label": LABEL, "model": {"C": ["0.01", "1"], "folds": 5, "fit_intercept": False}},
    "sgd": {
        "parties": TWO,
        "label": LABEL,
        "model": {"solver": "sgd", "batch_size": 64, "learning_rate": "0.05", "epochs": 3},
        "evaluation": {"figures": ["brier", "roc"], "smallest_cell": 40},
        "disclosures": {"loss_reports": 0},
        "retention": {"model_days": 0, "replay_days": 7},
        "split": {"held_out": "0.5"},
    },
    "classes": {"parties": TWO, "label": {"party": "a", "column": "kind", "classes": ["one", "two", "three"]}},
    "rows": {"partition": "rows", "parties": SAME, "label": {"column": "outcome", "positive": "yes"}},
    "blocks": {"partition": "blocks", "parties": [*SAME, {"name": "c", "data": "t", "columns": ["z"]}], "label": LABEL}
    | {"label": {"party": ["a", "b"], "column": "outcome", "positive": "yes"}},
    "recipes": {
        "parties": TWO,
        "label": LABEL,
        "impact_assessment": 'a "quoted" title, with \\ and é',
        "impact_assessment_sha256": "ab" * 32,
        "preparation": {
            "clip_bits": 4,
            "columns": {
                "x": {"encoding": "one-hot", "levels": ["#1", "2 = two", "three"], "missing": "own"},
                "z": {"winsorise": ["0.01", "0.99"], "missing": "constant", "constant": "-1.5", "indicator": True},
            },
        },
    },
}


def plan_of(parts: dict[str, Any]) -> Plan:
    return parse_plan({"purpose": "see whether it is kept", "legal_basis": "consent", "dealer": "d", **parts})


def read(form: Form, data: list[tuple[str, PublishedData]]) -> tuple[Plan | None, Errors]:
    return parse(Plan, training_form.content_of(form, data), training_form.field_of)


def data_of(plan: Plan) -> list[tuple[str, PublishedData]]:
    """What the plan's parties would publish."""

    def published(party: Any) -> PublishedData:
        names = dict.fromkeys([*party.columns, plan.label.column])
        columns = tuple(Column(name=name, kind="number", complete=True) for name in names)
        table = Schema(name=party.data, rows=100, id_column="id", columns=columns)
        return PublishedData(table=table, version="ab" * 16)

    return [(party.name, published(party)) for party in plan.parties]


@pytest.mark.parametrize("name", PLANS)
def test_the_form_keeps_a_plan(name: str):
    """What a plan says comes back from the form that it fills in."""
    plan = plan_of(PLANS[name])
    again, errors = read(training_form.form_of(plan), data_of(plan))
    assert errors == {}
    assert again == plan


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_s_text_is_that_plan(name: str):
    """TOML and JSON of a plan are read as the same plan."""
    plan = plan_of(PLANS[name])
    assert parse_plan(tomllib.loads(plan_text(plan))) == plan
    assert parse_plan_text(plan.model_dump_json()) == plan


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "matching", "purpose": "match", "result": "both", "parties": [{"name": n, "data": "t"} for n in "ab"]},
        {"kind": "prediction", "purpose": "p", "model": "ab" * 32, "recipient": "a"}
        | {"parties": [{"name": n, "data": "t"} for n in "ab"]},
    ],
    ids=["matching", "prediction"],
)
def test_other_kinds_have_texts_too(content: dict[str, Any]):
    """The text says which kind it is."""
    plan = parse_plan_text(json.dumps(content))
    assert tomllib.loads(plan_text(plan))["kind"] == content["kind"]


def test_a_first_form_lacks_what_only_its_writer_knows():
    """Defaults stand in it; purpose and label are left to be said."""
    plan = plan_of(PLANS["least"])
    found, errors = read(training_form.first_form(data_of(plan), "d"), data_of(plan))
    assert found is None
    assert {"purpose", "label"} <= set(errors)
    assert set(errors) <= {"purpose", "label", "label.positive"}


@pytest.mark.parametrize("kind", ["number", "category", "text"])
@pytest.mark.parametrize("complete", [True, False])
def test_each_way_to_read_a_column_makes_a_plan(kind: Any, complete: bool):
    """Whatever the form offers for a column is a recipe that holds."""
    plan = plan_of(PLANS["least"])
    column = Column(name="x", kind=kind, complete=complete)
    for way in training_form.ways_of(column):
        form = Form((("recipe:x", way), *training_form.form_of(plan).fields))
        found, errors = read(form, data_of(plan))
        assert errors == {}
        assert found is not None
        assert found.preparation.of("x").missing == "refuse" or not complete


def test_a_form_of_too_many_fields_is_refused():
    """And one that is no form has no fields."""
    with pytest.raises(BadForm):
        parse_form("&".join(["a=1"] * (MOST_FIELDS + 1)))
    assert parse_form("").fields == ()
