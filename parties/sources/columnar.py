"""Parquet and Arrow IPC files: typed columns, brought to text and numbers batch by batch.

Dictionaries and views let many rows refer to one long value: what rows become is judged before they are written out.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from parties.errors import DataError
from parties.sources.extent import cell_bytes, pieces
from parties.sources.heads import expanded_bytes
from parties.sources.source import BATCH_ROWS, Part, Source

FILE_MAGIC: Final = b"ARROW1"
HEAD_BYTES: Final = 8  # before the first message of a file; a stream has none
MAX_BATCH_BYTES: Final = 1 << 30  # of a record batch, which is read at once, and of the text of BATCH_ROWS rows
MAX_CELL_BYTES: Final = 1 << 20
PIECE_BYTES: Final = 1 << 26  # of text that is written out at once
PLAIN_SCALE: Final = 6  # digits behind the point, up to which Arrow writes decimals without an exponent
DELTA: Final = "DELTA"  # in names of Parquet's encodings
WRITE_AGAIN: Final = "write it again with the program that it came from"


class ColumnarFile(Source):
    """A file whose columns have types."""

    kind: str  # what it should be, for messages

    def __init__(self, path: Path, max_batch_bytes: int = MAX_BATCH_BYTES) -> None:
        self.path, self.name = path, path.name
        self._max_batch_bytes = max_batch_bytes
        self._rows = 0  # given out in this reading
        self._stat: tuple[int, int, int] | None = None

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """Raises: DataError if it can't be read, is another than at the first reading, or is broken."""
        try:
            found = self.path.stat()
            state = (found.st_ino, found.st_size, found.st_mtime_ns)
            if self._stat not in {None, state}:
                self.refuse("changed while it was read", "add it again when nobody writes it")
            self._stat = state
            file = pa.OSFile(str(self.path))
        except OSError as exc:
            raise DataError(
                f"{self.path} can't be read: {exc.strerror or 'it is damaged'}",
                action="check the path and its rights",
                outward="the data file can't be read",
            ) from exc
        broken = False
        try:
            with file:
                yield file
        except (pa.ArrowException, OSError, ValueError):  # not passed on: its text may quote the file
            broken = True
        if broken:
            self.refuse(f"is not {self.kind} that can be read to its end", WRITE_AGAIN)

    def columns(self, tell: Part = lambda _: None) -> list[str]:
        found: list[str] = []  # a `return` inside would look to the type checker as if it could be skipped
        with self._opened() as file:
            found.extend(self._schema(file).names)
        return found

    def batches(self, as_text: Collection[str], left_out: Collection[str] = ()) -> Iterator[pa.RecordBatch]:
        self._rows = 0
        with self._opened() as file:
            for batch in self._raw(file):
                kept = _without(batch, left_out)
                kept.validate()  # buffers have the lengths that rows ask for
                sizes = self._sizes(kept)
                kept.validate(full=True)  # places and UTF-8, before anything looks inside; of views, value by value
                for rows in pieces(sizes, PIECE_BYTES):
                    yield self._written_out(kept.slice(rows.start, rows.stop - rows.start), as_text)

    def _written_out(self, batch: pa.RecordBatch, as_text: Collection[str]) -> pa.RecordBatch:
        self._rows += batch.num_rows
        columns = [
            self._plain(name, values, text=name.strip() in as_text)
            for name, values in zip(batch.schema.names, batch.columns, strict=True)
        ]
        return pa.record_batch(columns, names=batch.schema.names)

    def _sizes(self, batch: pa.RecordBatch) -> NDArray[np.int64]:
        """Bytes of each row's text. Raises: DataError for a value, or for rows, that are too large."""
        found = np.zeros(batch.num_rows, dtype=np.int64)
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            if (sizes := cell_bytes(values)) is None:
                continue
            if (long := np.flatnonzero(sizes > MAX_CELL_BYTES)).size:
                what, action = f"has a value longer than {MAX_CELL_BYTES} bytes", "leave it out in the schema file"
                first = self._rows + int(long[0])
                self.refuse_rows(what, action, column=name.strip(), rows=len(long), first=first)
            found += sizes
        if found.sum() > self._max_batch_bytes:
            what = f"has {batch.num_rows} rows whose text is more than {self._max_batch_bytes} bytes, written out"
            self.refuse(what, "leave out the columns with the longest text in the schema file")
        return found

    @abstractmethod
    def _schema(self, file: Any) -> pa.Schema: ...

    @abstractmethod
    def _raw(self, file: Any) -> Iterator[pa.RecordBatch]: ...

    def _plain(self, name: str, values: pa.Array, *, text: bool) -> pa.Array:
        """Text or numbers. Raises: DataError for a type that is neither."""
        found = as_text(values) if text else as_text_or_numbers(values)
        if found is None:
            self.refuse(
                f"has a type that is not {'an id or text' if text else 'a number, text or a date'}",
                "leave it out in the schema file, or write it as another type",
                column=name.strip(),
            )
        return found


class ParquetFile(ColumnarFile):
    """Read by row groups, a column's pages at a time."""

    kind = "a Parquet file"

    def __init__(self, path: Path, max_batch_bytes: int = MAX_BATCH_BYTES) -> None:
        super().__init__(path, max_batch_bytes)
        self._total = 0

    def _reader(self, file: Any) -> Any:
        """Text stays in its dictionaries, as far as Arrow can leave it there: so it can be judged first."""
        metadata = pq.read_metadata(file)
        file.seek(0)
        return pq.ParquetFile(
            file, metadata=metadata, buffer_size=1 << 20, pre_buffer=False, read_dictionary=_texts(metadata)
        )

    def _schema(self, file: Any) -> pa.Schema:
        return self._reader(file).schema_arrow

    def _raw(self, file: Any) -> Iterator[pa.RecordBatch]:
        reader = self._reader(file)
        self._total = reader.metadata.num_rows
        yield from reader.iter_batches(BATCH_ROWS, use_threads=False)

    def done(self) -> float | None:
        return self._rows / self._total if self._total else None


class ArrowFile(ColumnarFile):
    """An Arrow IPC file or stream, read by record batches: one that is too large is refused before it is in memory."""

    kind = "an Arrow IPC file"

    def __init__(self, path: Path, max_batch_bytes: int = MAX_BATCH_BYTES) -> None:
        super().__init__(path, max_batch_bytes)
        self._part: float | None = None

    def _schema(self, file: Any) -> pa.Schema:
        return self._reader(file).schema

    def _reader(self, file: Any) -> Any:
        return pa.ipc.open_file(file) if _has_head(file) else pa.ipc.open_stream(file)

    def _check_batches(self) -> None:
        """By their heads alone, and what compressed buffers begin with: bodies are mapped and not read."""
        with pa.memory_map(str(self.path)) as mapped:
            mapped.seek(HEAD_BYTES if _has_head(mapped) else 0)
            for message in pa.ipc.MessageReader.open_stream(mapped):
                if expanded_bytes(message) > self._max_batch_bytes:
                    what = f"has a record batch of more than {self._max_batch_bytes} bytes"
                    self.refuse(what, "write it again in smaller batches, or as Parquet")

    def _raw(self, file: Any) -> Iterator[pa.RecordBatch]:
        self._check_batches()
        reader = self._reader(file)
        if isinstance(reader, pa.ipc.RecordBatchFileReader):
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            batches = iter(reader)
        size = file.size()
        for batch in batches:
            self._part = file.tell() / size
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield batch.slice(start, BATCH_ROWS)

    def done(self) -> float | None:
        return self._part


def _texts(metadata: Any) -> list[str]:
    """Columns of text without chunks of differences, which Arrow reads into no dictionary."""
    groups = range(metadata.num_row_groups)
    return [
        metadata.schema.column(place).path
        for place in range(metadata.num_columns)
        if metadata.schema.column(place).physical_type == "BYTE_ARRAY"
        and not any(DELTA in kind for group in groups for kind in metadata.row_group(group).column(place).encodings)
    ]


def _without(batch: pa.RecordBatch, left_out: Collection[str]) -> pa.RecordBatch:
    """The same with nothing in the columns that are left out."""
    nothing = pa.nulls(batch.num_rows, pa.string())
    columns = [
        nothing if name.strip() in left_out else values
        for name, values in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.record_batch(columns, names=batch.schema.names)


def _has_head(file: Any) -> bool:
    found = file.read(len(FILE_MAGIC)) == FILE_MAGIC
    file.seek(0)
    return bool(found)


def as_text_or_numbers(values: pa.Array) -> pa.Array | None:
    """Numbers and truth values (1 and 0) as `double`, all else as `as_text`."""
    if pa.types.is_dictionary(values.type):
        return as_text_or_numbers(values.dictionary_decode())
    if pa.types.is_boolean(values.type):
        values = pc.cast(values, pa.uint8())
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        return pc.cast(values, pa.float64(), safe=False)
    return as_text(values)


def as_text(values: pa.Array) -> pa.Array | None:
    """Text, whole and decimal numbers, dates and times as `string`, digit by digit; None for anything else."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return as_text(values.dictionary_decode())
    if pa.types.is_decimal(kind) and not 0 <= kind.scale <= PLAIN_SCALE:
        return pa.array([None if value is None else f"{value:f}" for value in values.to_pylist()], pa.string())
    is_exact = pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_temporal(kind)
    if pa.types.is_null(kind) or _is_text(kind) or is_exact:
        return pc.cast(values, pa.string())
    return None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
