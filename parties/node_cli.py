"""Commands that keep a daemon running well: pause and resume."""

from __future__ import annotations

import typer

from parties.cli import Home, ask


def pause(home: Home) -> None:
    """Refuse contracts from now on, over restarts too; what was signed is finished, what waits goes on waiting."""
    typer.echo(f"paused since {ask(home, 'node-pause')}; `privity node resume` ends that")


def resume(home: Home) -> None:
    """Take contracts again."""
    typer.echo("the node takes contracts again" if ask(home, "node-resume") else "the node was not paused")
