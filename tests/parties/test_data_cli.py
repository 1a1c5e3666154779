"""`privity data`, as an operator runs it: what goes in, what is shown, and that nothing bad leaves a trace."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parties.audit.log import AuditLog
from parties.audit.snapshot import locate, take
from parties.keys.tls import Invitation, utc_now
from parties.service.home import init
from tests.parties.databases import postgresql
from tests.parties.test_cli import ROOT, done, privity

DEADLINE_S = 60
SECRET = 31415.926


@pytest.fixture
def home(tmp_path) -> Path:
    """A node's home that no daemon serves, with its log."""
    token = Invitation.create("clinic-a", "127.0.0.1:1", "ab" * 32).token()
    made = init(tmp_path / "home", "party", token, "127.0.0.1:0", utc_now())
    AuditLog.open(made.path("audit.sqlite"), made.identity, "clinic-a").close()
    return made.directory


@pytest.fixture
def database(tmp_path) -> Path:
    with sqlite3.connect(tmp_path / "clinic.db") as db:
        db.execute("CREATE TABLE t (id TEXT, marker REAL)")
        db.executemany("INSERT INTO t VALUES (?, ?)", [("anna-xyzzy", SECRET), ("bert-xyzzy", 2.5)])
    db.close()
    return tmp_path / "clinic.db"


def add_rows(home: Path, database: Path) -> None:
    """The table's rows as the data set "one"."""
    query = ("--query", "SELECT * FROM t", "--id", "id", "--url", f"sqlite:///{database}")
    done("data", "add", "one", *query, "--home", home)


def state(home: Path) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Every file of the vault, and the log's entries."""
    files = {path.name: path.read_bytes() for path in (home / "vault").glob("*") if path.name != "key-check"}
    return files, [entry.envelope() for entry in take(locate(home / "audit.sqlite")).entries()]


def test_from_a_file_of_columns_with_a_schema_file(home, tmp_path):
    """Parquet in, a profile out; description and unit are shown and published, the profile is not."""
    pq.write_table(
        pa.table({"id": ["a", "b", "c"], "age": [31.25, 40, 50], "note": ["x", "y", "z"]}), tmp_path / "t.parquet"
    )
    (tmp_path / "s.toml").write_text(
        'leave_out = ["note"]\n[columns.age]\nunit = "years"\ndescription = "at admission"\n'
    )
    words = (
        "data",
        "add",
        "cohort",
        tmp_path / "t.parquet",
        "--id",
        "id",
        "--schema",
        tmp_path / "s.toml",
        "--home",
        home,
    )
    shown = done(*words, "--profile")
    assert "cohort: 3 rows, 1 numeric columns, 0 others, not shared" in shown
    assert "31.25" in shown
    shown = done("data", "show", "cohort", "--home", home).splitlines()
    assert shown[0] == "age  number in years; at admission"
    (listed,) = json.loads(done("data", "list", "--home", home, "--json"))
    assert shown[1:] == [f"as contracts call this schema: {listed['schema_sha256']}"]
    for listed in (done("data", "list", "--home", home, "--json"), done("audit", "list", "--home", home, "--json")):
        assert "31.25" not in listed


def test_from_a_database_named_in_a_file_or_the_environment(home, tmp_path, database):
    """A query's rows go in by either way; the password's place is never the command line."""
    (tmp_path / "url").write_text(f"sqlite:///{database}")
    (tmp_path / "url").chmod(0o600)
    query = ("--query", "SELECT * FROM t", "--id", "id", "--home", home)
    done("data", "add", "one", *query, "--url-file", tmp_path / "url")
    found = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "data", "add", "two", *map(str, query)],
        env=os.environ | {"PRIVITY_SQL_URL": f"sqlite:///{database}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert found.stderr == ""
    done("data", "add", "three", *query, "--url", f"sqlite:///{database}")
    assert done("data", "verify", "--home", home) == "one is intact\nthree is intact\ntwo is intact\n"
    (file,) = (home / "vault").glob("two.*.data")
    content = file.read_bytes()
    file.write_bytes(content[:99] + bytes([content[99] ^ 4]) + content[100:])
    assert done("data", "verify", "one", "--home", home) == "one is intact\n"
    damaged = privity("data", "verify", "--home", home)
    assert damaged.returncode == 1
    assert "data set two was altered" in damaged.stderr
    refused = privity("data", "add", "four", *query, "--url", "postgresql+psycopg://u:sekrit@h/d")
    assert refused.returncode == 1
    assert "does not belong on the command line" in refused.stderr
    assert "sekrit" not in refused.stderr


def test_no_plaintext_is_on_the_disk(home, database):
    """No value or id is in any file of the home, neither during nor after a query's rows were taken in."""
    add_rows(home, database)
    needles = [b"xyzzy", struct.pack("<d", SECRET), str(SECRET).encode()]
    assert sum(needle in database.read_bytes() + struct.pack("<d", SECRET) + b"31415.926" for needle in needles) == 3
    for path in home.rglob("*"):
        if path.is_file():
            assert not [needle for needle in needles if needle in path.read_bytes()]


BAD = {
    "a broken quotation mark": ("b.csv", b'id,x\na,"1\nb,2\nc,3\n', "line 2"),
    "two encodings": ("b.csv", "id,x\nä,1\n".encode() + b"b\xe9,2\n", "line 3"),
    "a NUL byte": ("b.csv", b"id,x\na,1\nb,\x002\n", "line 3"),
    "ragged rows": ("b.csv", b"id,x\na,1\nb,2,3\n", "line 3"),
    "NaN": ("b.csv", b"id,x\na,1\nb,NaN\n", "line 3"),
    "infinity": ("b.csv", b"id,x\na,inf\nb,1\n", "line 2"),
    "1e300": ("b.csv", b"id,x\na,1\nb,1e300\n", "line 3"),
    "one id in two forms": ("b.csv", "id,x\no\u0308,1\nö,2\n".encode(), "line 3"),
    "a Parquet file that is none": ("b.parquet", b"PAR1" * 9, "b.parquet"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_leaves_vault_and_log_as_they_were(home, tmp_path, case):
    """One line with the place and what to do; no file, no entry."""
    name, content, says = BAD[case]
    (tmp_path / name).write_bytes(content)
    before = state(home)
    found = privity("data", "add", "bad", tmp_path / name, "--id", "id", "--home", home)
    assert (found.returncode, found.stdout) == (1, "")
    (line,) = found.stderr.splitlines()
    assert says in line
    assert "; " in line
    assert state(home) == before


def test_a_line_of_two_gibibytes_leaves_vault_and_log_as_they_were(home, tmp_path):
    """Nothing of it is read beyond what a line may have: it is said at once, whatever stands in it."""
    before = state(home)
    for begin, says in ((b"", "a NUL byte"), (b"9" * (1 << 20), "a line longer than 1048576 bytes")):
        with (tmp_path / "long.csv").open("wb") as file:
            file.write(b"id,x\na," + begin)
            file.truncate(2 << 30)  # a hole that takes no disk
        found = privity("data", "add", "bad", tmp_path / "long.csv", "--id", "id", "--home", home)
        assert (found.returncode, found.stdout) == (1, "")
        (line,) = found.stderr.splitlines()
        assert f"{says} (line 2)" in line
        assert state(home) == before


@pytest.mark.parametrize("gone", ["the server", "the table", "the file"])
def test_a_database_that_went_away_leaves_vault_and_log_as_they_were(home, database, gone):
    """One line without the URL's password; a server that dies between rows is in test_sql.py."""
    url = f"sqlite:///{database}"
    if gone == "the server":
        url = f"postgresql+psycopg://user:sekrit@/db?host={database.parent}"
    elif gone == "the table":
        with sqlite3.connect(database) as db:
            db.execute("DROP TABLE t")
        db.close()
    else:
        database.unlink()
    before = state(home)
    query = ("--query", "SELECT * FROM t", "--id", "id", "--home", home)
    file = database.parent / "url"
    file.write_text(url)
    file.chmod(0o600)
    found = privity("data", "add", "bad", *query, "--url-file", file)
    assert (found.returncode, found.stdout) == (1, "")
    (line,) = found.stderr.splitlines()
    assert "; " in line
    assert "sekrit" not in line
    assert state(home) == before


def test_how_long_a_query_may_say_nothing_is_the_operator_s_choice(home):
    """One that takes longer is given up in a line that says what to change; the vault is as it was."""
    before = state(home)
    slow = "SELECT 'a' AS id, pg_sleep(300)::text AS x"
    with postgresql() as server:
        words = ("--query", slow, "--id", "id", "--url", server.url, "--timeout", "1", "--home", home)
        found = privity("data", "add", "bad", *words)
    assert (found.returncode, found.stdout) == (1, "")
    (line,) = found.stderr.splitlines()
    assert "had said nothing for too long" in line
    assert "allow more time (--timeout)" in line
    assert state(home) == before


@pytest.mark.parametrize("timeout", ["0", "-1", "604801", "soon", "1.5"])
def test_a_timeout_that_is_none_is_refused(home, timeout):
    """Seconds from one to a week."""
    words = ("--query", "SELECT 1 AS id", "--id", "id", "--url", "sqlite://", "--timeout", timeout, "--home", home)
    found = privity("data", "add", "bad", *words)
    assert found.returncode == 2
    assert "--timeout" in found.stderr


BAD_USES = {
    "no source": ((), "a table comes from one place"),
    "two sources": (("x.csv", "--query", "SELECT 1"), "a table comes from one place"),
    "a query without a database": (("--query", "SELECT 1"), "the environment has no PRIVITY_SQL_URL"),
    "a query file that is not there": (("--query-file", "/none.sql", "--url", "sqlite://"), "is no readable query"),
    "a schema file that is not there": (("x.csv", "--schema", "/none.toml"), "/none.toml can't be read"),
}


@pytest.mark.parametrize("case", BAD_USES)
def test_a_use_that_is_none_is_one_line(home, case):
    """What is missing or too much is said before anything is read."""
    words, says = BAD_USES[case]
    found = privity("data", "add", "bad", *words, "--id", "id", "--home", home)
    assert found.returncode == 1
    assert says in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_sharing_deleting_and_rotating_are_recorded(home, database):
    """Each act has its entry; the vault opens under the next key."""
    add_rows(home, database)
    assert done("data", "share", "one", "--home", home) == "one is shared\n"
    assert "one  2 rows, 1 columns, shared" in done("data", "list", "--home", home)
    assert done("data", "share", "one", "--stop", "--home", home) == "one is no longer shared\n"
    key = (home / "vault.key").read_bytes()
    assert "1 data sets and 0 models" in done("data", "rotate", "--home", home)
    assert (home / "vault.key").read_bytes() != key
    assert done("data", "verify", "one", "--home", home) == "one is intact\n"
    assert done("data", "delete", "one", "--home", home) == "one is deleted\n"
    entries = [json.loads(line)["type"] for line in done("audit", "list", "--home", home, "--json").splitlines()]
    assert [entry for entry in entries if entry.startswith("vault:")] == [
        "vault:data:added",
        "vault:data:shared",
        "vault:data:shared",
        "vault:key:rotated",
        "vault:data:removed",
    ]
    assert "no place of a vault key" in privity("data", "rotate", "--to", "kms", "--home", home).stderr
