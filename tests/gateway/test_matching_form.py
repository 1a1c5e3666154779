"""The form of a matching and its plan, both ways: nothing that a plan says is lost."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.console import matching_form
from gateway.console.complaints import Errors, parse
from gateway.console.forms import Form
from parties.agreement.match_plan import MatchingPlan, parse_matching_plan
from parties.agreement.match_rules import MAX_COLUMNS
from parties.data.schema import Column, Schema
from parties.service.messages import PublishedData

NAMES = ("a", "b", "c")
ONE = [{"name": name, "data": "t"} for name in NAMES]
TWO = [{"name": name, "data": "t", "id_columns": ["born", "phone"]} for name in NAMES]
RULES = [{"kind": "date", "formats": ["%d.%m.%Y", "%Y-%m-%d"]}, {"kind": "phone", "region": "DE"}]
PLANS: dict[str, dict[str, Any]] = {
    "least": {"parties": ONE, "result": "both"},
    "estimate": {"parties": ONE, "reveal": "estimate"},
    "columns": {"parties": TWO, "result": "both", "rules": {"columns": RULES}},
    "rules": {
        "parties": [{"name": name, "data": "t", "id_columns": ["id"]} for name in NAMES],
        "result": "both",
        "keep_days": 7,
        "retention": {"replay_days": 3},
        "rules": {"columns": [{"only_alphanumeric": True, "fold_case": False}], "duplicates": "last", "minimum": 5},
    },
}


def plan_of(parts: dict[str, Any]) -> MatchingPlan:
    return parse_matching_plan({"kind": "matching", "purpose": "see whether it is kept", "dealer": "d", **parts})


def published(*, name: str = "t") -> PublishedData:
    columns = (
        Column(name="born", kind="text", complete=True),
        Column(name="phone", kind="text", complete=False),
        Column(name="age", kind="number", complete=True),
    )
    return PublishedData(table=Schema(name=name, rows=100, id_column="id", columns=columns), version="ab" * 16)


DATA = [(name, published()) for name in NAMES]


def read(form: Form) -> tuple[MatchingPlan | None, Errors]:
    content = matching_form.content_of(matching_form.tidied(form), DATA)
    return parse(MatchingPlan, content, matching_form.field_of)


@pytest.mark.parametrize("name", PLANS)
def test_the_form_keeps_a_plan(name: str):
    """What a plan says comes back from the form that it fills in."""
    plan = plan_of(PLANS[name])
    assert read(matching_form.form_of(plan)) == (plan, {})


@pytest.mark.parametrize("way", matching_form.WAYS)
def test_each_way_to_compare_is_a_rule_that_is_kept(way: str):
    """Whatever the form offers for a column is a rule that holds, and is read back as that way."""
    form = matching_form.form_of(plan_of(PLANS["least"]))
    plan, errors = read(Form((("rules.columns.0.kind", way), *form.fields)))
    assert errors == {}
    assert plan is not None
    assert matching_form.form_of(plan).get("rules.columns.0.kind") == way


def test_a_first_form_lacks_what_only_its_writer_knows():
    """Ids are compared, and the result has a name that is free; the purpose is left to be said."""
    form = matching_form.first_form(DATA, "d", {"matched", "matched-2"})
    assert read(form) == (None, {"purpose": ["is missing"]})
    plan, _ = read(Form((("purpose", "p"), *form.fields)))
    assert plan is not None
    assert (plan.result, plan.dealer, [party.id_columns for party in plan.parties]) == ("matched-3", "d", [()] * 3)


def turn(number: int, columns: tuple[str, ...], way: str = "text") -> tuple[tuple[str, str], ...]:
    chosen = [(f"parties.{party}.id_columns.{number}", column) for party, column in enumerate(columns)]
    return (*chosen, (f"rules.columns.{number}.kind", way))


BEGUN = (("purpose", "p"), ("result", "both"), *turn(0, ("id", "id", "id"), "exact"))


def test_a_turn_without_columns_is_none():
    """Room that nobody used is left out, and what follows it moves up with its rule."""
    plan, errors = read(Form((*BEGUN, *turn(1, ("", "", "")), *turn(2, ("born", "born", "born"), "date"))))
    assert errors == {}
    assert plan is not None
    assert plan.parties[2].id_columns == ("id", "born")
    assert [rule.kind for rule in plan.rules.columns] == ["text", "date"]


def test_a_turn_that_one_party_lacks_is_said_there():
    """Each party has a column for each turn."""
    plan, errors = read(Form((*BEGUN, *turn(1, ("born", "", "born")))))
    assert plan is None
    assert errors == {"parties.1.id_columns.1": ["is missing"]}


def test_there_is_room_for_as_many_turns_as_plans_have():
    """One more at a time, up to the limit."""
    for number in range(MAX_COLUMNS):
        form = Form(tuple(field for before in range(number + 1) for field in turn(before, ("id", "id", "id"))))
        assert matching_form.turns(form) == number + 1
        assert matching_form.turns(Form((*form.fields, ("more", "1")))) == min(number + 2, MAX_COLUMNS)


def test_columns_that_lost_how_they_were_written_are_not_offered():
    """The id comes first; numbers are left out."""
    assert matching_form.id_columns(published()) == ["id", "born", "phone"]
