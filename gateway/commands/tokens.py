"""`privity gateway token`: personal tokens, made and revoked by whoever may use the gateway's home."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.commands.handing_out import Output, check_new, hand_out, line_of, show_ended
from parties.cli import AsJson, echo_json

if TYPE_CHECKING:
    from gateway.access.accounts import Accounts

token_app = typer.Typer(help="Personal tokens: who may use REST, for whom, in which role.", no_args_is_help=True)

Home = Annotated[Path, typer.Option("--home", envvar="PRIVITY_HOME", metavar="DIR", help="The gateway's home.")]


@token_app.command("create")
def create(
    account: Annotated[str, typer.Argument(help="Whose it is; lower case, as it stands in the audit log.")],
    organisation: Annotated[str, typer.Option("--organisation", metavar="NAME", help="A participant, or consortium.")],
    role: Annotated[Literal["analyst", "operator", "compliance", "admin"], typer.Option("--role", help="What it may.")],
    home: Home,
    days: Annotated[int, typer.Option("--days", min=1, max=366, help="For how many days.")] = 90,
    read_only: Annotated[bool, typer.Option("--read-only", help="It may change nothing.")] = False,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, this once; also while the gateway serves."""
    from gateway.access.accounts import asked_for

    asked = asked_for(account, organisation, role, is_read_only=read_only, days=days)
    check_new(output)
    with _accounts(home) as accounts:
        token, record = accounts.create(asked)
    hand_out(token.reveal(), record.view(), output, as_json=as_json)


@token_app.command("list")
def list_tokens(home: Home, as_json: AsJson = False) -> None:
    """All tokens that were ever made, without their secrets."""
    from parties.keys.tls import utc_now

    with _accounts(home) as accounts:
        found = accounts.all()
    if as_json:
        echo_json([json.loads(record.view().model_dump_json()) for record in found])
        return
    for record in found:
        typer.echo(line_of(record.view(), utc_now()))


@token_app.command("revoke")
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")], home: Home, as_json: AsJson = False
) -> None:
    """End a token, and the logins that were made with it, at once."""
    with _accounts(home) as accounts:
        record = accounts.revoke(token)
    show_ended(record.view(), as_json=as_json)


@contextmanager
def _accounts(home: Path) -> Iterator[Accounts]:
    from gateway.access.accounts import Accounts
    from gateway.settings import load_settings
    from gateway.storage.store import Store

    store = Store.open(home, load_settings(home).database)
    try:
        yield Accounts(store, None)
    finally:
        store.close()
