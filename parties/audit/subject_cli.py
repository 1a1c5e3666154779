"""`privity audit subject`: in which sessions one person's record took part."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parties.cli import AsJson, Home, ask, echo_json


def subject(
    home: Home,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="A file with the record's id; - is standard input.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the sessions in which one of this organisation's own records took part.

    The record's id is asked for, and is no argument: a shell would keep it. It stands in no log.
    """
    found = ask(home, "audit-subject", record=_record(file))
    if as_json:
        echo_json(found)
        return
    held = [one for one in found if one["answer"] == "held"]
    typer.echo(f"The record took part in {len(held)} session(s).")
    for one in held:
        typer.echo(f"  {one['session'][:12]}  {one['received'][:10]}  {one['state']}  {one['purpose']}")
    for one in found:
        if one["answer"] not in {"held", "not held"}:
            typer.echo(f"  {one['session'][:12]}  {one['received'][:10]}  can't be told: {one['answer']}")


def _record(file: Path | None) -> str:
    """The id as it stands in the data. Raises: SettingsError if there is none, or more than a line."""
    from parties.errors import SettingsError

    if file is None:
        return str(typer.prompt("Record id", hide_input=True))
    try:
        text = typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{file} can't be read", action="give a text file with one record's id") from exc
    lines = text.splitlines()
    if len(lines) != 1 or not lines[0]:
        source = "standard input" if str(file) == "-" else file
        raise SettingsError(f"{source} has {len(lines)} lines", action="give one record's id, on one line")
    return lines[0]
