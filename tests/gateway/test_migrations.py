"""Revisions of the gateway's database: they make the tables of the models, and another revision is told."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect
from typer.testing import CliRunner

from gateway.cli import app
from gateway.home import init
from gateway.storage import migrations
from gateway.storage.database import FILE, connect, connect_file, connect_server, migrate
from gateway.storage.selection import Selection
from gateway.storage.store import Store
from gateway.storage.tables import Base
from parties.audit.log import FILE_NAME as AUDIT_FILE
from parties.audit.log import AuditLog
from parties.data.schema import Column, Schema
from parties.errors import AuditError, SettingsError
from parties.keys.identity import Identity
from parties.service.lifecycle import State
from parties.service.messages import Finished, Progress, PublishedData
from tests.contracts.store_suite import FAULT, PEOPLE, contract
from tests.parties.databases import Server, postgresql

AT, LATER = "2026-11-24T12:00:00.000000+00:00", "2026-11-25T12:00:00.000000+00:00"
TABLE = Schema(name="cohort", rows=1, id_column="id", columns=(Column(name="age", kind="number", complete=True),))
PUBLISHED = PublishedData(table=TABLE, version="ab" * 16)
PROGRESS = Progress(session="0" * 64, iteration=7, of=300, rounds=3, bytes_sent=4)
FINISHED = Finished(session="0" * 64, seconds=1.5, rounds=2, bytes_sent=3)


def about(message: Progress | Finished, session: str) -> str:
    return message.model_copy(update={"session": session}).model_dump_json()


def at_revision(path: Path, revision: str) -> Engine:
    engine = connect_file(path)
    with engine.begin() as connection:
        command.upgrade(migrations._config(connection), revision)
    return engine


def execute(path: Path, *statements: str) -> None:
    engine = connect_file(path)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def test_difference_would_be_found(tmp_path: Path):
    """The comparison that each store's suite makes sees a column and an index that are missing."""
    connect(tmp_path).dispose()
    execute(tmp_path / FILE, "ALTER TABLE participants DROP COLUMN head", "DROP INDEX ix_sessions_newest")
    engine = connect_file(tmp_path / FILE)
    with engine.begin() as connection:
        found = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    engine.dispose()
    assert sorted(str(one[0]) for one in found) == ["add_column", "add_index"]


def test_revisions_are_one_line():
    """Each revision but the first follows another, and no two follow the same."""
    scripts = ScriptDirectory(str(migrations.HERE))
    assert len(scripts.get_heads()) == 1
    followed = [script.down_revision for script in scripts.walk_revisions()]
    assert len(followed) == len(set(followed))
    assert scripts.get_bases() == [migrations.FIRST]


def test_file_of_before_revisions_is_adopted(tmp_path: Path):
    """Such a file is refused at the start with what to do; that done, its rows are there and it opens."""
    init(tmp_path)
    path = tmp_path / FILE
    path.unlink()
    at_revision(path, migrations.FIRST).dispose()
    execute(
        path,
        "DROP TABLE alembic_version",
        "INSERT INTO participants (name, role, authority, invited, recorded)"
        " VALUES ('clinic-a', 'party', 'authority', '2026-11-24T12:00:00.000000+00:00', 1)",
    )
    with pytest.raises(SettingsError, match=r"before there were revisions.*privity gateway migrate"):
        Store.open(tmp_path)
    done = CliRunner().invoke(app, ["gateway", "migrate", "--home", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert f"is of revision '{migrations.newest()}' now; it was of none" in done.output
    with closing(Store.open(tmp_path)) as store, store.transaction() as rows:
        assert [member.name for member in rows.members()] == ["clinic-a"]


def test_migrating_twice_changes_nothing(tmp_path: Path):
    """A database of the newest revision is left as it is, and so it is told."""
    init(tmp_path)
    before = (tmp_path / FILE).read_bytes()
    done = CliRunner().invoke(app, ["gateway", "migrate", "--home", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "is the newest" in done.output
    assert (tmp_path / FILE).read_bytes() == before


def test_newer_database_is_refused(tmp_path: Path):
    """A revision that this version does not know is a newer version's: it neither opens nor migrates."""
    init(tmp_path)
    execute(tmp_path / FILE, "UPDATE alembic_version SET version_num = 'of-tomorrow'")
    with pytest.raises(SettingsError, match="'of-tomorrow', which this version does not know"):
        Store.open(tmp_path)
    done = CliRunner().invoke(app, ["gateway", "migrate", "--home", str(tmp_path)])
    assert isinstance(done.exception, SettingsError)
    assert "of-tomorrow" in str(done.exception)


@pytest.mark.parametrize("statement", ["CREATE TABLE recipes (name TEXT)", "ALTER TABLE sessions DROP COLUMN fault"])
def test_other_database_is_left_alone(tmp_path: Path, statement: str):
    """Tables that were no gateway's, or not all of one, are neither opened nor changed."""
    path = tmp_path / FILE
    at_revision(path, migrations.FIRST).dispose()
    execute(path, "DROP TABLE alembic_version", statement)
    with pytest.raises(SettingsError, match="names no revision"):
        Store.open(tmp_path)
    engine = connect_file(path)
    with pytest.raises(SettingsError, match="names no revision"):
        migrations.migrate(engine, "it")
    with engine.begin() as connection:
        assert migrations.current(connection) is None
    engine.dispose()


def test_running_gateway_is_not_migrated_under(tmp_path: Path):
    """While a gateway runs, its database keeps its revision."""
    init(tmp_path)
    with AuditLog.open(tmp_path / AUDIT_FILE, Identity.load(tmp_path / "identity.pem"), "gateway"):
        done = CliRunner().invoke(app, ["gateway", "migrate", "--home", str(tmp_path)])
    assert isinstance(done.exception, AuditError)


def session_of_before(path: Path, contract: str) -> None:
    """A database of the first revision with a session in it."""
    at_revision(path, migrations.FIRST).dispose()
    with closing(sqlite3.connect(path)) as raw, raw:
        row = ("aa" * 32, "running", "2026-11-24T12:00:00.000000+00:00", "2026-11-25T12:00:00.000000+00:00", contract)
        raw.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, '{}', ?, NULL)", row)


def test_sessions_of_before_are_found(tmp_path: Path):
    """What later revisions keep of a session is filled in for those that there were."""
    made = contract(1).model_copy(update={"kind": "training"})
    session_of_before(tmp_path / FILE, made.canonical().decode())
    migrate(tmp_path)
    with closing(Store.open(tmp_path)) as store, store.reading() as rows:
        for name in PEOPLE:
            (mark,) = rows.marks(Selection(participant=name, kind="training", text=made.purpose[:12]))
            (found,) = rows.records([mark.digest])
            assert (found.contract, found.state, mark.changes) == (made, State.RUNNING, 0)
            assert rows.partners(name) == set(PEOPLE)
        assert rows.marks(Selection(participant="clinic-c")) == []


def test_half_a_migration_is_none(tmp_path: Path):
    """A migration that fails leaves the database as it was."""
    session_of_before(tmp_path / FILE, '{"kind": "training"}')
    with pytest.raises(KeyError, match="parties"):
        migrate(tmp_path)
    engine = connect_file(tmp_path / FILE)
    with engine.begin() as connection:
        assert migrations.current(connection) == migrations.FIRST
        assert "taking_part" not in migrations._tables(connection)
        assert "kind" not in migrations._tables(connection)["sessions"]
    engine.dispose()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A PostgreSQL server of this module's own."""
    with postgresql() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database; empty for the home's own file."""
    if request.param == "sqlite":
        return ""
    running: Server = request.getfixturevalue("server")
    return running.fresh(f"migrated_{tmp_path.name}".lower()[:60])


def test_nothing_of_before_is_lost(tmp_path: Path, database: str):
    """A database with rows in every table of the first revision has them all after the newest, on either kind."""
    trained, cancelled = contract(1), contract(2, other="clinic-c")
    fault = FAULT.model_dump_json()
    first = {
        "participants": [
            ("clinic-a", "party", "authority", AT, True, AT, "ab" * 32, "cd" * 32, "a head\n"),
            ("clinic-b", "party", "é", AT, False, None, None, None, None),
        ],
        "data_sets": [("clinic-a", "cohort", PUBLISHED.model_dump_json())],
        "sessions": [
            (trained.digest, "running", AT, LATER, "{}", trained.canonical().decode(), None),
            (cancelled.digest, "cancelled", LATER, LATER, "{}", cancelled.canonical().decode(), fault),
        ],
        "approvals": [(trained.digest, "clinic-a", '{"payload": "é"}'), (trained.digest, "dealer", "{}")],
        "withdrawals": [(cancelled.digest, "clinic-c", '{"payload": "b"}')],
        "progress": [(trained.digest, "clinic-a", about(PROGRESS, trained.digest))],
        "reports": [(cancelled.digest, "dealer", about(FINISHED, cancelled.digest))],
        "keyed_proposals": [("ee" * 32, "ff" * 32, trained.digest, AT)],
    }
    engine = connect_server(database) if database else connect_file(tmp_path / FILE)
    with engine.begin() as connection:
        command.upgrade(migrations._config(connection), migrations.FIRST)
        tables = migrations._tables(connection)
        assert first.keys() == tables.keys()
        for table, rows in first.items():
            marks = ", ".join(["%s" if database else "?"] * len(rows[0]))
            for row in rows:
                connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({marks})", row)  # noqa: S608
    assert migrate(tmp_path, database) == migrations.FIRST
    with engine.begin() as connection:
        for table, rows in first.items():
            columns = [column["name"] for column in inspect(connection).get_columns(table)][: len(rows[0])]
            kept = connection.exec_driver_sql(f"SELECT {', '.join(columns)} FROM {table}").all()  # noqa: S608
            assert sorted(tuple(one) for one in kept) == sorted(rows), table
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()
    with closing(Store.open(tmp_path, database)) as store, store.transaction() as rows:
        joined, invited = rows.members()
        assert (joined.public_key, joined.head, invited.joined, invited.authority) == ("ab" * 32, "a head\n", None, "é")
        assert rows.published("clinic-a") == {"cohort": PUBLISHED}
        assert rows.approvals(trained.digest) == {"clinic-a": {"payload": "é"}, "dealer": {}}
        assert rows.withdrawn_beside("clinic-a") == [(cancelled.digest, "clinic-c", {"payload": "b"})]
        assert rows.progress(trained.digest)["clinic-a"].iteration == PROGRESS.iteration
        assert rows.reports(cancelled.digest)["dealer"].seconds == FINISHED.seconds
        assert rows.keyed("ee" * 32) == ("ff" * 32, trained.digest)
        assert [mark.digest for mark in rows.marks()] == [cancelled.digest, trained.digest]
        assert [mark.digest for mark in rows.marks(Selection(participant="clinic-c", text="predict"))] == [
            cancelled.digest
        ]
        (found,) = rows.records([cancelled.digest])
        assert (found.contract, found.state, found.fault) == (cancelled, State.CANCELLED, FAULT)
        assert rows.partners("clinic-a") == {"clinic-a", "clinic-b", "clinic-c", "dealer"}
        rows.add_session(contract(3), "{}", "clinic-a")
        rows.gateways.keep_relayed("clinic-b", "clinic-a", "slot", "content", 8)
