"""`privity audit report`: one session for people who read on paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Home = Annotated[
    Path, typer.Option("--home", envvar="PRIVITY_HOME", metavar="DIR", help="Directory of this node or dealer.")
]


def report(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="The session's id, or as much as tells it apart.")],
    home: Home,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Where to; report-SESSION.html here if left out.", dir_okay=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same facts for programs, to standard output.")] = False,
) -> None:
    """Write what happened in a session as one HTML file for people: who, why, whose data, what was told, to whom.

    It is read from the stored contract and the log, which is verified for it, as the daemon, if it runs, records; exit
    status 1 if that does not verify.
    """
    from datetime import UTC, datetime

    from parties.audit.cli import complain
    from parties.audit.verified import record_verification
    from parties.errors import SettingsError
    from parties.report import render
    from parties.service.home import Home as HomeDirectory

    facts = render.report(HomeDirectory(home), session, datetime.now(UTC))
    complain(record_verification(home, facts.checked.entries, intact=facts.checked.intact))
    if as_json:
        typer.echo(facts.model_dump_json(indent=2))
    else:
        path = out or Path(f"report-{facts.session[:12]}.html")
        try:
            with path.open("w" if force else "x", encoding="utf-8") as file:
                file.write(render.render(facts))
        except FileExistsError as exc:
            raise SettingsError(f"{path} exists already", action="choose another --out, or give --force") from exc
        except OSError as exc:
            raise SettingsError(f"{path} can't be written: {exc.strerror}", action="choose another --out") from exc
        typer.echo(f"wrote {path}")
    if not facts.checked.intact:
        typer.echo(f"privity: the log does NOT verify: {facts.checked.failure}", err=True)
        raise typer.Exit(1)
