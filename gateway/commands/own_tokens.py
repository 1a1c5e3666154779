"""`privity token`: an account's own personal tokens, and an administrator's organisation's, over REST."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gateway.access.principal import Role
from gateway.commands.handing_out import Output, check_new, hand_out, line_of, show_ended
from gateway.commands.options import TokenFile, Url, client_of
from parties.cli import AsJson, echo_json

app = typer.Typer(help="Your own personal tokens; as an administrator, your organisation's.", no_args_is_help=True)


@app.command("create")
def create(
    account: Annotated[str | None, typer.Argument(help="Administrators: whose it is; without, your own.")] = None,
    organisation: Annotated[
        str | None, typer.Option("--organisation", metavar="NAME", help="The consortium's administrators: any.")
    ] = None,
    role: Annotated[Role | None, typer.Option("--role", help="Administrators: what it may.")] = None,
    days: Annotated[
        int | None, typer.Option("--days", min=1, max=366, help="For how many days; no longer than yours.")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="It may change nothing.")] = False,
    key: Annotated[
        str,
        typer.Option("--key", help="1 to 200 letters or digits; under one a token is made once, and never told again."),
    ] = "",
    output: Output = None,
    gateway: Url = "http://127.0.0.1:8470",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a token that may no more than yours, and print it, this once."""
    from gateway.access.seen_tokens import wanted

    asked = wanted(account=account, organisation=organisation, role=role, is_read_only=read_only, days=days)
    check_new(output)
    with client_of(gateway, token_file) as client:
        issued = client.create_token(asked, key)
    hand_out(issued.secret, issued.token, output, as_json=as_json)


@app.command("list")
def list_tokens(gateway: Url = "http://127.0.0.1:8470", token_file: TokenFile = None, as_json: AsJson = False) -> None:
    """Tokens that were ever made, without their secrets."""
    from parties.keys.tls import utc_now

    with client_of(gateway, token_file) as client:
        found = client.tokens()
    if as_json:
        echo_json([json.loads(token.model_dump_json()) for token in found])
        return
    for token in found:
        typer.echo(line_of(token, utc_now()))


@app.command("revoke")
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
    gateway: Url = "http://127.0.0.1:8470",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """End a token, and the logins that were made with it, at once."""
    with client_of(gateway, token_file) as client:
        ended = client.revoke_token(token)
    show_ended(ended, as_json=as_json)
