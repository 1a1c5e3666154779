"""What all commands of an organisation share: their options, and how they ask its daemon. `mount` has them all.

Heavy modules are imported inside the commands: `privity --help` must answer at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

Home = Annotated[
    Path, typer.Option("--home", envvar="PRIVITY_HOME", metavar="DIR", help="Directory of this node or dealer.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable, to standard output.")]
SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id, or as much as tells it apart.")]


def echo_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2))


def tell(words: str, *, as_json: bool, **found: object) -> None:
    """What a command came to: in words, or what was found as JSON."""
    if as_json:
        echo_json(found)
    else:
        typer.echo(words)


@contextmanager
def desk_of(home: Path) -> Iterator[Any]:
    """The operator's desk when no daemon runs; the log is opened for the command and closed after it."""
    from parties.audit.log import AuditLog
    from parties.keys.partners import Partners
    from parties.service.daemon import origin_of
    from parties.service.desk import Desk
    from parties.service.home import Home as HomeDirectory

    place = HomeDirectory(home)
    with AuditLog.open(place.path("audit.sqlite"), place.identity, origin_of(place.settings.name)) as journal:
        yield Desk(place, journal, None, Partners(place.path("partners.json")))


def ask(home: Path, do: str, **fields: Any) -> Any:
    """Through the daemon if it runs, else on the files."""
    from parties.service import local

    try:
        return local.call(home, do, **fields)
    except ConnectionRefusedError:
        with desk_of(home) as desk:
            return getattr(desk, do.replace("-", "_"))(**fields)


def ask_daemon(home: Path, do: str, **fields: Any) -> Any:
    """Raises: SettingsError if the daemon does not run."""
    from parties.errors import SettingsError
    from parties.service import local

    try:
        return local.call(home, do, **fields)
    except ConnectionRefusedError as exc:
        raise SettingsError(
            f"no daemon runs in {home}", action="start it with `privity node serve` or `privity dealer serve`"
        ) from exc


def mount(app: typer.Typer, session_app: typer.Typer) -> None:
    """Put this organisation's commands under the program's."""
    from parties.audit.cli import app as audit_app
    from parties.audit.subject_cli import subject
    from parties.commands import data as data_cli
    from parties.commands import key as key_cli
    from parties.commands import model as model_cli
    from parties.commands import node as node_cli
    from parties.commands import partner as partner_cli
    from parties.commands import policy as policy_cli
    from parties.commands import recording as recording_cli
    from parties.commands import result as result_cli
    from parties.commands import session as session_cli
    from parties.commands.replay import replay
    from parties.doctor.cli import doctor
    from parties.report.cli import report

    app.command("doctor")(doctor)
    audit_app.command("replay")(replay)
    audit_app.command("report")(report)
    audit_app.command("subject")(subject)
    for name, sub in (
        ("node", node_cli.node_app),
        ("dealer", node_cli.dealer_app),
        ("partner", partner_cli.app),
        ("data", data_cli.app),
        ("model", model_cli.app),
        ("recording", recording_cli.app),
        ("key", key_cli.app),
        ("policy", policy_cli.app),
        ("result", result_cli.app),
        ("audit", audit_app),
    ):
        app.add_typer(sub, name=name)
    for command in (session_cli.pending, session_cli.approve, session_cli.refuse, session_cli.withdraw):
        session_app.command()(command)
