"""`privity`: the command line. Heavy modules are imported inside the commands: `--help` must answer at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.commands import match as match_cli
from gateway.commands import own_tokens, who
from gateway.commands import plan as plan_cli
from gateway.commands.options import Data, GatewayHome, IdColumn, TokenFile, Url, client_of, files_of
from gateway.commands.session_log import session_log
from gateway.commands.tokens import token_app
from mpc.errors import PrivityError
from parties.cli import AsJson, echo_json, mount, tell
from parties.service.lifecycle import State

if TYPE_CHECKING:
    from gateway.sandbox.consortium import Consortium
    from gateway.sandbox.trial import Report
    from gateway.views import SessionView

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
gateway_app = typer.Typer(help="The gateway: sets sessions up, never sees a share.", no_args_is_help=True)
session_app = typer.Typer(help="Sessions: at the gateway, and what waits at this node.", no_args_is_help=True)
app.add_typer(plan_cli.app, name="plan")
app.add_typer(match_cli.app, name="match")
app.add_typer(session_app, name="session")
app.add_typer(own_tokens.app, name="token")
app.add_typer(gateway_app, name="gateway")
gateway_app.add_typer(token_app, name="token")
session_app.command("log")(session_log)
app.command()(who.whoami)
app.command()(who.participants)
mount(app, session_app)

Directory = Annotated[Path | None, typer.Option("--dir", metavar="DIR", help="Keep everything in this new directory.")]
ReportFile = Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write the results as JSON.")]
DEMO = """\
Three clinics hold ten measurements each of patients that they have in common in part; one has the
diagnosis. They find the common ones without showing the others, then train on them."""
Keep = Annotated[bool, typer.Option("--keep", help="Leave the consortium running until interrupted.")]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("privity"))
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which release this is, and stop.")
    ] = False,
) -> None:
    """Train one model across organisations that keep their data."""


@app.command()
def demo(directory: Directory = None, report: ReportFile = None, keep: Keep = False, as_json: AsJson = False) -> None:
    """Three clinics, a dealer and a gateway train on real data, and show that it works and what it costs."""
    import tempfile

    from gateway.sandbox.demo import ID, write_files, write_plans

    with tempfile.TemporaryDirectory(prefix="privity-demo-") as scratch:
        place = Path(scratch)
        files = write_files(place)
        typer.echo(DEMO, err=as_json)
        _run(write_plans(files, place), files, ID, directory, report, keep=keep, as_json=as_json)


@app.command()
def sandbox(
    plans: Annotated[
        list[Path],
        typer.Argument(
            metavar="[MATCHING.toml] PLAN.toml", help="Plans, as `plan new` writes them; a matching's comes first."
        ),
    ],
    data: Data,
    id_column: IdColumn = "id",
    directory: Directory = None,
    report: ReportFile = None,
    keep: Keep = False,
    as_json: AsJson = False,
) -> None:
    """The whole consortium on this machine, for any plan and files."""
    _run(plans, files_of(data), id_column, directory, report, keep=keep, as_json=as_json)


def _run(
    plans: list[Path],
    files: dict[str, Path],
    id_column: str,
    directory: Path | None,
    report: Path | None,
    *,
    keep: bool,
    as_json: bool,
) -> None:
    from rich.console import Console

    from gateway.commands.show import Screen, show
    from gateway.sandbox.trial import run, write_report
    from parties.agreement.kinds import load_plans

    console = Console(highlight=False, stderr=as_json)
    screen = Screen(console)

    def tell(found: Report) -> None:
        screen.close()
        if as_json:
            echo_json(found.as_dict())
        else:
            show(found, console, directory)
        if report is not None:
            write_report(found, report)

    def tell_and_wait(found: Report, consortium: Consortium) -> None:
        tell(found)
        _wait(consortium, err=as_json)

    matching, plan = load_plans(plans)
    waits = tell_and_wait if keep else None
    try:
        found = run(plan, files, id_column, directory, screen.say, screen.on_event, waits, matching)
    finally:
        screen.close()
    if not keep:
        tell(found)
    for failure in found.failures:
        typer.echo(f"privity: {failure}", err=True)
    if found.failures:
        raise typer.Exit(1)


def _wait(consortium: Consortium, *, err: bool) -> None:
    """Leave everything running until the user has seen enough."""
    import signal

    if consortium.client is None:
        return
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # or the first Ctrl-C would not be waited for
    typer.echo("\nThe consortium runs on. Its gateway, for a browser on this machine (this login works once):", err=err)
    typer.echo(f"  {consortium.client.login()}", err=err)
    typer.echo(f"for programs: {consortium.url}, token in {consortium.directory / 'gateway' / 'token'}", err=err)
    typer.echo("Ctrl-C ends it.", err=err)
    signal.sigwait(signals)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


@gateway_app.command("init")
def gateway_init(
    home: GatewayHome,
    name: Annotated[str, typer.Option("--name", help="The gateway's name.")] = "gateway",
    rest: Annotated[str, typer.Option("--rest", metavar="HOST:PORT", help="REST; loopback.")] = "127.0.0.1:8470",
    control: Annotated[str, typer.Option("--control", metavar="HOST:PORT", help="For daemons.")] = "127.0.0.1:8471",
    database: Annotated[
        str, typer.Option("--database", metavar="URL", help="postgresql+psycopg://USER@HOST/NAME; else a file.")
    ] = "",
    beside: Annotated[
        Path | None, typer.Option("--beside", metavar="DIR", help="Another gateway's home, whose database to share.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a gateway's directory: keys, settings, token."""
    from gateway.home import IDENTITY_FILE, init, init_beside
    from parties.keys.identity import Identity, fingerprint_words

    if beside is None:
        init(home, name=name, rest=rest, control=control, database=database)
    else:
        init_beside(home, beside, name=name, rest=rest, control=control)
    key = Identity.load(home / IDENTITY_FILE).fingerprint
    if as_json:
        echo_json({"name": name, "home": str(home), "fingerprint": key, "words": fingerprint_words(key)})
        return
    typer.echo(f"the gateway {name} is set up in {home}; next: `privity gateway invite NAME`, `privity gateway serve`")
    typer.echo("Its fingerprint, for operators whose nodes and dealer shall cosign its log:")
    typer.echo(f"  {key}")
    typer.echo(f"  {fingerprint_words(key)}")


@gateway_app.command("invite")
def gateway_invite(
    name: Annotated[str, typer.Argument(help="The participant's name in the consortium.")],
    home: GatewayHome,
    dealer: Annotated[bool, typer.Option("--dealer", help="Invite a dealer instead of a party.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print a one-time token for a node or the dealer."""
    from gateway.home import invite

    role: Literal["party", "dealer"] = "dealer" if dealer else "party"
    token = invite(home, name, role)
    tell(token, as_json=as_json, name=name, role=role, invitation=token)


@gateway_app.command("login")
def gateway_login(home: GatewayHome, as_json: AsJson = False) -> None:
    """Print an address that logs a browser on this machine in, once."""
    from gateway.access.tokens import TOKEN_FILE, Token
    from gateway.client import Gateway
    from gateway.home import serving

    with Gateway(serving(home)["url"], Token.load(home / TOKEN_FILE).reveal()) as client:
        address = client.login()
    tell(address, as_json=as_json, address=address)


@gateway_app.command("logout")
def gateway_logout(home: GatewayHome, as_json: AsJson = False) -> None:
    """End every browser's login, at all gateways on the database."""
    from gateway.access.logins import Logins
    from gateway.settings import load_settings
    from gateway.storage.store import Store

    with closing(Store.open(home, load_settings(home).database)) as store:
        ended = Logins(store).close_all()
    tell(f"{ended} logins ended", as_json=as_json, ended=ended)


@gateway_app.command("migrate")
def gateway_migrate(home: GatewayHome, as_json: AsJson = False) -> None:
    """Bring the database to this version's revision; back it up before."""
    from gateway.home import migrate

    before, after = migrate(home)
    if before == after:
        words = f"the database is of revision '{after}', which is the newest"
    else:
        words = f"the database is of revision '{after}' now; it was of {before or 'none'}"
    tell(words, as_json=as_json, before=before, revision=after)


@gateway_app.command("serve")
def gateway_serve(home: GatewayHome) -> None:
    """Run the gateway until it is told to stop; one line of JSON says when it is ready."""
    from gateway.serve import serve

    serve(home)


@session_app.command("propose")
def session_propose(
    plan: Annotated[Path | None, typer.Argument(metavar="[PLAN.toml]", show_default=False)] = None,
    like: Annotated[
        str | None, typer.Option("--like", metavar="SESSION", help="The plan of this earlier session, as it was.")
    ] = None,
    key: Annotated[
        str, typer.Option("--key", help="1 to 200 letters or digits; under one, a plan is proposed once a day.")
    ] = "",
    gateway: Url = "http://127.0.0.1:8470",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Propose a plan; every party and the dealer must then sign the contract that follows from it."""
    from parties.agreement.kinds import load_any_plan
    from parties.errors import SettingsError

    if (plan is None) == (like is None):
        raise SettingsError("a proposal is of one plan", action="name PLAN.toml, or an earlier session with --like")
    with client_of(gateway, token_file) as client:
        wanted = client.plan(client.find(like or "")) if plan is None else load_any_plan(plan)
        created = client.propose(wanted, key)
    if as_json:
        echo_json({"id": created.id, "state": created.state})
    else:
        typer.echo(f"proposed session {created.id}\nnow each node: `privity session approve {created.id[:12]}`")


@session_app.command("list")
def session_list(
    states: Annotated[list[State] | None, typer.Option("--state", help="Those in it; may come again.")] = None,
    kind: Annotated[
        Literal["training", "prediction", "matching"] | None, typer.Option("--kind", help="Those of it.")
    ] = None,
    participant: Annotated[str | None, typer.Option("--participant", metavar="NAME", help="Those it is in.")] = None,
    find: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Those whose id begins with it, or whose purpose holds it.")
    ] = None,
    gateway: Url = "http://127.0.0.1:8470",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Sessions of the gateway, newest first."""
    with client_of(gateway, token_file) as client:
        views = client.sessions(states=states or (), kind=kind, participant=participant, text=find)
    if as_json:
        echo_json([json.loads(view.model_dump_json()) for view in views])
        return
    for view in views:
        typer.echo(f"{view.id[:12]}  {view.state:10s} {view.created:%Y-%m-%d %H:%M}  {view.purpose}")


@session_app.command("show")
def session_show(
    session: Annotated[str, typer.Argument(metavar="SESSION")],
    contract: Annotated[bool, typer.Option("--contract", help="The contract instead of the state.")] = False,
    gateway: Url = "http://127.0.0.1:8470",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Where a session stands, whose turn it is, and what it was told of its model."""
    from gateway.commands.watch import so_far
    from parties.agreement.contract import Contract
    from parties.outcome.telling import convergence

    with client_of(gateway, token_file) as client:
        if contract:
            echo_json(client.contract(client.find(session)).model_dump(mode="json"))
            return
        view = client.session(client.find(session))
        agreed = client.contract(view.id) if view.converged is not None or view.estimate is not None else None
    if as_json:
        echo_json(json.loads(view.model_dump_json()))
        return
    typer.echo(f"{view.id}\n{view.state}, {view.kind}: {view.purpose}")
    if view.waiting_for:
        typer.echo(f"waits for {', '.join(view.waiting_for)}")
    for line in so_far(view):
        typer.echo(line)
    if view.converged is not None and isinstance(agreed, Contract) and agreed.convergence is not None:
        typer.echo(convergence(view.converged, agreed.convergence.tol, agreed.program.max_iter))
    if view.estimate is not None and agreed is not None:
        typer.echo(match_cli.in_words(view, agreed))
    for line in _ended(view):
        typer.echo(line)


def _ended(view: SessionView) -> Iterator[str]:
    """What came of a session, or why nothing did."""
    yield from _told(view)
    yield from (f"{name} withdrew its consent" for name in view.withdrawn)
    if view.fault is not None:
        yield view.fault.line()


def _told(view: SessionView) -> Iterator[str]:
    """What the session was told of its models, and how long its stages took."""
    from parties.outcome.curves import lines
    from parties.outcome.telling import informing, times, validation

    yield from informing(view.information_values)
    yield from validation(view.validated, view.models[0].C if view.models else "")
    for model in view.models:
        of = f" ({model.positive}, C={model.C})" if len(view.models) > 1 else ""
        if model.figures:
            yield from (f"{name} of the held-out rows{of}: {value:.4f}" for name, value in model.figures.told().items())
            yield from lines(model.figures.tables())
    for one in view.participants:
        if one.report is not None and one.report.stages:
            yield f"seconds at {one.name}: {times(one.report.stages)}"


@session_app.command("watch")
def session_watch(
    session: Annotated[str, typer.Argument(metavar="SESSION")],
    gateway: Url = "http://127.0.0.1:8470",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Follow a session live to its end; exit status 0 only if it completes."""
    with client_of(gateway, token_file) as client:
        if as_json:
            state = ""
            for event in client.events(client.find(session)):
                typer.echo(json.dumps({"kind": event.kind, **event.data}))
                state = str(event.data.get("state", state))
            raise typer.Exit(0 if state == State.COMPLETED else 1)
        from rich.console import Console

        from gateway.commands.watch import follow

        view = follow(client.open(session).watch(), Console())
    if view is not None:
        for line in _ended(view):
            typer.echo(line)
    raise typer.Exit(0 if view is not None and view.state is State.COMPLETED else 1)


@session_app.command("cancel")
def session_cancel(
    session: Annotated[str, typer.Argument(metavar="SESSION")],
    key: Annotated[
        str,
        typer.Option("--key", help="1 to 200 letters or digits; under one it may be said again, and succeeds again."),
    ] = "",
    gateway: Url = "http://127.0.0.1:8470",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """End a session for everybody."""
    with client_of(gateway, token_file) as client:
        view = client.cancel(client.find(session), key)
    tell(view.state.value, as_json=as_json, id=view.id, state=view.state)


def main() -> None:
    """Run a command; an error of ours is one line, with what to do, and exit status 1."""
    try:
        app()
    except PrivityError as exc:
        sys.stderr.write(f"privity: {exc}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("privity: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
