"""The rows of a database query, as any SQLAlchemy URL names the database.

The query runs once, in a transaction that is rolled back at the end. Its rows go into a nameless file, sealed under a
key that lives as long as this object: a query that ran twice could tell two things.
What a driver says is not passed on, since it may quote rows or the URL; the class of its error and the SQLSTATE are.
"""

from __future__ import annotations

import datetime as dt
import decimal
import os
import re
import tempfile
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn, cast

import pyarrow as pa
from sqlalchemy import URL, Connection, CursorResult, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from parties.errors import DataError, SettingsError
from parties.keys.identity import check_private
from parties.sealing import DataKey, Digests, Sealer, Unsealed, unseal
from parties.sources.columns import as_numbers
from parties.sources.patience import Patience
from parties.sources.source import Part, Source

FETCH_ROWS: Final = 2000
MAX_CELL_CHARACTERS: Final = 1 << 20
NUMBERS: Final = (int, float, decimal.Decimal)  # and bool, which is an int
TEXTS: Final = (str, dt.date, dt.time, dt.timedelta, uuid.UUID)  # and datetime, which is a date
SQLSTATE: Final = r"^[0-9A-Z]{5}$"
CONNECT_TIMEOUT_S: Final = 30  # until there is a connection, and once more until it takes a query
LIBPQ_DRIVERS: Final = ("psycopg", "psycopg2")
KEPT_ALIVE: Final = {  # a machine that fell silent is given up after about two minutes, a query that takes long is not
    "keepalives": 1,
    "keepalives_idle": 60,  # seconds
    "keepalives_interval": 10,
    "keepalives_count": 6,
    "tcp_user_timeout": 120_000,  # milliseconds
}


class SqlQuery(Source):
    """What a query finds, in a database's order."""

    noun = "query's result"
    name = "the query"

    def __init__(
        self,
        url: URL,
        query: str,
        spool: Path,
        connect_timeout_s: int = CONNECT_TIMEOUT_S,
        answer_timeout_s: int = 3600,
    ) -> None:
        """`spool` is a directory whose disk has room for the sealed rows.

        `answer_timeout_s`: for a query's first rows, and from some rows to the next, of PostgreSQL.
        """
        self._url, self._query, self._spool = url, query, spool
        self._connect_timeout_s, self._answer_timeout_s = connect_timeout_s, answer_timeout_s
        self._patience = Patience()
        self._connected = False
        self._names: list[str] = []
        self._cells: list[_Cells] = []  # by column
        self._file: BinaryIO | None = None
        self._key = DataKey.generate()
        self._digests: Digests | None = None
        self._rows = self._given = 0

    def columns(self, tell: Part = lambda _: None) -> list[str]:
        if self._file is None:
            self._fetch(tell)
        return self._names

    def batches(self, as_text: Collection[str], left_out: Collection[str] = ()) -> Iterator[pa.RecordBatch]:
        self._given = 0
        for batch in self._spooled():
            self._given += batch.num_rows
            found = zip(self._names, self._cells, batch.columns, strict=True)
            columns = [self._plain(name, cells, values, as_text) for name, cells, values in found]
            yield pa.record_batch(columns, names=self._names)

    def _plain(self, name: str, cells: _Cells, values: pa.Array, as_text: Collection[str]) -> pa.Array:
        if cells.numbers == 0 or name.strip() in as_text:
            return values
        if 2 * cells.texts < cells.texts + cells.numbers and cells.texts:
            what, action = "has text among numbers", "correct it, or make it one or the other in the query"
            self.refuse_rows(what, action, column=name, rows=cells.texts, first=cells.first_text)
        if cells.texts:
            return values
        if (numbers := as_numbers(values)) is None:
            self.refuse("has numbers that are none, such as NaN", "leave them out in the query", column=name)
        return numbers

    def done(self) -> float | None:
        return self._given / self._rows if self._rows else None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _spooled(self) -> Iterator[pa.RecordBatch]:
        if self._file is None:
            self._fetch(lambda _: None)
        file, digests = cast("BinaryIO", self._file), cast("Digests", self._digests)
        file.seek(0)
        unsealed = Unsealed(unseal(file, "of the query", self._key, digests))
        with pa.ipc.open_stream(pa.PythonFile(unsealed, mode="r")) as stream:
            yield from stream
        unsealed.finish()

    def _fetch(self, tell: Part) -> None:
        """Run the query into the spool. Raises: DataError if it, or the database, fails at any row."""
        failure: tuple[str, str] | None = None
        try:
            self._file = cast("BinaryIO", tempfile.TemporaryFile(dir=self._spool))  # noqa: SIM115 - closed by `close`
            self._run(self._file, tell)
        except (SQLAlchemyError, ValueError) as exc:  # drivers let errors of conversion through as they are
            failure = _said(exc)
        except OSError as exc:
            raise DataError(f"the query's rows can't be kept: {exc.strerror}", action="make room") from exc
        finally:
            self._patience.close()
        if failure and self._patience.is_over:
            after = f" after row {self._rows}" if self._rows else ""
            more = ", or allow more time (--timeout)," if self._connected else ""
            action = f"look at the database's load and locks{more} and add it again"
            self.refuse("was given up: the database had said nothing for too long", action, detail=after)
        if failure and not self._connected:
            action = "check the database's address, that it is reached from here, and the user's rights"
            self.refuse("was not answered: there is no connection to the database", action, detail=f" ({failure[0]})")
        if failure:
            after = f" after row {self._rows}" if self._rows else ""
            self.refuse("was not answered to its end", failure[1], detail=f"{after} ({failure[0]})")

    def _run(self, file: BinaryIO, tell: Part) -> None:
        sealer = Sealer(file, "of the query", self._key)
        engine = create_engine(self._url, poolclass=NullPool, connect_args=self._settings())
        options = {
            "stream_results": True,
            "max_row_buffer": FETCH_ROWS,
            "no_parameters": True,
            "postgresql_readonly": True,
        }
        if self._is_libpq:
            event.listen(engine, "connect", lambda made, _: self._patience.watch(made.fileno()), insert=True)
        with self._connect(engine).execution_options(**options) as connection:
            self._connected = True
            with self._patience.lasting(self._answer_timeout_s):
                result = connection.exec_driver_sql(self._query)
            if not result.returns_rows:
                self.refuse("gives no rows", "write a SELECT")
            self._names = list(result.keys())
            if len(set(self._names)) != len(self._names):
                self.refuse("gives two columns of one name", "name them apart with AS")
            self._cells = [_Cells() for _ in self._names]
            schema = pa.schema([(name, pa.string()) for name in self._names])
            with pa.ipc.new_stream(pa.PythonFile(sealer, mode="w"), schema) as stream:
                for rows in self._partitions(result):
                    stream.write_batch(self._batch(rows, schema))
                    self._rows += len(rows)
                    tell(None)  # how many there will be nobody knows
        engine.dispose()
        self._digests = sealer.finish()
        file.flush()

    @property
    def _is_libpq(self) -> bool:
        return self._url.get_driver_name() in LIBPQ_DRIVERS

    def _connect(self, engine: Engine) -> Connection:
        """Beside what the driver waits: SQLAlchemy asks some questions of its own before a query."""
        with self._patience.lasting(2 * self._connect_timeout_s):
            return engine.connect()

    def _partitions(self, result: CursorResult[Any]) -> Iterator[Sequence[Any]]:
        partitions = result.partitions(FETCH_ROWS)
        while True:
            with self._patience.lasting(self._answer_timeout_s):
                rows = next(partitions, None)
            if rows is None:
                return
            yield rows

    def _settings(self) -> dict[str, int]:
        """How long a silent server is waited for, where the driver can be told, and the URL does not say."""
        if not self._is_libpq:
            return {}
        wanted = {"connect_timeout": self._connect_timeout_s, **KEPT_ALIVE}
        return {name: value for name, value in wanted.items() if name not in self._url.query}

    def _batch(self, rows: Sequence[Any], schema: pa.Schema) -> pa.RecordBatch:
        columns = [
            pa.array([self._cell(row[number], number, offset) for offset, row in enumerate(rows)], pa.string())
            for number in range(len(self._names))
        ]
        return pa.record_batch(columns, schema=schema)

    def _cell(self, value: Any, number: int, offset: int) -> str | None:
        if value is None:
            return None
        cells = self._cells[number]
        if isinstance(value, NUMBERS):
            cells.numbers += 1
            return _digits(value)
        if not isinstance(value, TEXTS):
            what = "has values that are not numbers, text or dates"
            self._refuse_cell(what, "convert them in the query, or leave it out", number, offset)
        cells.first_text = cells.first_text if cells.texts else self._rows + offset
        cells.texts += 1
        text = value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)
        return self._text(text, number, offset)

    def _text(self, text: str, number: int, offset: int) -> str:
        if len(text) > MAX_CELL_CHARACTERS:
            what = f"has a value longer than {MAX_CELL_CHARACTERS} characters"
            self._refuse_cell(what, "leave the column out", number, offset)
        if not _is_unicode(text):
            self._refuse_cell("has text that is not Unicode", "correct it at the source", number, offset)
        return text

    def _refuse_cell(self, what: str, action: str, number: int, offset: int) -> NoReturn:
        self.refuse_rows(what, action, column=self._names[number], rows=1, first=self._rows + offset)


@dataclass
class _Cells:
    """What a column's cells were, as the driver gave them."""

    numbers: int = 0
    texts: int = 0
    first_text: int = 0


def _digits(value: float | decimal.Decimal) -> str:
    """A number so that reading it back gives every bit."""
    if isinstance(value, float):
        return float.__repr__(value)  # a subclass may write itself otherwise
    return str(value) if isinstance(value, decimal.Decimal) else str(int(value))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # not passed on: it holds the cell
        return False
    return True


def database_url(text: str) -> URL:
    """Raises: SettingsError, which does not repeat it, if it is no SQLAlchemy URL or its driver is not installed."""
    what, action = "the driver that the database's URL names is not installed", "install it beside privity"
    try:
        url = make_url(text.strip())
        url.get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError, ValueError):
        what = "the database's URL is none"
        action = "write it as postgresql+psycopg://USER@HOST/DATABASE or sqlite:///FILE"
    except ImportError:
        pass
    else:
        return url
    raise SettingsError(what, action=action)  # with no cause: that could quote it


def url_from_environment(name: str) -> URL:
    """Raises: SettingsError if the variable is not set, or as `database_url`."""
    if not (text := os.environ.get(name)):
        raise SettingsError(f"the environment has no {name[:64]}", action="set it to the database's URL")
    return database_url(text)


def url_from_file(path: Path) -> URL:
    """Raises: SettingsError if the file is missing or others may read it, or as `database_url`."""
    try:
        check_private(path, path.stat())
        return database_url(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise SettingsError(f"{path} can't be read: {exc.strerror}", action="check the path and its rights") from exc
    except UnicodeDecodeError:
        pass
    raise SettingsError(f"{path} holds no URL", action="write the database's URL into it, on one line")


def url_from_argument(text: str) -> URL:
    """Raises: SettingsError if it has a password, which everybody on the machine could read, or as `database_url`."""
    url = database_url(text)
    if url.password is not None or any("pass" in key.lower() for key in url.query):
        raise SettingsError(
            "a URL with a password does not belong on the command line",
            action="put it into a file of your own (--url-file), or the environment (--url-env)",
        )
    return url


def _said(exc: Exception) -> tuple[str, str]:
    """What went wrong, in words that can hold no value, and what to do."""
    origin = getattr(exc, "orig", None) or exc
    state = getattr(origin, "sqlstate", None)
    code = f", SQLSTATE {state}" if isinstance(state, str) and re.match(SQLSTATE, state) else ""
    return f"{type(origin).__name__}{code}", "try the query in the database's own client, then add it again"
