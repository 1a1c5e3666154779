"""Recipes of a first plan: what the analyst's files suggest for each column, and every key with its meaning.

No level is written: a cap of as many as the file has says how many there are, not which.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow.compute as pc

from parties.errors import DataError, PlanError
from parties.reading import check_columns
from parties.recipe import PreparationPlan, Recipe
from parties.schema import find_column
from parties.tables import Table, features

SINCE = "2000-01-01"
PLAIN = Recipe()
WIDTH = 120


def recipe_for(table: Table, name: str) -> Recipe:
    """What fits the column: gaps filled with the mean, categories one by one, dates as days.

    Raises: DataError for a column that does not vary, or text that is neither.
    """
    column, distinct = find_column(table, name), pc.count_distinct(table.arrow[name]).as_py()
    gaps = {} if column.complete else {"missing": "mean", "indicator": True}
    if column.kind == "number":
        found = [Recipe.model_validate(gaps)]
    else:
        found = [Recipe.model_validate({"encoding": "days", "since": SINCE} | gaps)]
    if column.kind == "category":
        own = {} if column.complete else {"missing": "own"}
        found.append(Recipe.model_validate({"encoding": "one-hot", "most_levels": distinct} | own))
    for recipe in found:
        try:
            check_columns(table, [name], PreparationPlan(columns={name: recipe}))
        except DataError:
            continue
        return recipe
    features(table, [name])  # says why it can't be taken as it is
    return PLAIN


def merged(tables: Mapping[str, Table], brought: Mapping[str, list[str]]) -> dict[str, Recipe]:
    """The recipes of all parties' columns that are not taken as they are.

    Raises: PlanError for columns of one name that need different ones.
    """
    found: dict[str, Recipe] = {}
    for party, names in brought.items():
        for name in names:
            recipe, former = recipe_for(tables[party], name), found.get(name, PLAIN)
            if recipe != PLAIN and former not in (PLAIN, recipe):
                raise PlanError(
                    f"column '{name}' of '{party}' needs another preparation than another party's of that name",
                    action="give it another name in its file",
                )
            found[name] = former if recipe == PLAIN else recipe
    return {name: recipe for name, recipe in found.items() if recipe != PLAIN}


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def recipes_text(recipes: Mapping[str, Recipe]) -> str:
    """The tables `preparation.default` and `preparation.columns`."""
    default = "\n".join(
        f"{_comment(meaning, _toml(value))}\n{key} = {_toml(value)}"
        for key, meaning in MEANINGS.items()
        for value in [PLAIN.model_dump(mode="json")[key]]
    )
    text = f"""\
[preparation.default]  # of all columns that [preparation.columns] does not name
{default}
"""
    if not recipes:
        return text
    columns = "\n".join(
        f"# Keys that are left out take the defaults that stand above. No default.\n"
        f"{_toml(name)} = {{ {', '.join(f'{key} = {_toml(value)}' for key, value in _changes(recipe).items())} }}"
        for name, recipe in recipes.items()
    )
    return f"{text}\n[preparation.columns]  # by name, whichever party has a column of that name\n{columns}\n"


def _comment(meaning: str, default: str) -> str:
    """On one line, if it fits."""
    told = f"# {meaning} Default: {default}."
    return told if len(told.splitlines()[-1]) <= WIDTH else f"# {meaning}\n# Default: {default}."


def _changes(recipe: Recipe) -> dict[str, object]:
    return recipe.model_dump(mode="json", exclude_defaults=True)


MEANINGS = {
    "encoding": """\
"number"; "one-hot": 0 or 1 for each level, and for all others together; "ordinal": the place in `levels`, from 0;
# "days": of a date such as 2020-12-31, since `since`.""",
    "missing": """\
"refuse"; "mean" or "median" of the owner's training rows, or "constant", is filled in; "own": a level or bin of its
# own.""",
    "constant": 'What is filled in where `missing` is "constant", a decimal in quotes.',
    "indicator": "Of what is filled in, one more column: whether the value was missing.",
    "levels": """\
Of "ordinal" all values in order, of "one-hot" those that have a column. All parties read them in the contract.""",
    "most_levels": """\
Of "one-hot" instead of levels: so many, the most frequent of the owner's training rows; nobody else learns which.
# 0: none.""",
    "drop_first": "Leave out the column of the first level or bin.",
    "since": 'Of "days": the date that is 0.',
    "winsorise": """\
Two quantiles of the owner's training rows, such as ["0.01", "0.99"]: values outside become these.""",
    "quantile_bins": "Instead of the number a 0 or 1 for each of so many bins of equal counts; 0: none.",
    "edges": "Instead of the number a 0 or 1 for what lies below the first, from each to the next, above the last.",
}
