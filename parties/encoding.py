"""From columns to numbers that can be standardised, as their recipes say: winsorised, filled, put into bins or levels.

What is fitted comes from the owner's training rows and is kept with the model, so that new rows are prepared the very
same. Levels, quantiles and means stay with their owner: they are hidden in print and stand in no message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from parties.errors import DataError
from parties.recipe import PreparationPlan, Recipe
from parties.schema import ColumnName

Rows = NDArray[np.int64]
Values = NDArray[np.float64]

SHOWN = 64  # characters of a level in a column's name


@dataclass(frozen=True)
class ReadColumn:
    """One column as numbers, nan where a value is missing; of one-hot places in its own sorted levels."""

    name: str
    values: Values = field(repr=False)  # (rows,)
    levels: tuple[str, ...] = field(default=(), repr=False)

    def take(self, rows: Rows) -> ReadColumn:
        return ReadColumn(self.name, self.values[rows], self.levels)


class FittedColumn(BaseModel):
    """A recipe and what it needs to know of the training rows, which is hidden in print."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ColumnName
    recipe: Recipe
    limits: tuple[FiniteFloat, FiniteFloat] | None = Field(default=None, repr=False)
    fill: FiniteFloat | None = Field(default=None, repr=False)
    edges: tuple[FiniteFloat, ...] = Field(default=(), repr=False)
    levels: tuple[str, ...] = Field(default=(), repr=False)  # those that have columns

    @classmethod
    def fit(cls, recipe: Recipe, column: ReadColumn) -> FittedColumn:
        """Of the training rows. Raises: DataError if there is no value to fit by."""
        present = column.values[~np.isnan(column.values)]
        if recipe.fitted and not len(present):
            raise DataError(
                f"column '{column.name}' has no value in any training row",
                action="leave it out of the plan, or bring rows that have it",
            )
        limits = None
        if recipe.winsorise:
            low, high = np.quantile(present, [float(quantile) for quantile in recipe.winsorise]).tolist()
            limits, present = (low, high), np.clip(present, low, high)
        return cls(
            name=column.name,
            recipe=recipe,
            limits=limits,
            fill=_fill(recipe, present),
            edges=_edges(recipe, present),
            levels=recipe.levels or _most_frequent(column, present, recipe.most_levels),
        )

    def apply(self, column: ReadColumn) -> Values:
        """Shapes: -> (rows, the recipe's width)."""
        values, absent = column.values, np.isnan(column.values)
        if self.limits is not None:
            values = np.clip(values, *self.limits)
        if self.fill is not None:
            values = np.where(absent, self.fill, values)
        parts = [values[:, np.newaxis]] if self.recipe.numeric else [self._chosen(column, values)]
        if self.recipe.missing == "own" or self.recipe.indicator:
            parts.append(absent[:, np.newaxis].astype(np.float64))
        return np.hstack(parts)

    def _chosen(self, column: ReadColumn, values: Values) -> Values:
        """1 in the column of each value's bin or level. Shapes: values (rows,) -> (rows, choices less one dropped)."""
        there = np.flatnonzero(~np.isnan(values))
        if self.recipe.binned:
            choices = np.searchsorted(self.edges, values[there], side="right")
        else:
            other = self.recipe.choices - 1
            places = {level: place for place, level in enumerate(self.levels)}
            table = np.array([places.get(level, other) for level in column.levels], dtype=np.int64)
            choices = table[values[there].astype(np.int64)]
        chosen = np.zeros((len(values), self.recipe.choices))
        chosen[there, choices] = 1
        return chosen[:, int(self.recipe.drop_first) :]

    @property
    def names(self) -> list[str]:
        """What the engine's columns are, in the owner's words."""
        if self.recipe.numeric:
            found = [self.name]
        elif self.recipe.binned:
            found = _bins(self.name, self.edges)
        else:
            found = [f"{self.name} = {_shown(level)}" for level in self.levels]
        other = [f"{self.name} = other"] if self.recipe.encoding == "one-hot" else []
        unused = self.recipe.choices - len(found) - len(other)
        names = [*found, *[f"{self.name} (unused)"] * unused, *other][int(self.recipe.drop_first) :]
        is_told = self.recipe.missing == "own" or self.recipe.indicator
        return [*names, *[f"{self.name} is missing"] * is_told]

    @property
    def may_be_constant(self) -> list[bool]:
        """Which of the engine's columns may have the same value in every training row: indicators."""
        return [not (self.recipe.numeric and place == 0) for place in range(self.recipe.width)]


def _fill(recipe: Recipe, present: Values) -> float | None:
    if recipe.missing == "constant":
        return float(recipe.constant)
    if recipe.missing in {"mean", "median"}:
        return float(present.mean() if recipe.missing == "mean" else np.median(present))
    return None


def _edges(recipe: Recipe, present: Values) -> tuple[float, ...]:
    if not recipe.quantile_bins:
        return tuple(map(float, recipe.edges))
    found = np.unique(np.quantile(present, np.arange(1, recipe.quantile_bins) / recipe.quantile_bins))
    return tuple(found[found > present.min()].tolist())  # no bin is empty


def _most_frequent(column: ReadColumn, present: Values, most: int) -> tuple[str, ...]:
    """So many levels, or all there are, in the order of code points; of equally frequent ones the first."""
    if not most:
        return ()
    counts = np.bincount(present.astype(np.int64), minlength=len(column.levels))
    first = np.argsort(-counts, kind="stable")[:most]
    return tuple(column.levels[place] for place in sorted(first.tolist()) if counts[place])


def _bins(name: str, edges: Sequence[float]) -> list[str]:
    if not edges:
        return [name]
    between = [f"{name} from {low:g} to below {high:g}" for low, high in pairwise(edges)]
    return [f"{name} below {edges[0]:g}", *between, f"{name} from {edges[-1]:g}"]


def _shown(level: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in level[:SHOWN])


class Encoding(BaseModel):
    """An owner's columns and what their recipes know of its training rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[FittedColumn, ...] = ()

    @classmethod
    def fit(cls, preparation: PreparationPlan, columns: Sequence[ReadColumn], training: Rows) -> Encoding:
        """Raises: DataError for a column without a value to fit by."""
        return cls(columns=tuple(FittedColumn.fit(preparation.of(each.name), each.take(training)) for each in columns))

    def apply(self, columns: Sequence[ReadColumn], rows: int) -> Values:
        """Shapes: columns (rows,) each -> (rows, width)."""
        found = np.zeros((rows, len(self.names)))
        for fitted, column, span in zip(self.columns, columns, self._spans, strict=True):
            found[:, span] = fitted.apply(column)
        return found

    @property
    def sources(self) -> tuple[str, ...]:
        """The columns that these were made of."""
        return tuple(column.name for column in self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for column in self.columns for name in column.names)

    @property
    def may_be_constant(self) -> tuple[bool, ...]:
        return tuple(each for column in self.columns for each in column.may_be_constant)

    @property
    def _spans(self) -> list[slice]:
        ends = accumulate((column.recipe.width for column in self.columns), initial=0)
        return [slice(*span) for span in pairwise(ends)]

    def check_varied(self, varies: Sequence[bool]) -> None:
        """Raises: DataError if nothing that was made of a column varies in the training rows."""
        for column, span in zip(self.columns, self._spans, strict=True):
            if not any(varies[span]):
                raise constant(column.name, "training row")


def constant(name: str, where: str) -> DataError:
    return DataError(
        f"column '{name}' has the same value in every {where}", action="leave it out of the plan, or bring more rows"
    )
