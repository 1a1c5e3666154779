"""CSV files read strictly into tables: what is doubtful is refused with its line, nothing is guessed.

Every cell is trimmed. A number is finite; a missing value is an empty cell and nothing else. What an error
says names lines, columns and counts, never a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from parties.errors import DataError
from parties.schema import MAX_COLUMNS, MAX_NAME_CHARACTERS, is_column_name
from parties.tables import Table

MAX_LINE_BYTES = 1 << 20
MAX_MAGNITUDE = 1e30  # no unit needs more; squares of such values still sum without overflow

NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$|^[+-]?(?i:nan|inf|infinity)$"
EXPORT = "export it as comma-separated text in UTF-8"
LINE_BREAK = r"[\r\n]"


class _Source:
    """The file that is being read, for messages."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def refuse(self, what: str, action: str, *, column: str = "", detail: str = "") -> NoReturn:
        """Raise a DataError whose `detail` (lines, counts) and file name stay with the owner."""
        where = f", column '{column}'," if column else ""
        raise DataError(
            f"{self.path.name}{where} {what}{detail}", action=action, outward=f"the data file{where} {what}"
        )

    def refuse_rows(self, what: str, action: str, *, column: str, rows: NDArray[np.int64]) -> NoReturn:
        """The same for rows of the parsed table, of which row 0 is record 1: the header is record 0."""
        self.refuse(what, action, column=column, detail=_lines(len(rows), self.line_of(int(rows[0]) + 1)))

    def line_of(self, record: int) -> int:
        """The line of a record; blank lines are none, and no value before it spans lines."""
        with self.path.open("rb") as file:
            lines = (line for block in file for line in block.splitlines())
            filled = (number for number, line in enumerate(lines, 1) if line)
            return next(islice(filled, record, None))


def _lines(rows: int, first_line: int) -> str:
    return f" (line {first_line})" if rows == 1 else f" ({rows} rows, the first on line {first_line})"


def read_csv(path: Path, id_column: str) -> Table:
    """Read a comma-separated file in UTF-8 with a header line.

    Raises: DataError for anything but a table with named columns, rows of one length and unique ids, whose
    columns are each text, or finite numbers wherever they are not empty.
    """
    source = _Source(path)
    _check_text(source)
    raw = _parse(source)
    names = _column_names(source, raw.column_names, id_column)
    if not raw.num_rows:
        source.refuse("has a header but no rows", "export it again with its rows")
    columns = {name: _trimmed(source, name, values) for name, values in zip(names, raw.columns, strict=True)}
    order = _id_order(source, id_column, columns[id_column])
    typed = {
        name: values if name == id_column else _numbers_or_text(source, name, values)
        for name, values in columns.items()
    }
    return Table(name=path.stem, id_column=id_column, arrow=pa.table(typed).take(order))


def _check_text(source: _Source) -> None:
    """Refuse what is not text before a parser sees it; bounded memory whatever the file holds."""
    try:
        with source.path.open("rb") as file:
            for number in count(1):
                line = file.readline(MAX_LINE_BYTES + 1)
                if not line:
                    break
                _check_line(source, line, number)
    except OSError as exc:
        raise DataError(f"{source.path} can't be read: {exc.strerror}", action="check the path and its rights") from exc
    if number == 1:
        source.refuse("is empty", "export it again")


def _check_line(source: _Source, line: bytes, number: int) -> None:
    flaw = ""
    if b"\0" in line:
        flaw = "is not text: it has a NUL byte"
    elif len(line) > MAX_LINE_BYTES:
        flaw = f"is not a table: it has a line longer than {MAX_LINE_BYTES} bytes"
    elif not _is_utf8(line):
        flaw = "is not text in UTF-8"
    if flaw:
        source.refuse(flaw, EXPORT, detail=f" (line {number})")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Ragged:
    """Counts rows of another length than the header's and remembers the first."""

    def __init__(self) -> None:
        self.rows = 0
        self.first_record = 0

    def __call__(self, row: pacsv.InvalidRow) -> str:
        self.first_record = self.first_record or row.number - 1
        self.rows += 1
        return "skip"


def _parse(source: _Source) -> pa.Table:
    """Every cell as text, empty cells as nulls."""
    ragged = _Ragged()
    try:
        table = pacsv.read_csv(
            source.path,
            # One thread, or rows would come without their numbers.
            pacsv.ReadOptions(use_threads=False, block_size=4 * MAX_LINE_BYTES),
            # Line breaks in values are parsed, to be refused: an open quotation mark swallows rows silently.
            pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=ragged),
            pacsv.ConvertOptions(default_column_type=pa.string(), null_values=[""], strings_can_be_null=True),
        )
    except pa.ArrowInvalid:
        table = None  # the error is not passed on: its text quotes cells
    if table is None:
        source.refuse("is not a comma-separated table", EXPORT)
    if ragged.rows:
        source.refuse(
            "has rows with more or fewer fields than its header",
            "correct them; a comma inside a value needs quotation marks, and these must close",
            detail=_lines(ragged.rows, source.line_of(ragged.first_record)),
        )
    return table


def _column_names(source: _Source, header: Sequence[str], id_column: str) -> list[str]:
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


def _trimmed(source: _Source, name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without surrounding blanks; cells that had nothing else are missing."""
    broken = _rows(pc.match_substring_regex(values, LINE_BREAK))
    if len(broken):
        source.refuse_rows(
            "has a line break inside a value",
            "take it out, or close the quotation mark that was left open",
            column=name,
            rows=broken,
        )
    trimmed = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _id_order(source: _Source, name: str, ids: pa.ChunkedArray) -> pa.Array:
    empty = _rows(pc.is_null(ids))
    if len(empty):
        source.refuse_rows("has empty ids", "give every row an id, or leave the row out", column=name, rows=empty)
    order = pc.sort_indices(ids)  # bytes of UTF-8, which sort as code points do
    ordered = pc.take(ids, order)
    repeats = _rows(pc.equal(ordered[1:].combine_chunks(), ordered[:-1].combine_chunks())) + 1
    if len(repeats):
        rows = np.sort(order.to_numpy()[repeats]).astype(np.int64)
        source.refuse_rows("has ids that occurred before", "keep one row an id", column=name, rows=rows)
    return order


def _numbers_or_text(source: _Source, name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    if values.null_count == len(values):
        return values
    numbers = _as_numbers(values)
    if numbers is None:
        _refuse_stray_text(source, name, values)
        return values
    unusable = _rows(pc.invert(pc.less_equal(pc.abs(numbers), MAX_MAGNITUDE)))  # NaN is not less
    if len(unusable):
        source.refuse_rows(
            f"has values that are not finite numbers up to {MAX_MAGNITUDE:.0e}",
            "correct them, or empty the cell where the value is missing",
            column=name,
            rows=unusable,
        )
    return numbers


def _as_numbers(values: pa.ChunkedArray) -> pa.ChunkedArray | None:
    try:
        return pc.cast(values, pa.float64())
    except pa.ArrowInvalid:  # not passed on: its text quotes a cell
        return None


def _refuse_stray_text(source: _Source, name: str, values: pa.ChunkedArray) -> None:
    """A column that is mostly numbers was meant to be numbers; any other is text."""
    stray = _rows(pc.invert(pc.match_substring_regex(values, NUMBER)))
    if 2 * len(stray) < len(values) - values.null_count:
        source.refuse_rows(
            "has text among numbers",
            "correct it, empty the cell where the value is missing, or leave the column out",
            column=name,
            rows=stray,
        )


def _rows(mask: pa.ChunkedArray | pa.Array) -> NDArray[np.int64]:
    """Indices of the rows where the mask is true; a null is not."""
    return np.flatnonzero(np.asarray(pc.fill_null(mask, fill_value=False))).astype(np.int64)
