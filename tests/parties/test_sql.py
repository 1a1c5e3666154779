"""Queries as sources: SQLite and a real PostgreSQL server, and what becomes of a password."""

from __future__ import annotations

import gc
import os
import socket
import sqlite3
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, make_url, text
from sqlalchemy.engine import Engine

from parties.data.intake import take_in
from parties.data.tables import Table
from parties.data.vault import Vault
from parties.data.vault_key import MasterKey
from parties.errors import DataError, SettingsError
from parties.keys.tls import utc_now
from parties.sources import Notes, sql
from parties.sources.sql import SqlQuery
from parties.sources.survey import read_whole, survey
from tests.parties.databases import Server, postgresql

# psycopg warns of a cursor that it could not close because its transaction had failed, or its server was gone.
pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Such cursors are gone when their test ends."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgresql() as running:
        yield running


@pytest.fixture
def lite(tmp_path) -> str:
    """A SQLite database with a few tables."""
    with sqlite3.connect(tmp_path / "clinic.db") as db:
        db.execute("CREATE TABLE t (id TEXT, age INTEGER, dose REAL, sex TEXT, born TEXT)")
        rows = [("b", 41, 0.1, "f", None), ("a", None, 2.5e-7, " m ", "1990-02-03"), ("ä", 9, -3.0, "f", "")]
        db.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows)
    db.close()
    return f"sqlite:///{tmp_path / 'clinic.db'}"


def query(url: str, asked: str, spool: Path) -> SqlQuery:
    return SqlQuery(make_url(url), asked, spool)


def table(url: str, asked: str, spool: Path) -> Table:
    source = query(url, asked, spool)
    try:
        return read_whole(source, "id", Notes(), "x")
    finally:
        source.close()


def test_sqlite_rows_come_typed_and_sorted(lite, tmp_path):
    """Numbers are numbers, text is trimmed text, NULL and blank are missing; numbers keep every bit."""
    found = table(lite, "SELECT id, age, dose, sex, born FROM t WHERE id LIKE '%' OR id = ':x'", tmp_path)
    assert found.ids == ["a", "b", "ä"]
    assert [(c.name, c.kind, c.complete) for c in found.columns] == [
        ("age", "number", False),
        ("dose", "number", True),
        ("sex", "category", True),
        ("born", "text", False),
    ]
    assert found.arrow["dose"].to_pylist() == [2.5e-7, 0.1, -3.0]
    assert found.arrow["sex"].to_pylist() == ["m", "f", "f"]


def test_postgresql_types(server, tmp_path):
    """Numerics, integers, booleans, dates, UUIDs and text of a real server come as numbers or text."""
    asked = """
        SELECT 'p' || n AS id, n AS whole, n::numeric / 3 AS part, n > 1 AS flag, date '2026-01-01' + n AS day,
            '00000000-0000-0000-0000-00000000000a'::uuid AS key, 1e300::float8 / (2e299 * n) AS ratio,
            CASE WHEN n = 2 THEN NULL ELSE '100%' END AS note
        FROM generate_series(1, 3) AS n
    """
    found = table(server.url, asked, tmp_path)
    kinds = {column.name: column.kind for column in found.columns}
    assert kinds == {
        "whole": "number",
        "part": "number",
        "flag": "number",
        "day": "category",
        "key": "text",
        "ratio": "number",
        "note": "text",
    }
    assert found.arrow["flag"].to_pylist() == [0, 1, 1]
    assert found.arrow["day"].to_pylist() == ["2026-01-02", "2026-01-03", "2026-01-04"]
    assert found.arrow["part"].to_pylist()[0] == pytest.approx(1 / 3)
    assert found.arrow["note"].to_pylist() == ["100%", None, "100%"]


def test_rows_are_fetched_in_portions(server, tmp_path):
    """A result of many portions is complete; the query runs once, and its rows lie sealed in a nameless file."""
    source = query(server.url, "SELECT n::text AS id, n, random() AS x FROM generate_series(1, 25000) AS n", tmp_path)
    found = survey(source, "id", Notes())
    assert found.rows == 25_000
    first, second = (sum(batch["x"].to_pylist()[0] for batch in found.batches()) for _ in range(2))
    assert first == second
    assert list(tmp_path.iterdir()) == []
    source.close()


def test_a_query_is_told_from_its_start(lite, tmp_path):
    """Before the database is asked, and with every portion of rows; how many there are is known afterwards only."""
    told = []
    asked = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT 'p' || i AS id FROM n"
    )

    class Asked(SqlQuery):
        def _run(self, file, tell):
            assert told == [("reading", None)]
            super()._run(file, tell)

    source = Asked(make_url(lite), asked, tmp_path)
    survey(source, "id", Notes(), lambda *said: told.append(said))
    source.close()
    assert told[:4] == [("reading", None)] * 4
    assert [part for doing, part in told if doing == "checking"][-1] == 1


def test_the_spool_is_sealed(lite, tmp_path):
    """Of the query's rows no cell can be read in the file where they lie, and the file is not short of them."""
    words = [f"sekrit-{number:04d}" for number in range(500)]
    with sqlite3.connect(tmp_path / "clinic.db") as db:
        db.executemany("INSERT INTO t VALUES (?, 31415926, 2.718281828, ?, NULL)", ((word, word) for word in words))
    db.close()
    source = query(lite, "SELECT id, age, dose, sex FROM t WHERE sex LIKE 'sekrit%'", tmp_path)
    found = survey(source, "id", Notes())
    spool = source._file
    spool.seek(0)
    content = spool.read()
    assert len(content) > sum(map(len, words)) * 2
    for needle in ("sekrit", "31415926", "2.71828", "ARROW", "dose"):
        for form in (needle.encode(), needle.encode("utf-16-le"), needle[::-1].encode()):
            assert form not in content
    assert struct.pack("<d", 31415926) not in content
    assert sorted(found.source.columns()) == ["age", "dose", "id", "sex"]
    assert [each for batch in found.batches() for each in batch["id"].to_pylist()] == words  # and it opens
    source.close()


def test_the_transaction_is_read_only_and_rolled_back(server, lite, tmp_path):
    """A query that would change something changes nothing."""
    engine = create_engine(server.url)
    with engine.begin() as connection:
        connection.execute(text("CREATE SEQUENCE counter"))
    engine.dispose()
    with pytest.raises(DataError, match="SQLSTATE 25006"):
        table(server.url, "SELECT nextval('counter')::text AS id", tmp_path)
    assert table(lite, "DELETE FROM t WHERE id = 'b' RETURNING id", tmp_path).ids == ["b"]
    assert table(lite, "SELECT id FROM t", tmp_path).rows == 3


BAD_QUERIES = {
    "a query that is none": ("SELEKT sekrit", "was not answered to its end"),
    "a table that is not there": ("SELECT * FROM sekrit", "was not answered to its end"),
    "no rows at all": ("SELECT id, age FROM t WHERE age > 1000", "has a header but no rows"),
    "nothing selected": ("CREATE TABLE sekrit (id)", "gives no rows"),
    "no id": ("SELECT age, dose FROM t", "has no id column 'id'"),
    "two columns of one name": ("SELECT id, age, dose AS age FROM t", "gives two columns of one name"),
    "empty ids": ("SELECT NULLIF(id, 'a') AS id, age FROM t", "has empty ids (row 2)"),
    "repeated ids": ("SELECT 'sekrit' AS id, age FROM t", "ids that occurred before (2 rows, the first is row 2)"),
    "bytes": ("SELECT id, x'736563726574' AS b FROM t", "not numbers, text or dates (row 1)"),
    "infinity": ("SELECT id, 9e999 AS x FROM t", "not finite numbers up to 1e+30 (3 rows, the first is row 1)"),
    "too large": ("SELECT id, 1e300 AS x FROM t", "not finite numbers"),
    "text among numbers": (
        "SELECT id, CASE id WHEN 'a' THEN 'sekrit' ELSE 5 END AS x FROM t",
        "has text among numbers (row 2)",
    ),
    "a NUL character": ("SELECT id, 'sek' || char(0) || 'rit' AS x FROM t", "has a NUL byte inside a value"),
    "text that is none": ("SELECT id, CAST(x'ff73656b726974' AS TEXT) AS x FROM t", "was not answered to its end"),
    "a cell without end": ("SELECT id, printf('%.*c', 2000000, 'x') AS x FROM t", "has a value longer than"),
    "ids of one form": (
        "SELECT char(228) AS id, 1 AS x UNION ALL SELECT 'a' || char(776), 2",
        "differ only in their Unicode form (row 2)",
    ),
}


@pytest.mark.parametrize("case", BAD_QUERIES)
def test_a_bad_query_is_refused_in_one_line(lite, tmp_path, case):
    """What a query can't be is said in one line, which quotes neither query, rows nor what the driver says."""
    asked, says = BAD_QUERIES[case]
    with pytest.raises(DataError) as caught:
        table(lite, asked, tmp_path)
    message = str(caught.value)
    assert says in message
    assert message.startswith("the query")
    assert "\n" not in message
    assert caught.value.action
    error: BaseException | None = caught.value
    while error is not None:
        assert "sekrit" not in repr(error.args)
        error = error.__cause__ or error.__context__


def test_a_server_that_goes_away_leaves_one_line(tmp_path):
    """A server that dies between two portions of rows is an error that says after which row; nothing is kept."""
    with postgresql() as dying:
        asked = "SELECT n::text AS id, repeat('x', 1000) AS wide FROM generate_series(1, 2000000) AS n"

        class Doomed(SqlQuery):
            def _cell(self, value, number, offset):
                if self._rows == 4000 and offset == number == 0:
                    dying.stop()
                return super()._cell(value, number, offset)

        vault = Vault(tmp_path / "vault", MasterKey.generate())
        vault.check_key()
        before, recorded = list((tmp_path / "vault").iterdir()), []
        source = Doomed(make_url(dying.url), asked, tmp_path / "vault")
        with pytest.raises(
            DataError, match=r"was not answered to its end after row \d+ \(\w+(, SQLSTATE \w{5})?\)"
        ) as caught:
            take_in(vault, "a", source, "id", created=utc_now(), record=lambda **entry: recorded.append(entry))
        assert str(dying.directory) not in str(caught.value)
        assert list((tmp_path / "vault").iterdir()) == before
        assert recorded == []


def test_a_server_that_is_not_there(tmp_path):
    """No connection: one line without the URL's password."""
    with pytest.raises(DataError, match="was not answered") as caught:
        table(f"postgresql+psycopg://user:sekrit@/db?host={tmp_path}", "SELECT 1 AS id", tmp_path)
    error: BaseException | None = caught.value
    while error is not None:
        assert "sekrit" not in repr(error)
        error = error.__cause__ or error.__context__


def test_a_server_that_says_nothing_is_given_up(tmp_path):
    """It takes the connection and never answers: one line, without the URL's password."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://user:sekrit@127.0.0.1:{silent.getsockname()[1]}/db?sslmode=disable"
        source = SqlQuery(make_url(url), "SELECT 1 AS id", tmp_path, connect_timeout_s=2)
        with pytest.raises(DataError, match=r"there is no connection to the database \(ConnectionTimeout\)") as caught:
            survey(source, "id", Notes())
        source.close()
    assert "sekrit" not in repr(caught.value)
    assert "check the database's address" in caught.value.action


SLOW = """\
SELECT n::text AS id, CASE WHEN n < LAST THEN '' ELSE pg_sleep(60)::text END AS x FROM generate_series(1, 4000) AS n"""


class Welcoming(threading.Thread):
    """A server of PostgreSQL's protocol that takes a connection and then answers nothing any more."""

    def __init__(self) -> None:
        super().__init__()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]

    def run(self) -> None:
        with self._listening, self._listening.accept()[0] as one:
            one.recv(4096)  # who is there, and what it wants
            version = b"server_version\x0015.0\x00"
            encoding = b"client_encoding\x00UTF8\x00"
            one.sendall(b"R" + struct.pack("!II", 8, 0))
            for setting in (version, encoding):
                one.sendall(b"S" + struct.pack("!I", 4 + len(setting)) + setting)
            one.sendall(b"K" + struct.pack("!III", 12, 1, 1) + b"Z" + struct.pack("!I", 5) + b"I")
            while one.recv(4096):  # until the other side is gone
                pass


def test_a_server_that_hangs_after_connecting_is_given_up(tmp_path):
    """It said who it is and then nothing more: one line, in time."""
    server = Welcoming()
    server.start()
    url = f"postgresql+psycopg://user:sekrit@127.0.0.1:{server.port}/db?sslmode=disable&gssencmode=disable"
    source = SqlQuery(make_url(url), "SELECT 1 AS id", tmp_path, connect_timeout_s=2)
    with pytest.raises(DataError, match="the query was given up: the database had said nothing for too long") as caught:
        survey(source, "id", Notes())
    source.close()
    server.join(60)
    assert not server.is_alive()
    assert "sekrit" not in repr(caught.value)
    assert "load and locks and add it again" in caught.value.action


@pytest.mark.parametrize(
    ("last", "after"),
    [(1, "too long;"), (3000, "too long after row 2000;")],
    ids=["at the first row", "between rows"],
)
def test_a_query_that_says_nothing_more_is_given_up(server, tmp_path, last, after):
    """At its first row and later; the vault is as it was, and a query that goes on in time is not touched."""
    vault = Vault(tmp_path / "vault", MasterKey.generate())
    vault.check_key()
    before = list((tmp_path / "vault").iterdir())
    source = SqlQuery(make_url(server.url), SLOW.replace("LAST", str(last)), tmp_path / "vault", answer_timeout_s=2)
    began = time.monotonic()
    with pytest.raises(DataError, match=rf"had said nothing for {after} .* or allow more time \(--timeout\)"):
        take_in(vault, "a", source, "id", created=utc_now(), record=lambda **_: None)
    source.close()
    assert time.monotonic() - began < 30
    assert list((tmp_path / "vault").iterdir()) == before
    patient = SqlQuery(make_url(server.url), "SELECT '1' AS id, 'a' AS x", tmp_path / "vault", answer_timeout_s=2)
    assert patient.columns() == ["id", "x"]
    patient.close()


def test_a_silent_connection_is_given_up_and_the_url_has_the_last_word(server, tmp_path):
    """The settings of libpq that end a connection to a machine that is gone, as the driver has them."""
    found = {}

    class Looking(SqlQuery):
        def _run(self, file, tell):
            def note(*facts):
                found.update(facts[-1])

            event.listen(Engine, "do_connect", note)
            try:
                super()._run(file, tell)
            finally:
                event.remove(Engine, "do_connect", note)

    source = Looking(make_url(f"{server.url}&keepalives_idle=7"), "SELECT '1' AS id", tmp_path)
    assert source.columns() == ["id"]
    source.close()
    assert (found["connect_timeout"], found["keepalives"], found["tcp_user_timeout"]) == (30, 1, 120_000)
    assert str(found["keepalives_idle"]) == "7"


def test_urls_come_from_files_and_the_environment(tmp_path, monkeypatch):
    """A file of one's own or a variable gives a URL, password included; printing it hides that."""
    file = tmp_path / "url"
    file.write_text("postgresql+psycopg://user:sekrit@host/db\n")
    with pytest.raises(SettingsError, match="readable by others; run: chmod 600"):
        sql.url_from_file(file)
    file.chmod(0o600)
    assert sql.url_from_file(file).password == "sekrit"
    assert "sekrit" not in repr(sql.url_from_file(file))
    monkeypatch.setenv("CLINIC", "sqlite://")
    assert sql.url_from_environment("CLINIC").drivername == "sqlite"
    with pytest.raises(SettingsError, match="has no NOWHERE"):
        sql.url_from_environment("NOWHERE")


BAD_URLS = ["", "sekrit", "postgresql+psycopg://u:sekrit@h:port/db", "sekrit://u:p@h/db", "oracle://u:sekrit@h/db"]


@pytest.mark.parametrize("url", BAD_URLS)
def test_what_is_no_url_is_not_repeated(tmp_path, url):
    """A URL that is none, or whose driver is missing, is refused without a word of it."""
    file = tmp_path / "url"
    file.write_text(url)
    file.chmod(0o600)
    with pytest.raises(SettingsError) as caught:
        sql.url_from_file(file)
    error: BaseException | None = caught.value
    while error is not None:
        assert "sekrit" not in repr(error.args)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("url", ["postgresql+psycopg://u:sekrit@h/db", "postgresql+psycopg://u@h/db?password=sekrit"])
def test_a_password_is_not_taken_from_the_command_line(url):
    """Everybody on the machine can read arguments."""
    with pytest.raises(SettingsError, match="does not belong on the command line") as caught:
        sql.url_from_argument(url)
    assert "sekrit" not in str(caught.value)
    assert sql.url_from_argument(f"sqlite:///{os.devnull}").drivername == "sqlite"
