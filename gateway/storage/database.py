"""The gateway's database, SQLite or PostgreSQL: how it is connected to, and when a transaction locks.

Every transaction that may write waits for the one before it, also another process's: SQLite's write lock, or an
advisory lock of PostgreSQL's. Those that only read lock nothing and see one moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from gateway.errors import StoreAway
from gateway.storage import migrations
from parties.errors import SettingsError
from parties.keys.identity import check_private

FILE: Final = "gateway.sqlite"
PASSWORD_FILE: Final = "database.password"  # noqa: S105  (a file's name)
DRIVER: Final = "postgresql+psycopg"
BUSY_S: Final = 10  # how long a transaction waits for another process's
CONNECTIONS: Final = 4
LOCK: Final = 0x70_72_69_76_69_74_79  # the advisory lock's number, of all gateways on one database
_OPTIONS: Final = (
    f"-c lock_timeout={BUSY_S}s -c statement_timeout=30s -c tcp_keepalives_idle=5 "
    f"-c idle_in_transaction_session_timeout={BUSY_S}s"  # a gateway that stands still does not hold up the others
)
_READS: Final = "privity_reads"


def check_url(text: str) -> str:
    """Raises: ValueError if it is not empty and no URL of PostgreSQL, or holds a password."""
    if not text:
        return text
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername != DRIVER or not url.database:
        raise ValueError(f"must be empty or {DRIVER}://USER@HOST/NAME")
    if url.password is not None or "password" in url.query:
        raise ValueError(f"holds a password; write it into the file {PASSWORD_FILE} beside the settings, mode 0600")
    return text


def connect(home: Path, url: str = "") -> Engine:
    """The database of a home, of today's revision. Cost: an empty one is given its tables.

    Raises: SettingsError if it can't be opened, is no store of a gateway, or is of another revision.
    """
    engine = _engine(home, url)
    try:
        with _opened(home, url):
            migrations.check(engine, name_of(home, url))
    except SettingsError:
        engine.dispose()
        raise
    if not url:
        (home / FILE).chmod(0o600)
    return engine


def migrate(home: Path, url: str = "") -> str | None:
    """Bring a home's database to today's revision; tells of which it was. Raises: SettingsError as `connect`."""
    engine = _engine(home, url)
    try:
        with _opened(home, url):
            return migrations.migrate(engine, name_of(home, url))
    finally:
        engine.dispose()


def name_of(home: Path, url: str) -> str:
    """The database's name in messages."""
    return url or str(home / FILE)


def connect_file(path: Path) -> Engine:
    """SQLite, of whatever revision."""
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_S})
    event.listen(engine, "connect", _tune)
    event.listen(engine, "begin", _begin)
    return engine


def connect_server(url: str, password: str | None = None) -> Engine:
    """PostgreSQL, of whatever revision; a password that is not given comes from the environment, as libpq has it."""
    arguments: dict[str, Any] = {"connect_timeout": BUSY_S, "options": _OPTIONS, "application_name": "privity gateway"}
    if password is not None:
        arguments["password"] = password
    try:
        engine = create_engine(
            url, connect_args=arguments, pool_pre_ping=True, pool_size=CONNECTIONS, hide_parameters=True
        )
    except ImportError as exc:
        raise SettingsError(
            "database: the driver for PostgreSQL is not installed", action="run: pip install 'privity[postgresql]'"
        ) from exc
    event.listen(engine, "begin", _begin)
    return engine


def reading(engine: Engine) -> Engine:
    """The same connections, for transactions that only read."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(**{_READS: True})
    return engine.execution_options(**{_READS: True}, isolation_level="REPEATABLE READ", postgresql_readonly=True)


@contextmanager
def reachable() -> Iterator[None]:
    """Raises: StoreAway if what is inside can't reach the database, or waited too long for others."""
    try:
        yield
    except (OperationalError, PoolTimeoutError) as exc:
        raise StoreAway(
            "the gateway's database can't be reached, or did not take this in time",
            action="try again; if it stays so, its operator sees the gateway's log",
        ) from exc


def _engine(home: Path, url: str) -> Engine:
    return connect_server(url, _password(home)) if url else connect_file(home / FILE)


def _password(home: Path) -> str | None:
    path = home / PASSWORD_FILE
    try:
        status, value = path.stat(), path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path} can't be read", action="make it readable to the gateway's user alone") from exc
    check_private(path, status)
    return value


@contextmanager
def _opened(home: Path, url: str) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as exc:
        if url:
            why = str(exc.__cause__ or exc).strip().splitlines()[-1]
            action = "see that the server runs, that USER may use NAME, and that its password is known here"
            raise SettingsError(f"database: {url} can't be used ({why})", action=action) from exc
        raise SettingsError(f"{home / FILE} can't be opened as a store", action="restore it from a backup") from exc


def _tune(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `begin` says, not at the first write
    for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READS, False)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
    elif not reads:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
