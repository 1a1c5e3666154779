"""`privity data`: what an operator does with the data sets of a node's vault.

Tables are read and encrypted by this process, so that a node needs neither rights to the source nor a database's
password; the node records what is added, and publishes what is shared.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parties.cli import AsJson, Home, SessionId, ask, desk_of, echo_json, tell

if TYPE_CHECKING:
    from parties.data.data_set import Manifest
    from parties.data.vault import Vault
    from parties.sources import Source
    from parties.sources.columns import ColumnProfile

app = typer.Typer(help="Data sets in the node's vault.", no_args_is_help=True)

SQL_URL = "PRIVITY_SQL_URL"
TIMEOUT_S = 3600  # that a query may give no row
MOST_TIMEOUT_S = 7 * 24 * 3600
Name = Annotated[str, typer.Argument(help="The data set's name in the vault, and in plans.")]


@app.command("add")
def add(
    name: Name,
    home: Home,
    id_column: Annotated[str, typer.Option("--id", metavar="COLUMN", help="The column that identifies a record.")],
    file: Annotated[
        Path | None, typer.Argument(help="CSV with a header line, Parquet (.parquet) or Arrow IPC (.arrow, .feather).")
    ] = None,
    query: Annotated[str, typer.Option(metavar="SQL", help="Instead of a file: what to ask a database.")] = "",
    query_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The same from a file, for long queries.")
    ] = None,
    url: Annotated[
        str, typer.Option(metavar="URL", help="SQLAlchemy URL of the database, if it has no password.")
    ] = "",
    url_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with the URL that only you can read.")
    ] = None,
    url_env: Annotated[str, typer.Option(metavar="NAME", help="Variable of the environment with the URL.")] = SQL_URL,
    timeout_s: Annotated[
        int,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=1,
            max=MOST_TIMEOUT_S,
            help="Of a query to PostgreSQL: how long it may give no row, at its start or later.",
        ),
    ] = TIMEOUT_S,
    schema: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Kinds, descriptions and units of columns.")
    ] = None,
    shareable: Annotated[
        bool, typer.Option("--shareable", help="Publish its schema, and let sessions use it.")
    ] = False,
    profile: Annotated[
        bool | None,
        typer.Option(help="Show missing values, different ones and ranges; by default on a terminal only."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a table and put it into the vault, encrypted. What was found is shown here and nowhere else."""
    from parties.data.intake import take_in
    from parties.sources import Notes, read_notes

    notes = read_notes(schema) if schema else Notes()
    vault = _vault(home)
    source = _source(home, file, query, query_file, url, url_file, url_env, timeout_s)
    with _progress(quiet=as_json) as tell:
        manifest, found = take_in(
            vault,
            name,
            source,
            id_column,
            created=datetime.now(UTC),
            record=lambda **entry: ask(home, "data-added", **entry),
            notes=notes,
            shareable=shareable,
            tell=tell,
        )
    _publish(home)
    shown = found if profile or (profile is None and os.isatty(1)) else ()
    if as_json:
        echo_json(_shown(manifest) | ({"profile": [vars(column) for column in shown]} if shown else {}))
        return
    typer.echo(_summary(manifest))
    if shown:
        _show_profile(shown)


def _source(
    home: Path,
    file: Path | None,
    query: str,
    query_file: Path | None,
    url: str,
    url_file: Path | None,
    url_env: str,
    timeout_s: int,
) -> Source:
    """Raises: SettingsError unless there is one source, and all that it needs."""
    from parties.errors import SettingsError
    from parties.sources import file_source

    if sum(map(bool, (file, query, query_file))) != 1:
        raise SettingsError("a table comes from one place", action="give a FILE, --query or --query-file")
    if file is not None:
        return file_source(file)
    from parties.sources import sql

    if url:
        database = sql.url_from_argument(url)
    elif url_file:
        database = sql.url_from_file(url_file)
    else:
        database = sql.url_from_environment(url_env)
    try:
        asked = query_file.read_text(encoding="utf-8") if query_file else query
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{query_file} is no readable query", action="check the path and its rights") from exc
    return sql.SqlQuery(database, asked, home / "vault", answer_timeout_s=timeout_s)


def _publish(home: Path) -> None:
    """A node that runs tells the gateway; one that does not will when it starts."""
    from parties.service import local

    with suppress(ConnectionRefusedError):
        local.call(home, "data-publish")


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str, float | None], None]]:
    """A bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def tell(doing: str, done: float | None) -> None:
            if doing not in tasks:
                for over in tasks.values():
                    bar.update(over, total=1.0, completed=1.0)
                tasks[doing] = bar.add_task(doing, total=None)
            bar.update(tasks[doing], completed=done or 0, total=None if done is None else 1.0)

        yield tell


def _summary(manifest: Manifest) -> str:
    columns = manifest.table.columns
    numbers = sum(column.kind == "number" for column in columns)
    return (
        f"{manifest.name}: {manifest.table.rows} rows, {numbers} numeric columns, {len(columns) - numbers} others, "
        f"{_shared(manifest)}"
    )


def _shared(manifest: Manifest) -> str:
    shared = "shared" if manifest.shareable else "not shared"
    if (origin := manifest.origin) is None:
        return shared
    until = f"until {origin.until:%Y-%m-%d}"
    return f"{shared}; matched from {origin.source} by session {origin.session[:12]}, kept {until}"


def _show_profile(profile: tuple[ColumnProfile, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("column", "kind", "missing", "different", "from", "to", box=None, pad_edge=False)
    for column in profile:
        table.add_row(column.name, column.kind, str(column.missing), _different(column), *_ends(column))
    Console().print(table)


def _ends(column: ColumnProfile) -> list[str]:
    """Of numbers and dates; not lengths of text."""
    numbers = column.kind == "number"
    return [end if isinstance(end, str) else f"{end:.6g}" if numbers and end is not None else "" for end in column.ends]


def _different(column: ColumnProfile) -> str:
    from parties.sources.columns import MAX_DISTINCT

    return f"over {MAX_DISTINCT}" if column.distinct is None else str(column.distinct)


def _shown(manifest: Manifest) -> dict[str, Any]:
    return {
        **json.loads(manifest.table.model_dump_json()),
        "shareable": manifest.shareable,
        "version": manifest.version,
        "schema_sha256": manifest.table.digest,
        "origin": manifest.origin and json.loads(manifest.origin.model_dump_json()),
    }


@app.command("list")
def list_all(home: Home, as_json: AsJson = False) -> None:
    """The vault's data sets."""
    vault = _vault(home)
    manifests = [vault.manifest(name) for name in vault.list()]
    if as_json:
        echo_json([_shown(manifest) for manifest in manifests])
        return
    for manifest in manifests:
        typer.echo(
            f"{manifest.name}  {manifest.table.rows} rows, {len(manifest.table.columns)} columns, {_shared(manifest)}"
        )


@app.command("show")
def show(name: Name, home: Home, as_json: AsJson = False) -> None:
    """A data set's columns; all that the node publishes of it, if it is shared."""
    manifest = _vault(home).manifest(name)
    if as_json:
        echo_json(_shown(manifest))
        return
    for column in manifest.table.columns:
        unit = f" in {column.unit}" if column.unit else ""
        words = f"; {column.description}" if column.description else ""
        missing = "" if column.complete else ", has missing values"
        typer.echo(f"{column.name}  {column.kind}{unit}{missing}{words}")
    typer.echo(f"as contracts call this schema: {manifest.table.digest}")


@app.command("share")
def share(
    name: Name,
    home: Home,
    stop: Annotated[bool, typer.Option("--stop", help="Share it no longer.")] = False,
    as_json: AsJson = False,
) -> None:
    """Publish a data set's schema (names, kinds, row count; no values) to the gateway, and let sessions use it."""
    ask(home, "data-share", name=name, shareable=not stop)
    tell(f"{name} is {'no longer shared' if stop else 'shared'}", as_json=as_json, name=name, shareable=not stop)


@app.command("verify")
def verify(
    home: Home,
    name: Annotated[str, typer.Argument(help="One data set; without it all are verified.")] = "",
    as_json: AsJson = False,
) -> None:
    """Decrypt data sets in memory and check every byte of them."""
    vault = _vault(home)
    intact = []
    for wanted in [name] if name else vault.list():
        vault.verify(wanted)
        intact.append(wanted)
        if not as_json:
            typer.echo(f"{wanted} is intact")
    if as_json:
        echo_json({"intact": intact})


@app.command("forget")
def forget(session: SessionId, home: Home, as_json: AsJson = False) -> None:
    """Destroy the key by which this node can tell which of its records took part in a session."""
    forgotten = ask(home, "data-forget", session=session)
    words = f"it can't be told any more which records took part in {forgotten}"
    tell(words, as_json=as_json, session=forgotten)


@app.command("delete")
def delete(name: Name, home: Home, as_json: AsJson = False) -> None:
    """Destroy a data set's key, so that nothing left behind can be read, and its file."""
    ask(home, "data-delete", name=name)
    tell(f"{name} is deleted", as_json=as_json, name=name)


@app.command("rotate")
def rotate(
    home: Home,
    to: Annotated[
        str,
        typer.Option(metavar="WHERE", help='Where the next key is: file, env:NAME, or a command as ["WORD", "WORD"].'),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Another key for the vault, while the node is stopped. An interrupted rotation is finished by the same command."""
    from parties.data.vault_key import parse_key_source
    from parties.errors import SettingsError
    from parties.service import local

    target = parse_key_source(to) if to else None
    with suppress(ConnectionRefusedError):
        local.call(home, "status")
        raise SettingsError("the node runs, with the vault's key in its memory", action="stop it first")
    with desk_of(home) as desk:
        rotated = desk.data_rotate(target)
    if as_json:
        echo_json(vars(rotated))
        return
    typer.echo(f"{rotated.data_sets} data sets and {rotated.models} models are under the next key")
    if rotated.moved:
        words = f'"{target}"' if isinstance(target, str) else json.dumps(target)
        typer.echo(f"Before the node starts: set vault_key = {words} in settings.toml, and destroy the old key.")


def _vault(home: Path) -> Vault:
    from parties.service.desk import vault_of
    from parties.service.home import Home as HomeDirectory

    return vault_of(HomeDirectory(home))
