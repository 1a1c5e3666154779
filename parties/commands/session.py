"""`privity session`, an operator's part: contracts that wait, and consent."""

from __future__ import annotations

from typing import Annotated

import typer

from parties.cli import AsJson, Home, SessionId, ask, ask_daemon, echo_json, tell

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")]


def pending(home: Home, as_json: AsJson = False) -> None:
    """Contracts that wait for this node's operator."""
    from parties.agreement.contract_text import leaves
    from parties.agreement.kinds import parse_contract
    from parties.service.home import Home as HomeDirectory

    contracts = [parse_contract(text.encode()) for text in ask_daemon(home, "pending")]
    if as_json:
        echo_json([{"session": c.digest, "contract": c.model_dump(mode="json")} for c in contracts])
        return
    if not contracts:
        typer.echo("nothing waits")
    own = HomeDirectory(home).settings.name
    for contract in contracts:
        typer.echo(leaves(contract, own))


def approve(
    session: SessionId,
    home: Home,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Sign a contract at this node, once it was read: what leaves this organisation, and what the policy says."""
    from parties.agreement.contract_text import leaves, tells
    from parties.agreement.kinds import parse_contract
    from parties.commands.policy import findings, said
    from parties.service.home import Home as HomeDirectory

    place = HomeDirectory(home)
    contract, own = parse_contract(ask_daemon(home, "contract", session=session).encode()), place.settings.name
    for part in (leaves(contract, own), tells(contract, own), "this node's policy", *said(findings(place, contract))):
        typer.echo(part, err=as_json)
    if not yes:
        typer.confirm("Sign this contract?", abort=True, err=as_json)
    signed = ask_daemon(home, "approve", session=contract.digest)
    tell(f"signed session {signed}", as_json=as_json, session=signed)


def refuse(
    session: SessionId,
    home: Home,
    reason: Annotated[
        str, typer.Option(metavar="REASON", help="purpose, basis, data, disclosures, parties or unstated.")
    ] = "unstated",
    as_json: AsJson = False,
) -> None:
    """Refuse a contract at this node; everybody is told the reason."""
    refused = ask_daemon(home, "refuse", session=session, reason=reason)
    tell(f"refused session {refused}", as_json=as_json, session=refused, reason=reason)


def withdraw(
    session: SessionId,
    home: Home,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """End consent to a session: its model's share here is destroyed, what is not over ends, and everybody is told."""
    from parties.report.consequences import consequences
    from parties.service.home import Home as HomeDirectory

    for line in consequences(HomeDirectory(home), session).lines():
        typer.echo(line, err=as_json)
    if not yes:
        typer.confirm("Withdraw consent?", abort=True, err=as_json)
    ended = ask(home, "session-withdraw", beginning=session)
    tell(f"withdrew consent to session {ended}", as_json=as_json, session=ended)
