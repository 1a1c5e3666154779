"""`privity node` and `privity dealer`: set a home up, run its daemon, and keep that running well."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli import AsJson, Home, ask, ask_daemon, echo_json, tell

if TYPE_CHECKING:
    from parties.service.home import Role

Token = Annotated[str, typer.Option("--invite", metavar="TOKEN", help="What `privity gateway invite` printed.")]
Listen = Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where others connect; port 0: a free one.")]

node_app = typer.Typer(help="An organisation's node.", no_args_is_help=True)
dealer_app = typer.Typer(help="The dealer of correlated randomness.", no_args_is_help=True)


@node_app.command("init")
def node_init(token: Token, home: Home, listen: Listen = "127.0.0.1:0", as_json: AsJson = False) -> None:
    """Make a node's directory: fresh keys, an encrypted vault, a policy that asks you for everything."""
    _init("party", home, token, listen, as_json=as_json)


@node_app.command("serve")
def node_serve(home: Home) -> None:
    """Run the node until it is told to stop; one line of JSON says when it is ready."""
    _serve(home, "node")


@node_app.command("status")
def node_status(home: Home, as_json: AsJson = False) -> None:
    """Whether the node runs and is connected, what waits and since when, what ends soon, and where sessions stand."""
    _status(home, as_json=as_json)


@node_app.command("login")
def node_login(
    home: Home,
    role: Annotated[
        str, typer.Option(metavar="ROLE", help="operator, or officer, who can change nothing.")
    ] = "operator",
    as_json: AsJson = False,
) -> None:
    """A link to the node's own page; it logs one browser on this machine in, once, within ten minutes."""
    address = ask_daemon(home, "login", role=role)
    tell(address, as_json=as_json, address=address)


@node_app.command("pause")
def pause(home: Home, as_json: AsJson = False) -> None:
    """Refuse contracts from now on, over restarts too; what was signed is finished, what waits goes on waiting."""
    since = ask(home, "node-pause")
    tell(f"paused since {since}; `privity node resume` ends that", as_json=as_json, paused_since=since)


@node_app.command("resume")
def resume(home: Home, as_json: AsJson = False) -> None:
    """Take contracts again."""
    resumed = bool(ask(home, "node-resume"))
    words = "the node takes contracts again" if resumed else "the node was not paused"
    tell(words, as_json=as_json, resumed=resumed)


@dealer_app.command("init")
def dealer_init(token: Token, home: Home, listen: Listen = "127.0.0.1:0", as_json: AsJson = False) -> None:
    """Make a dealer's directory."""
    _init("dealer", home, token, listen, as_json=as_json)


@dealer_app.command("serve")
def dealer_serve(home: Home) -> None:
    """Run the dealer until it is told to stop."""
    _serve(home, "dealer")


@dealer_app.command("status")
def dealer_status(home: Home, as_json: AsJson = False) -> None:
    """Whether the dealer runs, is connected, and where its sessions stand."""
    _status(home, as_json=as_json)


def _init(role: Role, home: Path, token: str, listen: str, *, as_json: bool) -> None:
    from parties.audit import events
    from parties.audit.log import AuditLog
    from parties.keys.identity import fingerprint_words
    from parties.keys.tls import utc_now
    from parties.service.daemon import origin_of
    from parties.service.home import init

    made = init(home, role, token, listen, utc_now())
    identity, name = made.identity, made.settings.name
    with AuditLog.open(made.path("audit.sqlite"), identity, origin_of(name)) as journal:
        journal.append(events.IdentityCreated(fingerprint=identity.fingerprint))
    if as_json:
        words = fingerprint_words(identity.fingerprint)
        echo_json({"name": name, "home": str(home), "fingerprint": identity.fingerprint, "words": words})
        return
    kind = "node" if role == "party" else role
    typer.echo(f"{name} is set up in {home}. Its fingerprint, to read to your partners over the phone:")
    typer.echo(f"  {identity.fingerprint}")
    typer.echo(f"  {fingerprint_words(identity.fingerprint)}")
    typer.echo(f"Next: confirm partners with `privity partner add`, then `privity {kind} serve --home {home}`.")


def _serve(home: Path, kind: str) -> None:
    import asyncio
    import importlib

    from parties.errors import SettingsError
    from parties.service import oplog
    from parties.service.home import Home as HomeDirectory

    place = HomeDirectory(home)
    role = place.settings.role
    if (role == "dealer") != (kind == "dealer"):
        other = "dealer" if role == "dealer" else "node"
        raise SettingsError(f"{home} is the home of a {other}", action=f"start it with `privity {other} serve`")
    oplog.configure()
    daemon = getattr(importlib.import_module(f"parties.service.{kind}"), kind.capitalize())
    asyncio.run(daemon(place).serve())


def _status(home: Path, *, as_json: bool) -> None:
    from parties.service.standing import lines

    status = ask_daemon(home, "status")
    if as_json:
        echo_json(status)
        return
    for line in lines(status):
        typer.echo(line)
