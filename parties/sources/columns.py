"""One column of a source while it is judged: kinds, flaws and a profile, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parties.data.schema import MAX_CATEGORIES, Column, Kind
from parties.data.tables import CLASSES
from parties.sources.described import ColumnNote
from parties.sources.source import Source

MAX_MAGNITUDE: Final = 1e30  # no unit needs more; squares of such values still sum without overflow
MAX_DISTINCT: Final = 1000  # different values that are counted, beyond that they are only said to be more
MAX_DISTINCT_BYTES: Final = 1 << 18

NUMBER: Final = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$|^[+-]?(?i:nan|inf|infinity)$"
LINE_BREAK: Final = r"[\r\n]"
NUL: Final = "\0"


@dataclass
class Flaw:
    """Rows with something wrong: how many, and the first."""

    rows: int = 0
    first: int = 0

    def note(self, mask: Any, start: int) -> None:
        found = np.flatnonzero(np.asarray(pc.fill_null(mask, fill_value=False)))
        if len(found):
            self.first = self.first if self.rows else start + int(found[0])
            self.rows += len(found)


@dataclass(repr=False)
class Distinct:
    """Different values, counted exactly up to a bound; their number is None beyond it."""

    seen: pa.Array | None = None
    over: bool = False

    def note(self, values: pa.Array) -> None:
        if self.over:
            return
        fresh = pc.drop_null(pc.unique(values))
        both = fresh if self.seen is None else pc.unique(pa.concat_arrays([self.seen, fresh]))
        self.over = len(both) > MAX_DISTINCT or both.nbytes > MAX_DISTINCT_BYTES
        self.seen = None if self.over else both

    @property
    def count(self) -> int | None:
        return None if self.over else len(self.seen if self.seen is not None else ())


@dataclass(repr=False)
class Extent:
    """The least and the greatest of some numbers or days."""

    low: Any = None
    high: Any = None

    def note(self, values: pa.Array) -> None:
        found = pc.min_max(values).as_py()
        if found["min"] is not None:
            self.low = found["min"] if self.low is None else min(self.low, found["min"])
            self.high = found["max"] if self.high is None else max(self.high, found["max"])


@dataclass(frozen=True, repr=False)
class ColumnProfile:
    """What was found in a column: for its owner's eyes, on the terminal only."""

    name: str
    kind: Kind
    missing: int
    distinct: int | None  # None: more than MAX_DISTINCT
    low: float | str | None  # of numbers the least, of dates in ISO's form the earliest, of other text the least length
    high: float | str | None

    @property
    def ends(self) -> tuple[float | str | None, float | str | None]:
        return self.low, self.high


@dataclass(repr=False)
class Judged:
    """A column in the course of the first reading."""

    name: str
    note: ColumnNote
    is_id: bool = False
    rows: int = 0
    absent: Flaw = field(default_factory=Flaw)  # missing values, which only an id may not have
    breaks: Flaw = field(default_factory=Flaw)
    nuls: Flaw = field(default_factory=Flaw)
    strays: Flaw = field(default_factory=Flaw)  # text that is no number
    unusable: Flaw = field(default_factory=Flaw)  # numbers that are not finite, or too large
    numeric: bool = True  # as long as nothing else was seen
    dated: bool = True  # likewise
    texts: Distinct = field(default_factory=Distinct)
    numbers: Distinct = field(default_factory=Distinct)
    lengths: Extent = field(default_factory=Extent)
    range: Extent = field(default_factory=Extent)
    days: Extent = field(default_factory=Extent)

    @property
    def missing(self) -> int:
        return self.absent.rows

    def take(self, source: Source, values: pa.Array) -> pa.Array:
        """Judge one batch; returned are the values without surrounding blanks, blank ones missing."""
        values = self._take_text(source, values) if pa.types.is_string(values.type) else self._take_numbers(values)
        self.absent.note(pc.is_null(values), self.rows)
        self.rows += len(values)
        return values

    def _take_text(self, source: Source, values: pa.Array) -> pa.Array:
        if source.lines or self.is_id:
            self.breaks.note(pc.match_substring_regex(values, LINE_BREAK), self.rows)
        self.nuls.note(pc.match_substring(values, NUL), self.rows)
        values = trimmed(values)
        self.lengths.note(pc.utf8_length(values))
        self.texts.note(values)
        self._take_days(values)
        if not self.is_id and self.note.kind != "text" and (source.infers or self.note.kind == "number"):
            numbers = as_numbers(values)
            if numbers is None:
                self.numeric = False
                self.strays.note(pc.invert(pc.match_substring_regex(values, NUMBER)), self.rows)
            else:
                self._take_numbers(numbers)
        else:
            self.numeric = False
        return values

    def _take_days(self, values: pa.Array) -> None:
        days = as_days(values) if self.dated else None
        if days is None:
            self.dated = False
        else:
            self.days.note(days)

    def _take_numbers(self, numbers: pa.Array) -> pa.Array:
        self.unusable.note(pc.invert(pc.less_equal(pc.abs(numbers), MAX_MAGNITUDE)), self.rows)  # NaN is not less
        if self.numeric:
            self.numbers.note(numbers)
            self.range.note(numbers)
        return numbers

    def kind(self) -> Kind:
        if self.is_number:
            return "number"
        count = self.texts.count
        return "category" if count is not None and CLASSES <= count <= MAX_CATEGORIES else "text"

    @property
    def is_number(self) -> bool:
        return self.numeric and (self.missing < self.rows or self.note.kind == "number")

    def column(self) -> Column:
        """What may be published of it."""
        return Column(
            name=self.name,
            kind=self.kind(),
            complete=self.missing == 0,
            description=self.note.description,
            unit=self.note.unit,
        )

    def profile(self) -> ColumnProfile:
        distinct, extent = (self.numbers, self.range) if self.is_number else (self.texts, self.lengths)
        low, high = extent.low, extent.high
        if not self.is_number and self.dated and self.days.low is not None:
            low, high = self.days.low.isoformat(), self.days.high.isoformat()
        return ColumnProfile(self.name, self.kind(), self.missing, distinct.count, low, high)

    def check(self, source: Source) -> None:
        """Raises: DataError for the first of its flaws."""
        for flaw, what, action in self._flaws():
            if flaw.rows:
                source.refuse_rows(what, action, column=self.name, rows=flaw.rows, first=flaw.first)

    def _flaws(self) -> list[tuple[Flaw, str, str]]:
        found = [
            (
                self.breaks,
                "has a line break inside a value",
                "take it out, or close the quotation mark that was left open",
            ),
            (self.nuls, "has a NUL byte inside a value", "take it out at the source"),
        ]
        present = self.rows - self.missing
        # A column that is mostly numbers was meant to be numbers; any other is text.
        if self.note.kind == "number" or 2 * self.strays.rows < present:
            action = "correct it, empty the cell where the value is missing, or leave the column out"
            found.append((self.strays, "has text among numbers", action))
        if self.is_number:
            what = f"has values that are not finite numbers up to {MAX_MAGNITUDE:.0e}"
            found.append((self.unusable, what, "correct them, or empty the cell where the value is missing"))
        return found


def trimmed(values: pa.Array) -> pa.Array:
    """Text without surrounding blanks; what had nothing else is missing."""
    values = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)


def as_days(values: pa.Array) -> pa.Array | None:
    """Text as dates, or None if any is none in ISO's form."""
    try:
        return pc.cast(values, pa.date32())
    except pa.ArrowInvalid:  # not passed on: its text quotes a cell
        return None


def as_numbers(values: pa.Array) -> pa.Array | None:
    """Text as numbers, or None if any is no number."""
    if pa.types.is_floating(values.type):
        return values
    try:
        return pc.cast(values, pa.float64())
    except pa.ArrowInvalid:  # not passed on: its text quotes a cell
        return None
