"""An owner's columns as their recipes read them: numbers, days, places in a list; what can't be read so is refused.

Values stay with their owner: messages name columns, never what stands there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parties.columns.encoding import FittedColumn, ReadColumn
from parties.columns.recipe import PreparationPlan, Recipe
from parties.data.schema import check_features
from parties.data.tables import Table, as_text
from parties.errors import DataError

DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T].*)?$"


def read_columns(table: Table, wanted: Sequence[str], preparation: PreparationPlan) -> tuple[ReadColumn, ...]:
    """The named columns, as their recipes read them; the only way from a table to what is trained on.

    Raises: DataError as `check_features`, for what is no date, and for missing values that the recipe refuses.
    """
    if wanted:
        check_features(table, wanted, preparation.of)
    return tuple(_read(table, name, preparation.of(name)) for name in wanted)


def _read(table: Table, name: str, recipe: Recipe) -> ReadColumn:
    found = table.arrow[name]
    levels: tuple[str, ...] = ()
    if recipe.encoding == "days":
        numbers = _days(table, name, found, recipe.since)
    elif recipe.encoding == "number":
        numbers = found
    else:
        numbers, levels = _places(found, recipe)
    values = numbers.cast(pa.float64()).to_numpy()
    if recipe.missing == "refuse" and np.isnan(values).any():
        raise DataError(
            f"column '{name}' of {table.name} has values that its list of levels lacks",
            action="list them, or say in the plan what is filled in",
        )
    return ReadColumn(name, values, levels)


def _days(table: Table, name: str, found: pa.ChunkedArray, since: str) -> pa.ChunkedArray:
    """Days from a date to those that stand there in ISO 8601; times of day are left out."""
    error = DataError(
        f"column '{name}' of {table.name} has values that are no dates",
        action="write dates as 2020-12-31, or leave the column out of the plan",
    )
    if pc.any(pc.invert(pc.match_substring_regex(found, DATE))).as_py():
        raise error
    try:
        days = pc.utf8_slice_codeunits(found, 0, 10).cast(pa.date32()).cast(pa.int32())
    except pa.ArrowInvalid:
        raise error from None
    return pc.subtract(days, pa.scalar(since).cast(pa.date32()).cast(pa.int32()))


def _places(found: pa.ChunkedArray, recipe: Recipe) -> tuple[pa.ChunkedArray, tuple[str, ...]]:
    """Of each value its place: of ordinal in the recipe's list, which others are missing from; else in all levels."""
    distinct = pc.unique(found).drop_null().sort()
    order = [_listed(level, found.type) for level in recipe.levels]
    if recipe.encoding == "one-hot":
        listed = dict(zip(order, recipe.levels, strict=True))
        names = tuple(listed.get(value, as_text(value)) for value in distinct.to_pylist())
        return pc.index_in(found, distinct, skip_nulls=True), names
    return pc.index_in(found, pa.array(order, type=found.type), skip_nulls=True), ()


def _listed(level: str, kind: pa.DataType) -> str | float:
    """A level of the plan as the column has it: "1" is also 1.0."""
    if not pa.types.is_floating(kind):
        return level
    return float(level) if re.fullmatch(r"-?[0-9]{1,300}(\.[0-9]*)?", level, re.ASCII) else float("nan")


def check_columns(table: Table, wanted: Sequence[str], preparation: PreparationPlan) -> None:
    """What can be told of an owner's columns before anybody signs, from all of its rows.

    Raises: DataError as `read_columns` and `Encoding.fit`, and for a column that does not vary.
    """
    for column in read_columns(table, wanted, preparation):
        recipe = preparation.of(column.name)
        fitted = FittedColumn.fit(recipe, column)
        values = fitted.bins(column) if recipe.weight_of_evidence else fitted.apply(column)
        if (values == values[0]).all():
            raise DataError(
                f"column '{column.name}' of {table.name} has the same value in every row",
                action="leave it out of the plan: there is nothing to learn from it",
            )
