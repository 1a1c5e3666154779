"""The two readings of a source: the first judges all of it, the second hands it on as a table's batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

import pyarrow as pa

from parties.data.schema import MAX_COLUMNS, MAX_NAME_CHARACTERS, Column, Schema, is_column_name
from parties.data.tables import Table
from parties.sources.columns import ColumnProfile, Judged, as_numbers, trimmed
from parties.sources.described import Notes
from parties.sources.ids import find_repeats
from parties.sources.source import Source, Telling


@dataclass(frozen=True, repr=False)
class Surveyed:
    """A source that was judged and found good: what a vault takes in."""

    source: Source
    id_column: str
    rows: int
    columns: tuple[Column, ...]
    profile: tuple[ColumnProfile, ...]
    tell: Telling
    left_out: frozenset[str] = frozenset()

    def schema(self, name: str) -> Schema:
        return Schema(name=name, rows=self.rows, id_column=self.id_column, columns=self.columns)

    @property
    def arrow_schema(self) -> pa.Schema:
        numbers = {column.name for column in self.columns if column.kind == "number"}
        kept = {self.id_column, *(column.name for column in self.columns)}
        names = [name for name in map(str.strip, self.source.columns()) if name in kept]
        return pa.schema([(name, pa.float64() if name in numbers else pa.string()) for name in names])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The second reading. Raises: DataError if the source is no longer what it was at the first."""
        schema, rows = self.arrow_schema, 0
        for batch in self.source.batches(_as_text(schema), self.left_out):
            rows += batch.num_rows
            self.tell("encrypting", self.source.done())
            yield self._typed(batch, schema)
        if rows != self.rows:
            self._changed()

    def _typed(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        named = {name.strip(): values for name, values in zip(batch.schema.names, batch.columns, strict=True)}
        arrays = []
        for wanted in schema:
            values = named[wanted.name]
            values = trimmed(values) if pa.types.is_string(values.type) else values
            found = as_numbers(values) if pa.types.is_floating(wanted.type) else values
            if found is None:
                self._changed()
            arrays.append(found)
        return pa.record_batch(arrays, schema=schema)

    def _changed(self) -> NoReturn:
        self.source.refuse("changed while it was read", "add it again when nobody writes it")


def _as_text(schema: pa.Schema) -> frozenset[str]:
    return frozenset(wanted.name for wanted in schema if pa.types.is_string(wanted.type))


def survey(source: Source, id_column: str, notes: Notes, tell: Telling = lambda *_: None) -> Surveyed:
    """The first reading: refuse what is doubtful, find each column's kind and profile.

    Raises: DataError for anything but a table with named columns, rows of one length and unique ids, whose
    columns are each text, or finite numbers wherever they are not empty.
    """
    tell("reading", None)
    header = source.columns(lambda part: tell("reading", part))
    names = column_names(source, header, id_column)
    _check_notes(source, notes, names, id_column)
    judged = {
        name: Judged(name, notes.of(name), is_id=name == id_column) for name in names if name not in notes.leave_out
    }
    ids: list[pa.Array] = []
    left_out = frozenset(notes.leave_out)
    for batch in source.batches(notes.text | {id_column}, left_out):
        for name, values in zip(names, batch.columns, strict=True):
            if name in judged:
                found = judged[name].take(source, values)
                if name == id_column:
                    ids.append(found)
        tell("checking", source.done())
    _check_rows(source, judged[id_column], ids)
    for column in judged.values():
        column.check(source)
    others = [column for column in judged.values() if not column.is_id]
    return Surveyed(
        source=source,
        id_column=id_column,
        rows=judged[id_column].rows,
        columns=tuple(column.column() for column in others),
        profile=tuple(column.profile() for column in others),
        tell=tell,
        left_out=left_out,
    )


def read_whole(source: Source, id_column: str, notes: Notes, name: str) -> Table:
    """Both readings into memory, sorted by id. Raises: DataError as `survey`."""
    found = survey(source, id_column, notes)
    arrow = pa.Table.from_batches(found.batches(), found.arrow_schema)
    return Table.of_list(name, id_column, arrow)


def column_names(source: Source, header: Sequence[str], id_column: str) -> list[str]:
    """Trimmed names. Raises: DataError for one that can't be a name, or occurs twice, or if the id's is not there."""
    if len(header) > MAX_COLUMNS:
        source.refuse(f"has more than {MAX_COLUMNS} columns", "leave out those that nobody needs")
    names: dict[str, None] = {}
    for position, name in enumerate(map(str.strip, header), 1):
        if not name:
            source.refuse(f"has no name for column {position}", "name it, or export without an index column")
        if not is_column_name(name):
            limit = f"up to {MAX_NAME_CHARACTERS} printable characters"
            source.refuse(f"has a name for column {position} that is not {limit}", "rename it")
        if name in names:
            source.refuse("occurs twice in the header", "rename one of them", column=name)
        names[name] = None
    if id_column not in names:
        known = f"it has: {', '.join(names)}" if len(names) > 1 else "fields are separated by commas"
        source.refuse(f"has no id column '{id_column}'", f"name the column of record ids; {known}")
    return list(names)


def _check_notes(source: Source, notes: Notes, names: Sequence[str], id_column: str) -> None:
    for name in (*notes.leave_out, *notes.columns):
        if name not in names:
            source.refuse(f"has no column '{name}'", "correct the schema file")
    if id_column in notes.leave_out or notes.of(id_column).kind == "number":
        source.refuse("is its id, which is text and stays in", "correct the schema file", column=id_column)


def _check_rows(source: Source, column: Judged, ids: list[pa.Array]) -> None:
    """Raises: DataError without rows, or for an id that is empty or not the only one."""
    if not column.rows:
        source.refuse("has a header but no rows", "export it again with its rows")
    column.check(source)
    if column.missing:
        empty = column.absent
        source.refuse_rows(
            "has empty ids",
            "give every row an id, or leave the row out",
            column=column.name,
            rows=empty.rows,
            first=empty.first,
        )
    if repeats := find_repeats(ids):
        what, action = "has ids that occurred before", "keep one row an id"
        if repeats.only_in_form:
            what, action = "has ids that differ only in their Unicode form", "write each id in one form, NFC or NFKC"
        source.refuse_rows(what, action, column=column.name, rows=repeats.rows, first=repeats.first)
