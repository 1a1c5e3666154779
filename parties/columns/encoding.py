"""From columns to numbers that can be standardised, as their recipes say: winsorised, filled, put into bins or levels.

What is fitted comes from the owner's training rows and is kept with the model, so that new rows are prepared the very
same. Levels, quantiles and means stay with their owner, but for what several owners of a column find together
(`Agreed`): they are hidden in print and stand in no other message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate, pairwise
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from parties.columns.recipe import MEDIAN, PreparationPlan, Recipe
from parties.data.schema import ColumnName
from parties.errors import DataError

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

    @property
    def present(self) -> Values:
        """The values that are there."""
        return self.values[~np.isnan(self.values)]


@dataclass(frozen=True)
class Agreed:
    """What the owners of a column, of which each has rows, found together; hidden in print."""

    levels: tuple[str, ...] = field(default=(), repr=False)  # that have columns
    quantiles: tuple[float, ...] = field(default=(), repr=False)  # the recipe's, ascending
    mean: float | None = field(default=None, repr=False)  # of what is there, winsorised


class FittedColumn(BaseModel):
    """A recipe and what it needs to know of the training rows, which is hidden in print."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ColumnName
    recipe: Recipe
    limits: tuple[FiniteFloat, FiniteFloat] | None = Field(default=None, repr=False)
    fill: FiniteFloat | None = Field(default=None, repr=False)
    edges: tuple[FiniteFloat, ...] = Field(default=(), repr=False)
    levels: tuple[str, ...] = Field(default=(), repr=False)  # those that have columns
    weights: tuple[FiniteFloat, ...] = Field(default=(), repr=False)  # of evidence, of each bin; told after the rest

    @classmethod
    def fit(cls, recipe: Recipe, column: ReadColumn) -> FittedColumn:
        """Of the training rows. Raises: DataError if there is no value to fit by."""
        present = column.present
        if recipe.fitted and not len(present):
            raise _without_values(column.name)
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

    @classmethod
    def joint(cls, recipe: Recipe, name: str, agreed: Agreed) -> FittedColumn:
        """Of what all owners of the column found together. Raises: DataError if they have no value to fit by."""
        found = dict(zip(recipe.quantiles, agreed.quantiles, strict=True))
        if not np.isfinite([*agreed.quantiles, *([] if agreed.mean is None else [agreed.mean])]).all():
            raise _without_values(name)
        if limits := _joint_limits(recipe, agreed):
            found = {quantile: min(max(value, limits[0]), limits[1]) for quantile, value in found.items()}
        bins = [found[Fraction(place, recipe.quantile_bins)] for place in range(1, recipe.quantile_bins)]
        return cls(
            name=name,
            recipe=recipe,
            limits=limits,
            fill=_joint_fill(recipe, found, agreed),
            edges=tuple(sorted(set(bins))) if bins else tuple(map(float, recipe.edges)),
            levels=recipe.levels or agreed.levels,
        )

    def apply(self, column: ReadColumn) -> Values:
        """Shapes: -> (rows, the recipe's width)."""
        if self.recipe.weight_of_evidence:
            parts = [np.array(self.weights)[self.bins(column)][:, np.newaxis]]
        else:
            values = self._filled(column)
            parts = [values[:, np.newaxis]] if self.recipe.numeric else [self._chosen(column, values)]
        if self.recipe.tells_gaps:
            parts.append(np.isnan(column.values)[:, np.newaxis].astype(np.float64))
        found: Values = np.hstack(parts)
        return found

    def bins(self, column: ReadColumn) -> Rows:
        """Which bin or level each value is of; a gap that has its own is of the last. Shapes: -> (rows,)."""
        choices = self._choices(column, self._filled(column))
        return np.where(choices < 0, self.recipe.bins - 1, choices)

    def _filled(self, column: ReadColumn) -> Values:
        """Winsorised, and gaps filled if the recipe says so."""
        values = column.values if self.limits is None else np.clip(column.values, *self.limits)
        return values if self.fill is None else np.where(np.isnan(column.values), self.fill, values)

    def _choices(self, column: ReadColumn, values: Values) -> Rows:
        """The bin or level of each value, -1 where there is none. Shapes: values (rows,) -> the same."""
        found, there = np.full(len(values), -1, dtype=np.int64), np.flatnonzero(~np.isnan(values))
        if self.recipe.binned:
            found[there] = np.searchsorted(self.edges, values[there], side="right")
        else:
            other = self.recipe.choices - 1
            places = {level: place for place, level in enumerate(self.levels)}
            table = np.array([places.get(level, other) for level in column.levels], dtype=np.int64)
            found[there] = table[values[there].astype(np.int64)]
        return found

    def _chosen(self, column: ReadColumn, values: Values) -> Values:
        """1 in the column of each value's bin or level. Shapes: values (rows,) -> (rows, choices less one dropped)."""
        choices = self._choices(column, values)
        chosen: Values = (choices[:, np.newaxis] == np.arange(self.recipe.choices)).astype(np.float64)
        return chosen[:, int(self.recipe.drop_first) :]

    @property
    def names(self) -> list[str]:
        """What the engine's columns are, in the owner's words."""
        if self.recipe.weight_of_evidence:
            names = [f"{self.name} (weight of evidence)"]
        else:
            names = [self.name] if self.recipe.numeric else self._choice_names[int(self.recipe.drop_first) :]
        return [*names, *[f"{self.name} is missing"] * self.recipe.tells_gaps]

    @property
    def bin_names(self) -> list[str]:
        """What may be chosen, in the owner's words."""
        return [*self._choice_names, *[f"{self.name} is missing"] * (self.recipe.missing == "own")]

    @property
    def _choice_names(self) -> list[str]:
        is_one_hot = self.recipe.encoding == "one-hot"
        found = [f"{self.name} = {_shown(level)}" for level in self.levels]
        if not is_one_hot:
            found = _bins(self.name, self.edges)
        other = [f"{self.name} = other"] * is_one_hot
        unused = self.recipe.choices - len(found) - len(other)
        return [*found, *[f"{self.name} (unused)"] * unused, *other]

    @property
    def may_be_constant(self) -> list[bool]:
        """Which of the engine's columns may have the same value in every training row: all but plain numbers."""
        return [not (self.recipe.numeric and place == 0) for place in range(self.recipe.width)]


def _joint_limits(recipe: Recipe, agreed: Agreed) -> tuple[float, float] | None:
    """Between which values of a column lie that is winsorised by joint quantiles."""
    if not recipe.winsorise:
        return None
    found = dict(zip(recipe.quantiles, agreed.quantiles, strict=True))
    low, high = (found[Fraction(quantile)] for quantile in recipe.winsorise)
    return low, high


def winsorised(recipe: Recipe, present: Values, agreed: Agreed) -> Values:
    """A column's values between the joint limits, where it has such. Shapes: (n,) -> (n,)."""
    limits = _joint_limits(recipe, agreed)
    return present if limits is None else np.clip(present, *limits)


def _without_values(name: str) -> DataError:
    return DataError(
        f"column '{name}' has no value in any training row",
        action="leave it out of the plan, or bring rows that have it",
    )


def _fill(recipe: Recipe, present: Values) -> float | None:
    if recipe.missing == "constant":
        return float(recipe.constant)
    if recipe.missing in {"mean", "median"}:
        return float(present.mean() if recipe.missing == "mean" else np.median(present))
    return None


def _joint_fill(recipe: Recipe, quantiles: Mapping[Fraction, float], agreed: Agreed) -> float | None:
    if recipe.missing == "mean":
        return agreed.mean
    return quantiles[MEDIAN] if recipe.missing == "median" else _fill(recipe, np.empty(0))


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
    def fit(
        cls,
        preparation: PreparationPlan,
        columns: Sequence[ReadColumn],
        training: Rows,
        agreed: Mapping[str, Agreed] = MappingProxyType({}),
    ) -> Encoding:
        """`agreed`: by column, what its owners found together. Raises: DataError for one without a value to fit by."""
        found = (
            FittedColumn.joint(preparation.of(each.name), each.name, agreed[each.name])
            if each.name in agreed
            else FittedColumn.fit(preparation.of(each.name), each.take(training))
            for each in columns
        )
        return cls(columns=tuple(found))

    @property
    def is_complete(self) -> bool:
        """Whether nothing must be told before columns can be encoded."""
        return all(column.weights or not column.recipe.weight_of_evidence for column in self.columns)

    def weighed(self, weights: Iterable[Sequence[float]]) -> Encoding:
        """The same with weights of evidence, of the columns that are to have some, in order."""
        following = iter(weights)
        columns = (
            column.model_copy(update={"weights": tuple(next(following))})
            if column.recipe.weight_of_evidence
            else column
            for column in self.columns
        )
        return Encoding(columns=tuple(columns))

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
        """Raises: DataError if nothing that was made of a column varies in the training rows.

        Weights of evidence may all be 0: an error would tell others what their owner alone was told.
        """
        for column, span in zip(self.columns, self._spans, strict=True):
            if not (any(varies[span]) or column.recipe.weight_of_evidence):
                raise constant(column.name, "training row")


def constant(name: str, where: str) -> DataError:
    return DataError(
        f"column '{name}' has the same value in every {where}", action="leave it out of the plan, or bring more rows"
    )
