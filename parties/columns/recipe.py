"""How columns become the engine's: what a contract says of each, and so how many each becomes.

Owners fit what is to be fitted, by their own training rows, and tell nobody: no level, quantile or mean that was found
stands here. The number of columns follows from the contract alone, because it decides the program; so levels and bins
are listed or capped, and what a cap leaves over becomes columns of zeros, which no model gives a weight.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mpc.curves import LEAST_CELL, USUAL_CELL
from parties.columns.division import HasFeatures
from parties.data.schema import ColumnName, Words

MOST_LEVELS = 1000
MOST_CELL = 1 << 20
MOST_BINS = 100
MEDIAN = Fraction(1, 2)


def _signed(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{1,9})?", value, re.ASCII):
        raise ValueError('must be a decimal number in quotes, such as "-0.5"')
    return value


def _signed_or_none(value: object) -> object:
    return value if value == "" else _signed(value)


def _day(value: object) -> object:
    if type(value) is dt.date:  # TOML has dates
        return value.isoformat()
    if value == "":
        return value
    try:
        day = dt.date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        day = None
    if day is None or day.isoformat() != value:
        raise ValueError("must be a date such as 2020-12-31")
    return value


def _quantiles(values: tuple[str, ...]) -> tuple[str, ...]:
    if values and (len(values) != 2 or not 0 <= Decimal(values[0]) < Decimal(values[1]) <= 1):
        raise ValueError('must be two quantiles in order, such as ["0.01", "0.99"]')
    return values


def _ascending(values: tuple[str, ...]) -> tuple[str, ...]:
    numbers = [Decimal(value) for value in values]
    if sorted(set(numbers)) != numbers:
        raise ValueError("must ascend")
    return values


def _different(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise ValueError("a level stands twice")
    if "" in values:
        raise ValueError("a level is empty; what is missing is the key `missing`")
    return values


Signed = Annotated[str, BeforeValidator(_signed)]


class Recipe(BaseModel):
    """How one column is prepared; in this order: read, winsorised, filled, put into bins or levels, standardised."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # number: as it is; one-hot: a column of 0 and 1 for each level and one for all others; ordinal: the place of a
    # value in `levels`, from 0; days: of a date, since the date `since`.
    encoding: Literal["number", "one-hot", "ordinal", "days"] = "number"
    # refuse; mean or median of the training rows; `constant`; own: a column of its own, of one-hot and of bins.
    # Where several parties have rows of the column means and quantiles, the median too, are joint: a disclosure.
    missing: Literal["refuse", "mean", "median", "constant", "own"] = "refuse"
    constant: Annotated[str, BeforeValidator(_signed_or_none)] = ""  # what is filled in: a decimal in quotes
    indicator: bool = False  # of what is filled in, one more column: 1 where the value was missing
    # Values by name. All parties read them in the contract. Of one-hot give `most_levels` instead to name none.
    levels: Annotated[tuple[Words, ...], Field(max_length=MOST_LEVELS), AfterValidator(_different)] = ()
    # Of one-hot: so many, the most frequent of the owner's training rows, have columns; the rest is "other"; 0: none.
    # Where several parties have rows of the column these tell each other their frequent levels by name: a disclosure.
    most_levels: Annotated[int, Field(ge=0, le=MOST_LEVELS)] = 0
    drop_first: bool = False  # leave the first level's column out, or the first bin's
    since: Annotated[str, BeforeValidator(_day)] = ""  # of days: the date that is 0
    # Values outside these quantiles of the owner's training rows are replaced by them; two decimals in quotes.
    winsorise: Annotated[tuple[Signed, ...], AfterValidator(_quantiles)] = ()
    quantile_bins: Annotated[int, Field(ge=0, le=MOST_BINS)] = 0  # columns of 0 and 1, one for each bin of equal counts
    # Columns of 0 and 1 for what lies below the first, from each to the next, and above the last; decimals in quotes.
    edges: Annotated[tuple[Signed, ...], Field(max_length=MOST_BINS - 1), AfterValidator(_ascending)] = ()
    # Of one-hot and bins: instead of columns of 0 and 1 one number, how the label's odds in the chosen one differ from
    # all odds. Where others have labels, the column's owner is told of these in steps of cells: a disclosure.
    weight_of_evidence: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if complaint := next(self._complaints(), None):
            raise ValueError(complaint)
        return self

    def _complaints(self) -> Iterator[str]:
        one_hot, chooses = self.encoding == "one-hot", self.encoding == "one-hot" or self.binned
        if one_hot and bool(self.levels) == bool(self.most_levels):
            yield 'encoding = "one-hot" needs either levels, or most_levels of at least 1'
        if self.encoding == "ordinal" and len(self.levels) < 2:
            yield 'encoding = "ordinal" needs its levels in order, at least two'
        if self.levels and self.encoding not in {"one-hot", "ordinal"}:
            yield "levels: of one-hot and ordinal alone"
        if self.most_levels and not one_hot:
            yield "most_levels: of one-hot alone"
        if bool(self.since) != (self.encoding == "days"):
            yield 'since: encoding = "days" needs it, and nothing else does'
        if self.quantile_bins == 1 or (self.quantile_bins and self.edges):
            yield "quantile_bins: 2 at least, and not with edges; 0 is none"
        if one_hot and (self.binned or self.winsorise):
            yield "winsorise, quantile_bins, edges: not of one-hot"
        yield from self._about_choices(chooses=chooses)
        yield from self._about_missing(one_hot=one_hot, chooses=chooses)

    def _about_choices(self, *, chooses: bool) -> Iterator[str]:
        for key in ("drop_first", "weight_of_evidence"):
            if getattr(self, key) and not chooses:
                yield f"{key}: of one-hot and bins alone"
        if self.drop_first and self.weight_of_evidence:
            yield "drop_first: not of weight_of_evidence, which is one column"

    def _about_missing(self, *, one_hot: bool, chooses: bool) -> Iterator[str]:
        fills = self.missing in {"mean", "median", "constant"}
        if self.missing == "own" and not chooses:
            yield 'missing = "own": of one-hot and bins alone; a number takes "mean", "median" or "constant"'
        if fills and one_hot:
            yield f'missing = "{self.missing}": not of one-hot, which takes "own"'
        if bool(self.constant) != (self.missing == "constant"):
            yield 'constant: missing = "constant" needs it, and nothing else does'
        if self.indicator and not fills:
            yield 'indicator: only where missing is "mean", "median" or "constant"; "own" has a column anyway'

    @property
    def binned(self) -> bool:
        return bool(self.quantile_bins or self.edges)

    @property
    def numeric(self) -> bool:
        """Whether one number comes of a value, and not a choice among several columns."""
        return self.encoding != "one-hot" and not self.binned

    @property
    def choices(self) -> int:
        """Columns that a value that is there may choose, before any is dropped; 1 of a number."""
        if self.encoding == "one-hot":
            return (len(self.levels) or self.most_levels) + 1
        return self.quantile_bins or len(self.edges) + 1

    @property
    def bins(self) -> int:
        """What a row may choose, a gap among them if that has its own."""
        return self.choices + (self.missing == "own")

    @property
    def width(self) -> int:
        """Columns of the engine."""
        return (1 if self.weight_of_evidence else self.choices - self.drop_first) + self.tells_gaps

    @property
    def tells_gaps(self) -> bool:
        """Whether one more column says where a value was missing."""
        return self.indicator or (self.missing == "own" and not self.weight_of_evidence)

    @property
    def fitted(self) -> list[str]:
        """Keys whose meaning depends on the training rows."""
        keys = [f'missing = "{self.missing}"'] if self.missing in {"mean", "median"} else []
        return [*keys, *(key for key in ("most_levels", "winsorise", "quantile_bins") if getattr(self, key))]

    @property
    def quantiles(self) -> tuple[Fraction, ...]:
        """Of the training rows, that it takes; ascending."""
        bins = [Fraction(place, self.quantile_bins) for place in range(1, self.quantile_bins)]
        median = [MEDIAN] * (self.missing == "median")
        return tuple(sorted({*map(Fraction, self.winsorise), *bins, *median}))

    @property
    def in_words(self) -> str:
        """For those who sign; levels that the contract names in full."""
        said = [*self._read_in_words(), *self._missing_in_words()]
        if self.drop_first:
            said.append("the first left out")
        if self.weight_of_evidence:
            said.append("as their weight of evidence")
        return "; ".join(said)

    def _read_in_words(self) -> Iterator[str]:
        named = ", ".join(self.levels)
        if self.encoding == "one-hot":
            yield f"one-hot: {named}, other" if named else f"one-hot: at most {self.most_levels} levels, other"
        elif self.encoding == "ordinal":
            yield f"in the order {named}"
        else:
            yield f"days since {self.since}" if self.encoding == "days" else "numbers"
        if self.winsorise:
            yield f"within quantiles {self.winsorise[0]} and {self.winsorise[1]}"
        if self.binned:
            edges = f"bins at {', '.join(self.edges)}"
            yield f"{self.quantile_bins} bins of equal counts" if self.quantile_bins else edges

    def _missing_in_words(self) -> Iterator[str]:
        filled = f"the {self.missing}" if self.missing in {"mean", "median"} else self.constant
        if self.missing == "own":
            yield "gaps in a bin of their own" if self.weight_of_evidence else "gaps in a column of their own"
        elif self.missing != "refuse":
            yield f"gaps filled with {filled}{', and told in a column' if self.indicator else ''}"


class WeighedColumn(NamedTuple):
    """A column that becomes weights of evidence: where they stand among the engine's columns, and its bins."""

    name: str
    start: int
    bins: int


class PreparationPlan(BaseModel):
    """What each owner does to its own columns before they are masked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    standardise: Literal[True] = True
    clip_bits: Annotated[int, Field(ge=2, le=6)] = 5  # standardised values are clipped to +-2**clip_bits
    # Training rows behind what is told of columns, at least: behind a step of a count (weight of evidence), a level at
    # the party that names it, a party's part of a joint mean of what has gaps, and from one joint quantile to the next
    # and to either end.
    smallest_bin: Annotated[int, Field(ge=LEAST_CELL, le=MOST_CELL)] = USUAL_CELL
    information_value: bool = False  # of weight of evidence: whether all are told how much each such column says
    default: Recipe = Recipe()  # of all columns that `columns` does not name
    columns: dict[ColumnName, Recipe] = {}  # by name, at every party that has a column of that name

    def of(self, column: str) -> Recipe:
        return self.columns.get(column, self.default)

    def width(self, columns: Sequence[str]) -> int:
        """Columns of the engine that these become."""
        return sum(self.of(column).width for column in columns)

    def in_words(self, parties: Sequence[HasFeatures]) -> list[str]:
        """A line for each column that is not taken as it is, with how many of the engine's it becomes."""
        recipes = [(party.name, column, self.of(column)) for party in parties for column in party.columns]
        return [
            f"{name}: {column} as {recipe.in_words} (columns: {recipe.width})"
            for name, column, recipe in recipes
            if recipe != Recipe()
        ]

    def capped(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Those of these whose levels are found in the training rows."""
        return tuple(column for column in columns if self.of(column).most_levels)

    def ranked(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Those of these whose quantiles in the training rows are taken."""
        return tuple(column for column in columns if self.of(column).quantiles)

    def averaged(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Those of these whose gaps the mean of the training rows fills."""
        return tuple(column for column in columns if self.of(column).missing == "mean")

    def weighed(self, columns: Sequence[str]) -> list[WeighedColumn]:
        """Those of these columns that become weights of evidence."""
        starts = accumulate((self.of(column).width for column in columns), initial=0)
        return [
            WeighedColumn(column, start, recipe.bins)
            for column, start, recipe in zip(columns, starts, map(self.of, columns), strict=False)
            if recipe.weight_of_evidence
        ]

    def check(self, parties: Sequence[HasFeatures]) -> None:
        """Raises: ValueError for a column that no party has."""
        if unknown := sorted(self.columns.keys() - {column for party in parties for column in party.columns}):
            raise ValueError(f"preparation.columns: no party has '{unknown[0]}' among its columns")
