"""`privity`: the command line. Heavy modules are imported inside the commands: `--help` must answer at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mpc.errors import PrivityError
from parties.cli import AsJson, echo_json, mount
from parties.lifecycle import State

if TYPE_CHECKING:
    from gateway.client import GatewayClient
    from gateway.consortium import Consortium
    from gateway.sandbox import Report
    from gateway.views import SessionView

app = typer.Typer(
    help="Train one model across organisations that keep their data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
gateway_app = typer.Typer(help="The gateway: sets sessions up, never sees a share.", no_args_is_help=True)
plan_app = typer.Typer(help="Plans: what an analyst asks for.", no_args_is_help=True)
session_app = typer.Typer(help="Sessions: at the gateway, and what waits at this node.", no_args_is_help=True)
app.add_typer(plan_app, name="plan")
app.add_typer(session_app, name="session")
app.add_typer(gateway_app, name="gateway")
mount(app, session_app)

GatewayHome = Annotated[Path, typer.Option("--home", envvar="PRIVITY_HOME", metavar="DIR", help="The gateway's home.")]
Url = Annotated[str, typer.Option("--gateway", envvar="PRIVITY_GATEWAY", metavar="URL", help="Its REST address.")]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", envvar="PRIVITY_TOKEN_FILE", metavar="FILE", help="The gateway's HOME/token."),
]
Data = Annotated[list[str], typer.Option("--data", metavar="PARTY=FILE.csv", help="A party's file; once for each.")]
Directory = Annotated[Path | None, typer.Option("--dir", metavar="DIR", help="Keep everything in this new directory.")]
ReportFile = Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write the results as JSON.")]
IdColumn = Annotated[str, typer.Option("--id", metavar="COLUMN", help="The column that identifies a record.")]
Keep = Annotated[bool, typer.Option("--keep", help="Leave the consortium running until interrupted.")]


def _files(data: list[str]) -> dict[str, Path]:
    from parties.errors import PlanError

    files = {}
    for item in data:
        party, equals, file = item.partition("=")
        if not equals or not party or not file:
            raise PlanError(f"'{item}' is not PARTY=FILE.csv", action="write it as --data clinic-a=a.csv")
        if party in files:
            raise PlanError(f"--data names {party} twice", action="give one file a party")
        files[party] = Path(file)
    return files


@app.command()
def demo(directory: Directory = None, report: ReportFile = None, keep: Keep = False) -> None:
    """Three clinics, a dealer and a gateway train on real data, and show that it works and what it costs."""
    import tempfile

    from gateway.demo import ID, write_files, write_plan

    with tempfile.TemporaryDirectory(prefix="privity-demo-") as scratch:
        place = Path(scratch)
        files = write_files(place)
        plan = write_plan(files, place / "plan.toml")
        typer.echo("Three clinics hold ten measurements each of the same 569 patients; one has the diagnosis.")
        _run(plan, files, ID, directory, report, keep=keep)


@app.command()
def sandbox(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.toml", help="A plan, as `plan new` writes it.")],
    data: Data,
    id_column: IdColumn = "id",
    directory: Directory = None,
    report: ReportFile = None,
    keep: Keep = False,
) -> None:
    """The whole consortium on this machine, for any plan and files."""
    _run(plan, _files(data), id_column, directory, report, keep=keep)


def _run(
    plan: Path, files: dict[str, Path], id_column: str, directory: Path | None, report: Path | None, *, keep: bool
) -> None:
    from rich.console import Console

    from gateway.sandbox import run, write_report
    from gateway.show import Screen, show
    from parties.plan import load_plan

    console = Console(highlight=False)
    screen = Screen(console)

    def tell(found: Report) -> None:
        screen.close()
        show(found, console, directory)
        if report is not None:
            write_report(found, report)

    def tell_and_wait(found: Report, consortium: Consortium) -> None:
        tell(found)
        _wait(consortium)

    try:
        found = run(
            load_plan(plan), files, id_column, directory, screen.say, screen.on_event, tell_and_wait if keep else None
        )
    finally:
        screen.close()
    if not keep:
        tell(found)
    for failure in found.failures:
        typer.echo(f"privity: {failure}", err=True)
    if found.failures:
        raise typer.Exit(1)


def _wait(consortium: Consortium) -> None:
    """Leave everything running until the user has seen enough."""
    import signal

    if consortium.client is None:
        return
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # or the first Ctrl-C would not be waited for
    typer.echo("\nThe consortium runs on. Its gateway, for a browser on this machine (this login works once):")
    typer.echo(f"  {consortium.client.login()}")
    typer.echo(f"for programs: {consortium.url}, token in {consortium.directory / 'gateway' / 'token'}")
    typer.echo("Ctrl-C ends it.")
    signal.sigwait(signals)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


@plan_app.command("new")
def plan_new(
    data: Data,
    id_column: IdColumn,
    label: Annotated[
        str, typer.Option("--label", metavar="PARTY:COLUMN", help="Who holds what is predicted; by rows, COLUMN alone.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="PLAN.toml", help="Where to write it.")],
    positive: Annotated[str | None, typer.Option("--positive", metavar="CLASS", help="The class 1.")] = None,
    partition: Annotated[
        str, typer.Option("--partition", metavar="columns|rows|blocks", help="What each file holds of the joint table.")
    ] = "columns",
) -> None:
    """Write a commented plan for these files, every default filled in."""
    from parties.errors import SettingsError
    from parties.plan import partition_of
    from parties.planning import propose_plan

    text = propose_plan(_files(data), id_column, label, positive, partition_of(partition))
    if output.exists():
        raise SettingsError(f"{output} exists already", action="choose another -o, or remove it")
    output.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {output}; read it, state purpose and legal basis, then `privity sandbox {output} …`")


@plan_app.command("check")
def plan_check(plan: Annotated[Path, typer.Argument(metavar="PLAN.toml")]) -> None:
    """Whether a plan holds together by itself."""
    from parties.kinds import load_any_plan
    from parties.match_plan import MatchingPlan
    from parties.plan import Plan

    found = load_any_plan(plan)
    if isinstance(found, Plan):
        what = f"label {found.label.in_words}"
    elif isinstance(found, MatchingPlan):
        what = f"common records as data set {found.result}"
    else:
        what = f"probabilities by model {found.model[:12]} for {found.recipient}"
    typer.echo(f"{plan} holds: {len(found.parties)} parties, {what}")


@plan_app.command("estimate")
def plan_estimate(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.toml")],
    round_trip: Annotated[float, typer.Option("--round-trip", metavar="MS", help="Of the longest link.")] = 20.0,
    bandwidth: Annotated[float, typer.Option("--bandwidth", metavar="MBIT_S", help="Of the narrowest.")] = 100.0,
    gateway: Url = "http://127.0.0.1:8470",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """What a plan would cost: rounds, bytes, memory, seconds. Nothing is proposed."""
    from gateway.estimate import link_of
    from parties.kinds import load_any_plan

    link = link_of(round_trip, bandwidth)
    with _client(gateway, token_file) as client:
        found = client.estimate(load_any_plan(plan), link)
    if as_json:
        echo_json(json.loads(found.model_dump_json()))
    else:
        typer.echo("\n".join(found.lines))


@gateway_app.command("init")
def gateway_init(
    home: GatewayHome,
    name: Annotated[str, typer.Option("--name", help="The gateway's name.")] = "gateway",
    rest: Annotated[str, typer.Option("--rest", metavar="HOST:PORT", help="REST; loopback only.")] = "127.0.0.1:8470",
    control: Annotated[str, typer.Option("--control", metavar="HOST:PORT", help="For daemons.")] = "127.0.0.1:8471",
) -> None:
    """Make a gateway's directory: keys, settings, token."""
    from gateway.home import init

    init(home, name=name, rest=rest, control=control)
    typer.echo(f"the gateway {name} is set up in {home}; next: `privity gateway invite NAME`, `privity gateway serve`")


@gateway_app.command("invite")
def gateway_invite(
    name: Annotated[str, typer.Argument(help="The participant's name in the consortium.")],
    home: GatewayHome,
    dealer: Annotated[bool, typer.Option("--dealer", help="Invite a dealer instead of a party.")] = False,
) -> None:
    """Print a one-time token for a node or the dealer."""
    from gateway.home import invite

    typer.echo(invite(home, name, "dealer" if dealer else "party"))


@gateway_app.command("login")
def gateway_login(home: GatewayHome) -> None:
    """Print an address that logs a browser on this machine in, once."""
    from gateway.access import TOKEN_FILE, Token
    from gateway.client import GatewayClient
    from gateway.home import serving

    with GatewayClient(f"http://{serving(home)['rest']}", Token.load(home / TOKEN_FILE).reveal()) as client:
        typer.echo(client.login())


@gateway_app.command("serve")
def gateway_serve(home: GatewayHome) -> None:
    """Run the gateway until it is told to stop; one line of JSON says when it is ready."""
    from gateway.serve import serve

    serve(home)


def _client(url: str, token_file: Path | None) -> GatewayClient:
    from gateway.access import Token
    from gateway.client import GatewayClient
    from parties.errors import SettingsError

    if token_file is None:
        raise SettingsError("the gateway asks for its token", action="give --token-file HOME/token of the gateway")
    return GatewayClient(url, Token.load(token_file).reveal())


@session_app.command("propose")
def session_propose(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.toml")],
    key: Annotated[str, typer.Option("--key", help="Any text; under one, a plan is proposed once a day.")] = "",
    gateway: Url = "http://127.0.0.1:8470",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Propose a plan; every party and the dealer must then sign the contract that follows from it."""
    from parties.kinds import load_any_plan

    with _client(gateway, token_file) as client:
        created = client.propose(load_any_plan(plan), key)
    if as_json:
        echo_json({"id": created.id, "state": created.state.value})
    else:
        typer.echo(f"proposed session {created.id}\nnow each node: `privity session approve {created.id[:12]}`")


@session_app.command("list")
def session_list(
    states: Annotated[list[State] | None, typer.Option("--state", help="Those in it; may come again.")] = None,
    kind: Annotated[
        Literal["training", "prediction", "matching"] | None, typer.Option("--kind", help="Those of it.")
    ] = None,
    participant: Annotated[str | None, typer.Option("--participant", metavar="NAME", help="Those it is in.")] = None,
    gateway: Url = "http://127.0.0.1:8470",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Sessions of the gateway, newest first."""
    with _client(gateway, token_file) as client:
        views = client.sessions(states=states or (), kind=kind, participant=participant)
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
    from parties.contract import Contract
    from parties.telling import convergence

    with _client(gateway, token_file) as client:
        if contract:
            echo_json(client.contract(client.find(session)).model_dump(mode="json"))
            return
        view = client.session(client.find(session))
        agreed = client.contract(view.id) if view.converged is not None else None
    if as_json:
        echo_json(json.loads(view.model_dump_json()))
        return
    typer.echo(f"{view.id}\n{view.state}, {view.kind}: {view.purpose}")
    if view.waiting_for:
        typer.echo(f"waits for {', '.join(view.waiting_for)}")
    if view.converged is not None and isinstance(agreed, Contract) and agreed.convergence is not None:
        typer.echo(convergence(view.converged, agreed.convergence.tol, agreed.program.max_iter))
    for line in _told(view):
        typer.echo(line)
    for name in view.withdrawn:
        typer.echo(f"{name} withdrew its consent")
    if view.fault is not None:
        typer.echo(view.fault.line())


def _told(view: SessionView) -> Iterator[str]:
    """What the session was told of its models, and how long its stages took."""
    from parties.curves import lines
    from parties.telling import times, validation

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
    """Follow a session to its end; exit status 0 only if it completes."""
    state, unit = "", "iteration"
    with _client(gateway, token_file) as client:
        for event in client.events(client.find(session)):
            if event.kind == "state":
                state = str(event.data["state"])
                unit = "row" if event.data["kind"] == "prediction" else "iteration"
            if as_json:
                typer.echo(json.dumps({"kind": event.kind, **event.data}))
            elif event.kind == "state":
                typer.echo(state)
            else:
                loss = event.data.get("loss")
                shown = "" if loss is None else f", loss {loss:.4f}"
                typer.echo(f"{unit} {event.data['iteration']} of {event.data['of']}{shown}")
    raise typer.Exit(0 if state == "completed" else 1)


@session_app.command("cancel")
def session_cancel(
    session: Annotated[str, typer.Argument(metavar="SESSION")],
    gateway: Url = "http://127.0.0.1:8470",
    token_file: TokenFile = None,
) -> None:
    """End a session for everybody."""
    with _client(gateway, token_file) as client:
        typer.echo(client.cancel(client.find(session)).state.value)


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
