"""Common rows on their way from one data set of a vault into another: part by part, in the order of the shared ids."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from parties.data.data_set import Manifest
from parties.data.schema import MAX_CATEGORIES, Column, Kind, Schema
from parties.data.tables import BATCH_ROWS, CLASSES
from parties.process.job import FoundRows
from parties.sources.columns import Distinct

ID_COLUMN: Final = "matched_id"
ID_BYTES: Final = 16  # of an id that all parties share; it is written in hexadecimal
KEPT_BYTES: Final = 1 << 28  # of rows that are held and sorted at once, about
NUMBER_BYTES: Final = 8
TEXT_BYTES: Final = 36  # of an id that all share; other texts are taken to be no longer

Scan: TypeAlias = Callable[[Collection[str] | None], Generator[pa.RecordBatch]]  # of the source's file
Places: TypeAlias = NDArray[np.int64]


class Found:
    """Rows of a data set that all parties have, in the order of its ids, and the ids that these share; not printed."""

    def __init__(self) -> None:
        self._rows: list[Places] = []
        self._ids: list[bytes] = []

    def add(self, strip: FoundRows) -> None:
        """Cost: 24 bytes a row."""
        self._rows.append(np.array(strip.rows, dtype=np.int64))
        self._ids.append(bytes.fromhex("".join(strip.ids)))

    def take(self) -> tuple[Places, NDArray[np.uint8]]:
        """Rows in the order of their shared ids, and these; none stay here. Shapes: -> (rows,), (rows, ID_BYTES)."""
        rows, ids = np.concatenate(self._rows), np.frombuffer(b"".join(self._ids), dtype=np.uint8)
        self._rows, self._ids = [], []
        order = np.argsort(ids.view(f"S{ID_BYTES}"), kind="stable")  # ends that are zeros are less than any other
        return rows[order], ids.reshape(-1, ID_BYTES)[order]


@dataclass
class _Seen:
    """What of a column stands in a schema, as batches pass."""

    is_number: bool
    missing: int = 0
    distinct: Distinct = field(default_factory=Distinct)

    def note(self, values: pa.Array) -> None:
        self.missing += values.null_count
        if not self.is_number:
            self.distinct.note(values)

    @property
    def kind(self) -> Kind:
        if self.is_number:
            return "number"
        count = self.distinct.count
        return "category" if count is not None and CLASSES <= count <= MAX_CATEGORIES else "text"


class MatchedRows:
    """`parties.data.tables.Content`: rows of a data set under shared ids, sorted by these, with its owner's words.

    The former id is a column like others; a column of shared ids of an earlier matching is left out.
    Cost: 24 bytes a row, and KEPT_BYTES about three times; before that the source's ids and some 50 bytes a row. A
    reading of the ids, and one of the whole source for each KEPT_BYTES of rows found.
    """

    def __init__(self, source: Manifest, scan: Scan, found: Found, kept_bytes: int = KEPT_BYTES) -> None:
        """Raises: VaultError as `Vault.batches`."""
        self._source, self._scan = source, scan
        rows, self._ids = found.take()
        self._place_of = self._places(rows)
        with closing(scan(None)) as batches:
            kept = [each for each in next(batches).schema if each.name != ID_COLUMN]
        self.arrow_schema = pa.schema([pa.field(ID_COLUMN, pa.string()), *kept])
        self._seen = {each.name: _Seen(pa.types.is_floating(each.type)) for each in kept}
        row_bytes = sum(NUMBER_BYTES if seen.is_number else TEXT_BYTES for seen in self._seen.values())
        self._at_once = max(1, kept_bytes // (row_bytes + TEXT_BYTES))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Once. Raises: VaultError as `Vault.batches`."""
        for start in range(0, len(self._ids), self._at_once):
            table = self._part(start, min(start + self._at_once, len(self._ids)))
            for batch in table.to_batches(max_chunksize=BATCH_ROWS):
                for name, seen in self._seen.items():
                    seen.note(batch[name])
                yield batch

    def schema(self, name: str) -> Schema:
        """Of what `batches` gave."""
        words = {column.name: column for column in self._source.table.columns}
        columns = tuple(
            Column(
                name=each,
                kind=seen.kind,
                complete=seen.missing == 0,
                description=words[each].description if each in words else "",
                unit=words[each].unit if each in words else "",
            )
            for each, seen in self._seen.items()
        )
        return Schema(name=name, rows=len(self._ids), id_column=ID_COLUMN, columns=columns)

    def _places(self, rows: Places) -> Places:
        """Of each row of the source's file its place among the rows found, -1 of others."""
        column = self._source.table.id_column
        ids = pa.chunked_array([batch[column] for batch in self._scan({column})], pa.string())
        in_file = pc.sort_indices(ids).to_numpy()  # of each row in the order of ids
        found = np.full(len(ids), -1, dtype=np.int64)
        found[in_file[rows]] = np.arange(len(rows))
        return found

    def _part(self, start: int, stop: int) -> pa.Table:
        """The rows at these places."""
        parts: list[pa.RecordBatch] = []
        places: list[Places] = []
        first, names = 0, list(self._seen)
        for batch in self._scan(None):
            here = self._place_of[first : first + batch.num_rows]
            wanted = np.flatnonzero((start <= here) & (here < stop))
            if len(wanted):
                parts.append(batch.select(names).take(pa.array(wanted)))
                places.append(here[wanted])
            first += batch.num_rows
        order = pa.array(np.argsort(np.concatenate(places)))
        return pa.Table.from_batches(parts).take(order).add_column(0, ID_COLUMN, _in_hexadecimal(self._ids[start:stop]))


def _in_hexadecimal(ids: NDArray[np.uint8]) -> pa.Array:
    """As text. Shapes: (rows, ID_BYTES) -> (rows,)."""
    digits = ids.tobytes().hex().encode()
    ends = np.arange(len(ids) + 1, dtype=np.int32) * (2 * ID_BYTES)
    return pa.StringArray.from_buffers(len(ids), pa.py_buffer(ends), pa.py_buffer(digits))
