"""Recipes of a first plan: what the analyst's files suggest for each column, and every key with its meaning.

No level is written: a cap of as many as the file has says how many there are, not which.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from mpc.curves import USUAL_CELL
from parties.columns.levels import joint, own_levels
from parties.columns.reading import check_columns, read_columns
from parties.columns.recipe import PreparationPlan, Recipe
from parties.data.schema import check_features, find_column
from parties.data.tables import Table, features
from parties.errors import DataError, PlanError

SINCE = "2000-01-01"
PLAIN = Recipe()
FILLED = Recipe(missing="mean", indicator=True)
WIDTH = 120
MARGIN = 2  # so many times the rows that a level or a mean needs: it has enough, whichever rows are held out


def recipe_for(table: Table, name: str) -> Recipe:
    """What fits the column: gaps filled with the mean, categories one by one, dates as days.

    Raises: DataError for a column that does not vary, or text that is neither.
    """
    column, distinct = find_column(table, name), pc.count_distinct(table.arrow[name]).as_py()
    gaps = {} if column.complete else FILLED.model_dump(include={"missing", "indicator"})
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


def shared_recipe(tables: Sequence[Table], name: str) -> Recipe:
    """What fits a column of which each of these has rows of its own: what they can have alike.

    Raises: DataError for a column that does not vary, is none that can be read, has no level that can be told, or has
    gaps and at one party so few values that they have no part in a joint mean.
    """
    if any(find_column(table, name).kind == "number" for table in tables):
        for table in tables:
            check_features(table, [name], lambda _: FILLED)
    parties = " and ".join(table.name for table in tables)
    pooled = Table(parties, "", pa.concat_tables([table.arrow.select([name]) for table in tables]))
    recipe = recipe_for(pooled, name)
    if recipe.missing == "mean":
        _check_present(tables, name)
    if not recipe.most_levels:
        return recipe
    told, surely = (_told(tables, name, recipe, times * USUAL_CELL) for times in (1, MARGIN))
    if not surely:
        raise DataError(
            f"column '{name}' of {parties} has no level that enough records have to be told", action="list its levels"
        )
    return recipe.model_copy(update={"most_levels": told})


def _check_present(tables: Sequence[Table], name: str) -> None:
    for table in tables:
        present = table.rows - table.arrow[name].null_count
        if 0 < present < MARGIN * USUAL_CELL:
            raise DataError(
                f"column '{name}' of {table.name} has too few values to fill gaps with a joint mean",
                action="fill them with a constant",
            )


def _told(tables: Sequence[Table], name: str, recipe: Recipe, smallest: int) -> int:
    """How many levels so many of a party's rows have."""
    preparation, most = PreparationPlan(columns={name: recipe}), recipe.most_levels
    columns = [read_columns(table, [name], preparation)[0] for table in tables]
    return len(joint([own_levels(column, most, smallest) for column in columns], most))


def _recipe(tables: Sequence[Table], name: str) -> Recipe:
    return recipe_for(tables[0], name) if len(tables) == 1 else shared_recipe(tables, name)


def merged(tables: Mapping[str, Table], brought: Mapping[tuple[str, ...], list[str]]) -> dict[str, Recipe]:
    """The recipes of all columns that are not taken as they are; `brought`: by the parties that have the same.

    Raises: PlanError for columns of one name that need different ones.
    """
    found: dict[str, Recipe] = {}
    for parties, names in brought.items():
        for name in names:
            recipe, former = _recipe([tables[party] for party in parties], name), found.get(name, PLAIN)
            if recipe != PLAIN and former not in (PLAIN, recipe):
                raise PlanError(
                    f"column '{name}' of '{parties[0]}' needs another preparation than another party's of that name",
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
# own. Where several parties have rows of the column means and quantiles, "median" too, are of all rows: these parties
# are told them.""",
    "constant": 'What is filled in where `missing` is "constant", a decimal in quotes.',
    "indicator": "Of what is filled in, one more column: whether the value was missing.",
    "levels": """\
Of "ordinal" all values in order, of "one-hot" those that have a column. All parties read them in the contract.""",
    "most_levels": """\
Of "one-hot" instead of levels: so many, the most frequent of the owner's training rows; nobody else learns which but
# parties that have other records of the column, which tell each other. 0: none.""",
    "drop_first": "Leave out the column of the first level or bin.",
    "since": 'Of "days": the date that is 0.',
    "winsorise": """\
Two quantiles of the owner's training rows, such as ["0.01", "0.99"]: values outside become these.""",
    "quantile_bins": "Instead of the number a 0 or 1 for each of so many bins of equal counts; 0: none.",
    "edges": "Instead of the number a 0 or 1 for what lies below the first, from each to the next, above the last.",
    "weight_of_evidence": """\
Of "one-hot" and bins: one number instead, how the label's odds differ there from all odds. Where another party has the
# labels, the column's owner is told of these in steps of cells.""",
}
