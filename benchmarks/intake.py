"""How much memory and time `privity data add` takes.

Writes tables of random numbers as CSV, Parquet, Arrow IPC, SQLite and PostgreSQL, and has the real command take in
each, then verify it. A PostgreSQL server of its own runs for that, in this machine's temporary place. With `--keep` a
process then does what a node does after a matching that found every row, and when a session on them begins: it keeps
them as a data set under shared ids, and digests of their former ids. Peak memory is the resident set's of the measured
process alone.

    python -m benchmarks.intake [--rows N] [--columns N] [--kinds "csv postgresql"] [--keep] [--dir DIR]
"""

from __future__ import annotations

import argparse
import json
import secrets
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from sqlalchemy import create_engine

from benchmarks.measuring import usage
from parties.audit.log import AuditLog
from parties.data.matched import MatchedSets
from parties.data.matched_rows import Found, MatchedRows
from parties.data.records import Records
from parties.keys.tls import Invitation, utc_now
from parties.process.job import FoundRows
from parties.process.match_worker import STRIP_RECORDS
from parties.service.desk import vault_of
from parties.service.home import Home, init
from tests.parties.databases import BINARIES, postgresql

BATCH = 20_000
QUERY = ("--query", "SELECT * FROM t")
COMMAND = """
import atexit, json
from benchmarks.measuring import usage
from gateway.cli import main
atexit.register(lambda: print(json.dumps(usage())))
main()
"""
CALLED = "import sys; from pathlib import Path; from benchmarks.intake import {0}; {0}(Path(sys.argv[1]), sys.argv[2])"


def batches(rows: int, columns: int) -> Iterator[pa.Table]:
    rng = np.random.default_rng(1)
    for start in range(0, rows, BATCH):
        count = min(BATCH, rows - start)
        ids = [f"{(start + i) * 2654435761 % (1 << 32):010d}" for i in range(count)]
        yield pa.table({"id": ids, **{f"x{j}": rng.normal(size=count) for j in range(columns)}})


def write(directory: Path, rows: int, columns: int, kinds: list[str]) -> dict[str, list[str]]:
    """The command's words for each kind of source."""
    schema = next(batches(1, columns)).schema
    words: dict[str, list[str]] = {}
    if "csv" in kinds:
        with pacsv.CSVWriter(directory / "t.csv", schema) as out:
            for table in batches(rows, columns):
                out.write_table(table)
        words["csv"] = [str(directory / "t.csv")]
    if "parquet" in kinds:
        with pq.ParquetWriter(directory / "t.parquet", schema) as out:
            for table in batches(rows, columns):
                out.write_table(table)
        words["parquet"] = [str(directory / "t.parquet")]
    if "arrow" in kinds:
        with pa.ipc.new_file(str(directory / "t.arrow"), schema) as out:
            for table in batches(rows, columns):
                out.write_table(table)
        words["arrow"] = [str(directory / "t.arrow")]
    if "sqlite" in kinds:
        with sqlite3.connect(directory / "t.db") as db:
            db.execute(f"CREATE TABLE t ({', '.join(schema.names)})")
            marks = ", ".join("?" * len(schema.names))
            for table in batches(rows, columns):
                db.executemany(f"INSERT INTO t VALUES ({marks})", zip(*table.to_pydict().values(), strict=True))  # noqa: S608
        words["sqlite"] = [*QUERY, "--url", f"sqlite:///{directory / 't.db'}"]
    return words


@contextmanager
def served(rows: int, columns: int) -> Iterator[list[str]]:
    """The command's words for the table in a PostgreSQL server, while it runs."""
    with postgresql() as server, create_engine(server.url).connect() as connection:
        names = next(batches(1, columns)).schema.names
        kinds = ", ".join(f"{name} {'double precision' if place else 'text'}" for place, name in enumerate(names))
        connection.exec_driver_sql(f"CREATE TABLE t ({kinds})")
        with connection.connection.cursor() as cursor, cursor.copy("COPY t FROM STDIN") as copy:
            for table in batches(rows, columns):
                for row in zip(*table.to_pydict().values(), strict=True):
                    copy.write_row(row)
        connection.commit()
        yield [*QUERY, "--url", server.url]


def keep(home: Path, name: str) -> None:
    """Keep all rows of a data set as if a matching had found them, in an order that nobody knows."""
    vault, kept = vault_of(Home(home)), f"{name}-matched"
    source, found = vault.manifest(name), Found()
    order = np.random.default_rng(2).permutation(source.table.rows)
    for start in range(0, len(order), STRIP_RECORDS):
        rows = tuple(order[start : start + STRIP_RECORDS].tolist())
        found.add(FoundRows(rows=rows, ids=tuple(secrets.token_hex(16) for _ in rows)))
    content = MatchedRows(source, lambda columns: vault.batches(source, columns), found)
    vault.add(kept, content, created=utc_now())
    print(json.dumps(usage()))


def digest(home: Path, name: str) -> None:
    """Keep digests of what a data set's records are called, as before a session on them."""
    vault, records = vault_of(Home(home)), Records(home / "records", Home(home).master_key())
    with AuditLog.open(home / "audit.sqlite", Home(home).identity, "bench") as journal:
        records.keep(secrets.token_hex(32), MatchedSets("bench", vault, journal).own_names(name), utc_now())
    print(json.dumps(usage()))


def measure(*words: str, command: str = COMMAND) -> tuple[float, float]:
    """Seconds and peak MB of a command that must succeed."""
    started = time.monotonic()
    found = subprocess.run([sys.executable, "-c", command, *words], stdout=subprocess.PIPE, text=True, check=True)
    return time.monotonic() - started, json.loads(found.stdout.splitlines()[-1])["peak_rss_mb"]


def take(home: Path, kind: str, words: list[str], rows: int, *, keeps: bool) -> None:
    """Add a data set, verify it, keep it as matched, and say what each took."""
    seconds, peak = measure("data", "add", kind, *words, "--id", "id", "--home", str(home))
    print(f"add from {kind}: {seconds:.0f} s, {rows / seconds:.0f} rows/s, peak {peak:.0f} MB")
    seconds, peak = measure("data", "verify", kind, "--home", str(home))
    print(f"verify: {seconds:.0f} s, peak {peak:.0f} MB", flush=True)
    for function in ("keep", "digest") if keeps else ():
        seconds, peak = measure(str(home), kind, command=CALLED.format(function))
        print(f"{function}: {seconds:.0f} s, peak {peak:.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--kinds", default="csv parquet arrow sqlite postgresql")
    parser.add_argument("--keep", action="store_true", help="keep the rows as if a matching had found them all")
    parser.add_argument("--dir", default=None, help="where there is room for the tables; default: a temporary place")
    chosen = parser.parse_args()
    kinds = chosen.kinds.split()
    if "postgresql" in kinds and not BINARIES:
        parser.error("no PostgreSQL server is installed; leave it out of --kinds")
    with tempfile.TemporaryDirectory(dir=chosen.dir) as place:
        directory = Path(place)
        home = directory / "home"
        init(home, "party", Invitation.create("bench", "127.0.0.1:1", "ab" * 32).token(), "127.0.0.1:0", utc_now())
        AuditLog.open(home / "audit.sqlite", Home(home).identity, "bench").close()
        print(f"{chosen.rows} rows, {chosen.columns} columns of numbers and an id")
        for kind, words in write(directory, chosen.rows, chosen.columns, kinds).items():
            take(home, kind, words, chosen.rows, keeps=chosen.keep)
        if "postgresql" in kinds:
            with served(chosen.rows, chosen.columns) as words:
                take(home, "postgresql", words, chosen.rows, keeps=chosen.keep)


if __name__ == "__main__":
    main()
