"""Tables as organisations have them: CSV, Parquet, Arrow IPC and SQL, read strictly and in bounded memory.

Every cell of text is trimmed. A number is finite; a missing value is an empty cell, or the source's null, and nothing
else. What an error says names lines or rows, columns and counts, never a value.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from parties.data.tables import Table
from parties.sources.columnar import ArrowFile, ParquetFile
from parties.sources.delimited import CsvFile
from parties.sources.described import Notes, read_notes
from parties.sources.source import Source, Telling
from parties.sources.survey import Surveyed, read_whole, survey

__all__ = ["Notes", "Source", "Surveyed", "Telling", "file_source", "read_notes", "read_table", "survey"]

_BY_SUFFIX: dict[str, Callable[[Path], Source]] = {
    ".parquet": ParquetFile,
    ".pq": ParquetFile,
    ".arrow": ArrowFile,
    ".arrows": ArrowFile,
    ".feather": ArrowFile,
    ".ipc": ArrowFile,
}


def file_source(path: Path) -> Source:
    """The file as its suffix says what it is: Parquet, Arrow IPC, and everything else comma-separated text."""
    return _BY_SUFFIX.get(path.suffix.lower(), CsvFile)(path)


def read_table(path: Path, id_column: str) -> Table:
    """A whole file in memory, sorted by id.

    Raises: DataError for anything but a table with named columns, rows of one length and unique ids, whose
    columns are each text, or finite numbers wherever they are not empty.
    """
    return read_whole(file_source(path), id_column, Notes(), path.stem)
