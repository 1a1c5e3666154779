"""CSV files, read strictly: what is doubtful is refused with its line, nothing is guessed."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, Final, NoReturn

import pyarrow as pa
import pyarrow.csv as pacsv

from parties.errors import DataError
from parties.sources.source import Part, Source

MAX_LINE_BYTES: Final = 1 << 20
TOLD_BYTES: Final = 1 << 22  # of a text that is checked, from one word of it to the next
EXPORT: Final = "export it as comma-separated text in UTF-8"
VALUE: Final = rb'(?:"(?:[^"]++|"")*+"|[^",\r\n][^,\r\n]*+|)'  # elsewhere than first a quotation mark is a character
VALUES: Final = re.compile(rb"(?:\xef\xbb\xbf)?+" + VALUE + rb"(?:[,\r\n]" + VALUE + rb")*+")


class CsvFile(Source):
    """Comma-separated text in UTF-8 with a header line."""

    infers = True
    lines = True

    def __init__(self, path: Path, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.path, self.name = path, path.name
        self._max_line_bytes = max_line_bytes
        self._file: Any = None
        self._bytes = 0
        self._names: list[str] = []
        self._state: tuple[int, int, int] | None = None  # of the file when it was checked

    def columns(self, tell: Part = lambda _: None) -> list[str]:
        if not self._names:
            self._check_text(tell)
            with self._open() as file:
                self._names = list(self._reader(file, _Ragged()).schema.names)
        return self._names

    def batches(self, as_text: Collection[str], left_out: Collection[str] = ()) -> Iterator[pa.RecordBatch]:
        ragged = _Ragged()
        with self._open() as self._file:
            reader = self._reader(self._file, ragged)
            while (batch := self._next(reader)) is not None:
                yield batch
        if ragged.rows:
            place = f"line {self._line_of(ragged.first_record)}"
            self.refuse(
                "has rows with more or fewer fields than its header",
                "correct them; a comma inside a value needs quotation marks, and these must close",
                detail=f" ({place})" if ragged.rows == 1 else f" ({ragged.rows} rows, the first on {place})",
            )

    def done(self) -> float | None:
        return self._file.tell() / self._bytes if self._file and not self._file.closed and self._bytes else None

    def where(self, row: int) -> str:
        return f"line {self._line_of(row + 1)}"

    def _open(self) -> Any:
        """Raises: DataError if the file is not the one that was checked."""
        try:
            file = pa.OSFile(os.fspath(self.path))
        except OSError as exc:
            raise _unreadable(self.path, exc) from exc
        if self._state != self._stat():
            self.refuse("changed while it was read", "add it again when nobody writes it")
        return file

    def _stat(self) -> tuple[int, int, int]:
        try:
            found = self.path.stat()
        except OSError as exc:
            raise _unreadable(self.path, exc) from exc
        self._bytes = found.st_size
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _reader(self, file: Any, ragged: _Ragged) -> Any:
        """Every cell as text, empty cells as nulls."""
        try:
            reader = pacsv.open_csv(
                file,
                pacsv.ReadOptions(use_threads=False, block_size=4 * MAX_LINE_BYTES),
                # Line breaks in values are parsed, to be refused: an open quotation mark swallows rows silently.
                pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=ragged),
                pacsv.ConvertOptions(default_column_type=pa.string(), null_values=[""], strings_can_be_null=True),
            )
        except pa.ArrowInvalid:
            reader = None  # the error is not passed on: its text quotes cells
        return self._refuse_table() if reader is None else reader

    def _refuse_table(self) -> NoReturn:
        self.refuse("is not a comma-separated table", EXPORT)

    def _next(self, reader: Any) -> pa.RecordBatch | None:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return None
        except pa.ArrowInvalid:
            batch = None
        except OSError as exc:
            raise _unreadable(self.path, exc) from exc
        return self._refuse_table() if batch is None else batch

    def _check_text(self, tell: Part) -> None:
        """Refuse what is not text before a parser sees it; bounded memory whatever the file holds."""
        self._state = self._stat()
        read = 0
        try:
            with self.path.open("rb") as file:
                for number in count(1):
                    line = file.readline(self._max_line_bytes + 1)
                    if not line:
                        break
                    self._check_line(line, number)
                    read += len(line)
                    if read % TOLD_BYTES < len(line):
                        tell(read / self._bytes)
        except OSError as exc:
            raise _unreadable(self.path, exc) from exc
        if number == 1:
            self.refuse("is empty", "export it again")

    def _check_line(self, line: bytes, number: int) -> None:
        flaw = ""
        if b"\0" in line:
            flaw = "is not text: it has a NUL byte"
        elif len(line) > self._max_line_bytes:
            flaw = f"is not a table: it has a line longer than {self._max_line_bytes} bytes"
        elif not line.isascii() and not _is_utf8(line):
            flaw = "is not text in UTF-8"
        if flaw:
            self.refuse(flaw, EXPORT, detail=f" (line {number})")
        if b'"' in line:
            self._check_quotes(line, number)

    def _check_quotes(self, line: bytes, number: int) -> None:
        """Refuse what a parser would guess at: of an open quotation mark it makes one value of many lines."""
        values = VALUES.match(line)
        rest = line[values.end() :] if values else line
        if rest.startswith(b'"'):
            what = "has a line break inside a value, or a quotation mark that was left open"
            self.refuse(what, "take it out, or close it", detail=f" (line {number})")
        if rest:
            what, action = "has text after a closing quotation mark", "write quotation marks inside a value twice"
            self.refuse(what, action, detail=f" (line {number})")

    def _line_of(self, record: int) -> int:
        """The line of a record; blank lines are none, and no value before it spans lines. Record 0 is the header."""
        with self.path.open("rb") as file:
            lines = (line for block in file for line in block.splitlines())
            filled = (number for number, line in enumerate(lines, 1) if line)
            return next(islice(filled, record, None))


class _Ragged:
    """Counts rows of another length than the header's and remembers the first."""

    def __init__(self) -> None:
        self.rows = 0
        self.first_record = 0

    def __call__(self, row: Any) -> str:
        self.first_record = self.first_record or row.number - 1
        self.rows += 1
        return "skip"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unreadable(path: Path, exc: OSError) -> DataError:
    return DataError(
        f"{path} can't be read: {exc.strerror or 'it is damaged'}",
        action="check the path and its rights",
        outward="the data file can't be read",
    )
