"""Tables in memory, and their columns as numbers.

Rows are sorted by record id (by code point), so that parties who hold the same ids hold them in the same
order. Missing values stay marked as missing until their column is used, which is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mpc.specification import MOST_CLASSES
from parties.data.schema import MAX_CATEGORIES, Column, Kind, Schema, check_features, check_ids, check_label
from parties.errors import DataError

CLASSES = 2
BATCH_ROWS: Final = 1 << 16


@dataclass(frozen=True, repr=False, eq=False)
class Table:
    """One organisation's rows, sorted by id (by code point). Printing shows sizes only.

    `arrow` holds the id as text, numbers as float64 and all else as text; missing values are nulls. `places` (rows,)
    are those of its rows in the list that it was read from, None if they stood there in this order.
    """

    name: str
    id_column: str
    arrow: pa.Table
    places: NDArray[np.int64] | None = None

    @classmethod
    def of_list(cls, name: str, id_column: str, arrow: pa.Table) -> Table:
        """Rows in any order, sorted here: by their ids' code points, which is the order of UTF-8's bytes."""
        ids = arrow[id_column]
        if pc.all(pc.greater(ids[1:].combine_chunks(), ids[:-1].combine_chunks())).as_py() is not False:
            return cls(name, id_column, arrow)
        places = pc.sort_indices(ids)
        return cls(name, id_column, arrow.take(places), places.to_numpy().astype(np.int64))

    @property
    def rows(self) -> int:
        return int(self.arrow.num_rows)

    @property
    def ids(self) -> list[str]:
        ids: list[str] = self.arrow[self.id_column].to_pylist()
        return ids

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        names = [name for name in self.arrow.column_names if name != self.id_column]
        return tuple(
            Column(name=name, kind=_kind(self.arrow[name]), complete=self.arrow[name].null_count == 0) for name in names
        )

    def schema(self, name: str) -> Schema:
        """What may be published of this table as the data set `name`."""
        return Schema(name=name, rows=self.rows, id_column=self.id_column, columns=self.columns)

    @property
    def arrow_schema(self) -> pa.Schema:
        return self.arrow.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        yield from self.arrow.to_batches(max_chunksize=BATCH_ROWS)

    def __repr__(self) -> str:
        return f"Table({self.name}: {self.rows} rows, {self.arrow.num_columns} columns)"


class Content(Protocol):
    """What a vault takes in: a table in memory, or a source that was judged. Rows come in any order."""

    @property
    def arrow_schema(self) -> pa.Schema: ...

    def batches(self) -> Iterator[pa.RecordBatch]: ...

    def schema(self, name: str) -> Schema: ...


def _kind(values: pa.ChunkedArray) -> Kind:
    if pa.types.is_floating(values.type):
        return "number"
    return "category" if CLASSES <= pc.count_distinct(values).as_py() <= MAX_CATEGORIES else "text"


def features(table: Table, wanted: Sequence[str]) -> NDArray[np.float64]:
    """The named columns as rows by columns, in the order named.

    Raises: DataError as `check_features`, and for a column that has the same value in every row.
    """
    check_features(table, wanted)
    matrix = np.empty((table.rows, len(wanted)), dtype=np.float64)
    for j, name in enumerate(wanted):
        matrix[:, j] = table.arrow[name].to_numpy()
        if np.all(matrix[:, j] == matrix[0, j]):
            raise DataError(
                f"column '{name}' of {table.name} has the same value in every row",
                action="leave it out of the plan: there is nothing to learn from it",
            )
    return matrix


@dataclass(frozen=True, repr=False, eq=False)
class Texts:
    """A column of text, row by row; no more than a batch of it is in memory as Python has it."""

    values: pa.ChunkedArray

    def __iter__(self) -> Iterator[str | None]:
        for start in range(0, len(self.values), BATCH_ROWS):
            yield from self.values.slice(start, BATCH_ROWS).to_pylist()


def ids_of(table: Table, wanted: Sequence[str]) -> list[Texts]:
    """The columns by which records are matched.  Raises: DataError as `check_ids`."""
    check_ids(table, table.id_column, wanted)
    return [Texts(table.arrow[name]) for name in wanted]


def classes(table: Table, column: str) -> tuple[str, ...]:
    """The label's values as text, sorted: for its owner's eyes, never for a message to others.

    Raises: DataError as `check_label`, and unless the column has from two to MOST_CLASSES values.
    """
    check_label(table, column)
    distinct = pc.unique(table.arrow[column]).sort().to_pylist()
    if not CLASSES <= len(distinct) <= MOST_CLASSES:
        raise DataError(
            f"column '{column}' of {table.name} has {len(distinct)} different values, a label has two to"
            f" {MOST_CLASSES}",
            action="name a column of classes, or leave out the rows of some",
            outward=f"column '{column}' of {table.name} does not have two to {MOST_CLASSES} values",
        )
    return tuple(map(as_text, distinct))


def as_text(value: float | str) -> str:
    return value if isinstance(value, str) else str(value).removesuffix(".0")


def labels(table: Table, column: str, told_apart: Sequence[str]) -> NDArray[np.int64]:
    """The number of each row's class among those named; of two classes one is named, and counts as 1, the other as 0.

    Numbers compare as such ("1" finds 1.0).  Shapes: -> (rows,).

    Raises: DataError as `classes`, unless each class that is named occurs, or if another one does.
    """
    found, values = len(classes(table, column)), table.arrow[column]
    if found != (expected := max(CLASSES, len(told_apart))):
        raise DataError(
            f"column '{column}' of {table.name} has {found} different values, the plan names {expected} classes",
            action="name all classes in the plan, or of two the positive one",
            outward=f"column '{column}' of {table.name} does not have as many values as the plan names classes",
        )
    numbers = np.zeros(table.rows, dtype=np.int64)
    for number, name in enumerate(told_apart):
        hits = pc.equal(values, _like(values, name)).to_numpy()
        if not hits.any():
            raise DataError(
                f"the class '{name}' does not occur in column '{column}' of {table.name}",
                action="correct the plan's label",
            )
        numbers[hits] = number + (len(told_apart) == 1)
    return numbers


def _like(values: pa.ChunkedArray, name: str) -> pa.Scalar:
    if not pa.types.is_floating(values.type):
        return pa.scalar(name.strip())
    try:
        return pa.scalar(float(name))
    except ValueError:
        return pa.scalar(float("nan"))  # equals nothing
