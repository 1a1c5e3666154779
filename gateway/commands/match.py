"""`privity match`: what an analyst asks of the parties' lists before anything is trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.options import TokenFile, Url, client_of
from parties.cli import AsJson, echo_json

if TYPE_CHECKING:
    from gateway.views import SessionView
    from parties.agreement.kinds import AnyContract

app = typer.Typer(help="Lists of records that overlap in part.", no_args_is_help=True)


@app.command("estimate")
def estimate(
    plan: Annotated[Path, typer.Argument(metavar="MATCHING.toml", help="The plan of the matching that may follow.")],
    gateway: Url = "http://127.0.0.1:8470",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """About how many records the lists have in common: a session of its own, which compares a random sample.

    Every party signs it first; nobody is told which records are common, and nothing is kept. Who is waited for is said
    on standard error; who stops waiting leaves the session, which `privity session cancel` ends.
    """
    from rich.console import Console

    from gateway.commands.watch import follow
    from parties.agreement.match_plan import load_matching_plan
    from parties.errors import GatewayError

    asked = load_matching_plan(plan).as_estimate()
    with client_of(gateway, token_file) as client:
        session = client.propose(asked).id
        if not as_json:
            typer.echo(f"proposed session {session}\nnow each node: `privity session approve {session[:12]}`")
            follow(client.open(session).watch(), Console(stderr=True))
        for _ in client.events(session):
            pass
        view, contract = client.session(session), client.contract(session)
    if view.state != "completed":
        raise GatewayError(
            f"the session {view.state}: {view.fault.line() if view.fault else 'no reason was given'}",
            action="see `privity session show`",
        )
    if as_json:
        echo_json({"session": session, "about": view.estimate, "fewer_than": _least(contract, view)})
    else:
        typer.echo(in_words(view, contract))


def in_words(view: SessionView, contract: AnyContract) -> str:
    """What an estimate told, as far as all parties say the same."""
    from parties.agreement.match_plan import MatchingContract
    from parties.outcome.telling import estimate as told

    if view.estimate is None or not isinstance(contract, MatchingContract):
        return "the parties do not tell the same number"
    return told(view.estimate, contract.least_told)


def _least(contract: AnyContract, view: SessionView) -> int | None:
    """Of an estimate that told no number: than what there are fewer."""
    from parties.agreement.match_plan import MatchingContract

    return contract.least_told if isinstance(contract, MatchingContract) and view.estimate == 0 else None
