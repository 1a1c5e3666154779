"""Revisions of the gateway's database: they make the tables of the models, and another revision is told."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from typer.testing import CliRunner

from gateway.cli import app
from gateway.home import init
from gateway.storage import migrations
from gateway.storage.database import FILE, connect, connect_file, migrate
from gateway.storage.selection import Selection
from gateway.storage.store import Store
from gateway.storage.tables import Base
from parties.audit.log import FILE_NAME as AUDIT_FILE
from parties.audit.log import AuditLog
from parties.errors import AuditError, SettingsError
from parties.keys.identity import Identity
from parties.service.lifecycle import State
from tests.contracts.store_suite import PEOPLE, contract


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
