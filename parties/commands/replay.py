"""`privity audit replay`: this party's part of a session made again, for its officer."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from parties.cli import Home, SessionId, ask


def replay(
    session: SessionId,
    home: Home,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable, to standard output.")] = False,
) -> None:
    """Make this party's part of a session again, and hold all that it sent to what it signed; exit status 1 if not.

    Of a session whose contract keeps a recording: from its own rows, the seed that was kept and what
    came in then. The log has that these were read, and the verdict. Nothing is sent to anybody, and no value is shown.
    """
    from rich.console import Console
    from rich.progress import Progress

    from parties.service.home import Home as HomeDirectory
    from parties.testimony.replaying import replay as made_again

    console = Console(stderr=True)
    with Progress(transient=True, disable=as_json or not console.is_terminal, console=console) as progress:
        task = progress.add_task("made again")
        found = made_again(
            HomeDirectory(home),
            session,
            lambda digest: ask(home, "audit-replay", session=digest),
            lambda done, of: progress.update(task, completed=done, total=of),
        )
    verdict = {"equal": found.equal, "round_number": found.round_number, "name": found.name}
    ask(home, "audit-replayed", session=found.session, **verdict)
    if as_json:
        typer.echo(json.dumps(found.as_dict()))
    else:
        typer.echo(f"{'EQUAL' if found.equal else 'NOT EQUAL'}: session {found.session[:12]}: {found.what}")
        typer.echo(f"{found.stages} signed stages were made again")
    raise typer.Exit(0 if found.equal else 1)
