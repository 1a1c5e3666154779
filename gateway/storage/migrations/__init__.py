"""Revisions of the gateway's database, by alembic: which one a database is of, and bringing it to the newest.

A gateway's start makes the tables of an empty database and refuses one of another revision; `privity gateway migrate`
brings it to the newest. How to add a revision stands in the package's README.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, inspect

from parties.errors import SettingsError

HERE = Path(__file__).parent
FIRST = "first"  # what a database has that was made before there were revisions
MARK = "alembic_version"  # the table that names a database's revision


def newest() -> str:
    """The revision that this version of the program works with."""
    return str(_scripts().get_current_head())


def current(connection: Connection) -> str | None:
    """The revision that a database says it is of; None for one that is empty or older than revisions."""
    return MigrationContext.configure(connection).get_current_revision()


def check(engine: Engine, where: str) -> None:
    """That a database is of the newest revision; an empty one is given it. `where` names it in errors.

    Raises: SettingsError if it is older, newer, or something else.
    """
    with engine.begin() as connection:
        found = _found(connection, where)
        if found == newest():
            return
        if found is None and not _tables(connection):
            _upgrade(connection)
            return
        of = f"of revision '{found}'" if found else "of before there were revisions"
        raise SettingsError(
            f"{where} is {of}, older than this version's '{newest()}'",
            action="stop every gateway that uses it, back it up, and run `privity gateway migrate`",
        )


def migrate(engine: Engine, where: str) -> str | None:
    """Bring a database to the newest revision, in one transaction; tells of which it was.

    Raises: SettingsError if it is newer than this version, or no store of a gateway.
    """
    with engine.begin() as connection:
        found = _found(connection, where)
        if found is None and _tables(connection):
            command.stamp(_config(connection), FIRST)
        _upgrade(connection)
    return found


def _found(connection: Connection, where: str) -> str | None:
    """The revision, of which this version knows. Raises: SettingsError for another, or for tables of something else."""
    found = current(connection)
    if found is None and (tables := _tables(connection)):
        _check_unmarked(tables, where)
    if found is not None and found not in {script.revision for script in _scripts().walk_revisions()}:
        raise SettingsError(
            f"{where} is of revision '{found}', which this version does not know: a newer one wrote it",
            action="install that version, or restore a backup",
        )
    return found


def _upgrade(connection: Connection) -> None:
    command.upgrade(_config(connection), "head")


def _check_unmarked(tables: dict[str, set[str]], where: str) -> None:
    """That a database without a mark has the first revision's tables and no others. Raises: SettingsError."""
    with create_engine("sqlite://").begin() as scratch:
        command.upgrade(_config(scratch), FIRST)
        expected = _tables(scratch)
    if tables != expected:
        raise SettingsError(
            f"{where} names no revision, and its tables are not those of a gateway of before there were revisions",
            action="restore it from a backup, or name another database",
        )


def _tables(connection: Connection) -> dict[str, set[str]]:
    """Columns by table, but for the mark."""
    found = inspect(connection)
    names = [name for name in found.get_table_names() if name != MARK]
    return {name: {column["name"] for column in found.get_columns(name)} for name in names}


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(HERE))


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))  # ConfigParser's sign
    return config
