"""What a plan may say of a column, how many of the engine's columns come of it, and what is refused, in one line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from parties.agreement.plan import Plan, parse_plan
from parties.columns.recipe import Recipe
from parties.errors import PlanError

ONE_HOT = {"encoding": "one-hot", "most_levels": 3}
WIDTHS = [
    ({}, 1),
    ({"missing": "mean"}, 1),
    ({"missing": "median", "indicator": True}, 2),
    (ONE_HOT, 4),  # and "other"
    (ONE_HOT | {"drop_first": True}, 3),
    (ONE_HOT | {"missing": "own"}, 5),
    ({"encoding": "one-hot", "levels": ("a", "b")}, 3),
    ({"encoding": "ordinal", "levels": ("a", "b")}, 1),
    ({"encoding": "days", "since": "2020-01-01", "missing": "constant", "constant": "-3.5", "indicator": True}, 2),
    ({"quantile_bins": 4}, 4),
    ({"edges": ("-1", "0.5"), "drop_first": True, "missing": "own"}, 3),
    ({"winsorise": ("0.01", "0.99")}, 1),
    (ONE_HOT | {"missing": "own", "weight_of_evidence": True}, 1),
    ({"edges": ("1",), "missing": "mean", "indicator": True, "weight_of_evidence": True}, 2),
]


@pytest.mark.parametrize(("content", "width"), WIDTHS)
def test_widths_follow_from_the_recipe_alone(content, width):
    """Anybody can tell from a contract how many columns the engine gets, without seeing a value."""
    assert Recipe(**content).width == width


def content(recipe: dict[str, Any] | None = None, **preparation: Any) -> dict[str, Any]:
    return {
        "purpose": "predict the outcome",
        "parties": [
            {"name": "clinic-a", "data": "cohort", "columns": ["age", "city"]},
            {"name": "clinic-b", "data": "labs", "columns": ["iron"]},
        ],
        "label": {"party": "clinic-a", "column": "outcome", "positive": "yes"},
        "preparation": ({"columns": {"city": recipe}} if recipe is not None else {}) | preparation,
    }


BAD = {
    "a level twice": ({"encoding": "one-hot", "levels": ["b", "a", "b"]}, "levels: a level stands twice"),
    "an empty level": ({"encoding": "one-hot", "levels": ["b", ""]}, "a level is empty"),
    "a cap of 0": ({"encoding": "one-hot", "most_levels": 0}, "most_levels of at least 1"),
    "a negative cap": ({"encoding": "one-hot", "most_levels": -1}, "greater than or equal to 0"),
    "a cap and a list": (ONE_HOT | {"levels": ["a"]}, "either levels, or most_levels"),
    "an order of one": ({"encoding": "ordinal", "levels": ["a"]}, "at least two"),
    "a cap of numbers": ({"most_levels": 4}, "most_levels: of one-hot alone"),
    "levels of numbers": ({"levels": ["a", "b"]}, "levels: of one-hot and ordinal alone"),
    "days since when": ({"encoding": "days"}, 'since: encoding = "days" needs it'),
    "a date that is none": ({"encoding": "days", "since": "2021-02-30"}, "must be a date such as 2020-12-31"),
    "a date in other words": ({"encoding": "days", "since": "20210203"}, "must be a date such as 2020-12-31"),
    "a date that is a number": ({"encoding": "days", "since": 7}, "must be a date such as 2020-12-31"),
    "the mean of text": (ONE_HOT | {"missing": "mean"}, "not of one-hot"),
    "an own number": ({"missing": "own"}, "of one-hot and bins alone"),
    "no constant": ({"missing": "constant"}, 'constant: missing = "constant" needs it'),
    "a stray constant": ({"missing": "mean", "constant": "1"}, 'constant: missing = "constant" needs it'),
    "a constant as float": ({"missing": "constant", "constant": 1.5}, "must be a decimal number in quotes"),
    "an indicator of nothing": ({"indicator": True}, "indicator: only where missing is"),
    "one quantile": ({"winsorise": ["0.1"]}, "must be two quantiles in order"),
    "quantiles turned": ({"winsorise": ["0.9", "0.1"]}, "must be two quantiles in order"),
    "a quantile above 1": ({"winsorise": ["0.9", "1.1"]}, "must be two quantiles in order"),
    "one bin": ({"quantile_bins": 1}, "quantile_bins: 2 at least"),
    "two kinds of bins": ({"quantile_bins": 3, "edges": ["1"]}, "not with edges"),
    "edges that fall": ({"edges": ["2", "1"]}, "must ascend"),
    "an edge twice": ({"edges": ["1", "1.0"]}, "must ascend"),
    "bins of levels": (ONE_HOT | {"quantile_bins": 3}, "not of one-hot"),
    "nothing to drop": ({"drop_first": True}, "drop_first: of one-hot and bins alone"),
    "weights of no bins": ({"weight_of_evidence": True}, "weight_of_evidence: of one-hot and bins alone"),
    "weights of less bins": (
        {"edges": ["1"], "drop_first": True, "weight_of_evidence": True},
        "drop_first: not of weight_of_evidence",
    ),
    "an unknown key": ({"mode": "fast"}, "there is no such key"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_makes_no_sense_is_refused_in_one_line(case):
    """The line says which column's recipe, and what of it."""
    recipe, what = BAD[case]
    with pytest.raises(PlanError, match=what) as caught:
        parse_plan(content(recipe))
    assert "preparation.columns.city" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_for_nobody_is_refused():
    """A misspelt column would otherwise go by the default unnoticed."""
    with pytest.raises(PlanError, match="no party has 'town' among its columns"):
        parse_plan(content(columns={"town": {}}))


def by_rows(**preparation: Any) -> dict[str, Any]:
    parties = [{"name": name, "data": "cohort", "columns": ["age", "city"]} for name in ("clinic-a", "clinic-b")]
    return content(**preparation) | {
        "partition": "rows",
        "parties": parties,
        "label": {"column": "outcome", "positive": "yes"},
    }


@pytest.mark.parametrize(
    "recipe",
    [
        {"missing": "constant", "constant": "0", "indicator": True},
        {"missing": "mean"},
        {"encoding": "one-hot", "levels": ["a", "b"], "missing": "own"},
        {"encoding": "ordinal", "levels": ["a", "b"]},
        {"encoding": "days", "since": "2020-01-01"},
        {"edges": ["1", "2"]},
        ONE_HOT,
        {"missing": "median", "winsorise": ["0.1", "0.9"]},
        {"quantile_bins": 3},
    ],
)
def test_what_owners_can_have_alike_goes_by_rows_too(recipe):
    """Constants, listed levels, dates and custom bins are the same at every owner; levels and quantiles are found
    together."""
    plan = parse_plan(by_rows(columns={"city": recipe}))
    assert plan.preparation.width(("age", "city")) == 1 + Recipe.model_validate(recipe).width


def test_a_plan_survives_json_and_toml_dates():
    """TOML's own dates are taken, and the plan's JSON is the same plan."""
    import tomllib

    text = 'encoding = "days"\nsince = 2019-03-04\n'
    plan = parse_plan(content(tomllib.loads(text)))
    assert plan.preparation.columns["city"].since == "2019-03-04"
    assert Plan.model_validate(json.loads(plan.model_dump_json())) == plan


def test_whoever_signs_reads_how_columns_are_prepared():
    """In words: caps without a level, listed levels by name, and how many columns come of each."""
    recipes = {
        "city": ONE_HOT | {"missing": "own", "drop_first": True},
        "age": {"winsorise": ["0.01", "0.99"], "missing": "mean", "indicator": True},
        "iron": {"encoding": "ordinal", "levels": ["low", "high"], "missing": "constant", "constant": "0.5"},
    }
    plan = parse_plan(content(columns=recipes))
    age, city, iron = plan.preparation.in_words(plan.parties)
    assert age == (
        "clinic-a: age as numbers; within quantiles 0.01 and 0.99; gaps filled with the mean, and told in a column"
        " (columns: 2)"
    )
    assert city == (
        "clinic-a: city as one-hot: at most 3 levels, other; gaps in a column of their own; the first left out"
        " (columns: 4)"
    )
    assert iron == "clinic-b: iron as in the order low, high; gaps filled with 0.5 (columns: 1)"
    weighed = Recipe(edges=("1", "2"), missing="own", weight_of_evidence=True)
    assert weighed.in_words == "numbers; bins at 1, 2; gaps in a bin of their own; as their weight of evidence"
    assert weighed.bins == 4
    assert Recipe(quantile_bins=4).in_words == "numbers; 4 bins of equal counts"
    assert Recipe(encoding="days", since="2020-01-01", edges=("1", "2")).in_words == (
        "days since 2020-01-01; bins at 1, 2"
    )
