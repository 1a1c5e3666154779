"""`privity whoami` and `privity participants`: who one is to a gateway, and who else is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.commands.options import TokenFile, Url, client_of
from parties.cli import AsJson, echo_json

if TYPE_CHECKING:
    from gateway.views import Me, ParticipantView

DOES: Final = {
    "POST /v1/sessions": "propose sessions",
    "POST /v1/sessions/{session}/cancel": "cancel sessions",
    "POST /v1/tokens": "make and revoke tokens",
    "GET /metrics": "read the gateway's figures",
}


def whoami(gateway: Url = "http://127.0.0.1:8470", token_file: TokenFile = None, as_json: AsJson = False) -> None:
    """Who your token says that you are, what it may, and until when."""
    with client_of(gateway, token_file) as client:
        found = client.me()
    if as_json:
        echo_json(json.loads(found.model_dump_json()))
        return
    for line in _of_me(found):
        typer.echo(line)


def participants(
    name: Annotated[str | None, typer.Argument(help="One alone, with the columns that it publishes.")] = None,
    gateway: Url = "http://127.0.0.1:8470",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Who takes part at the gateway: connected or not, key, release, and what each publishes."""
    from parties.errors import GatewayError

    with client_of(gateway, token_file) as client:
        found = [one for one in client.participants() if name in {None, one.name}]
    if name is not None and not found:
        raise GatewayError(f"there is no participant '{name[:64]}'", action="`privity participants` lists all")
    if as_json:
        echo_json([json.loads(one.model_dump_json()) for one in found])
        return
    for one in found:
        for line in _of(one, with_columns=name is not None):
            typer.echo(line)


def _of_me(me: Me) -> Iterator[str]:
    named = f" ({me.name})" if me.name else ""
    yield f"{me.account}{named}: {me.role} of {me.organisation}{', reads only' if me.is_read_only else ''}"
    if me.expires is not None:
        yield f"token {me.token}, which ends {me.expires:%Y-%m-%d %H:%M} UTC"
    else:
        yield "no personal token: the gateway's own, which does not end"
    yield "sees the sessions of all" if me.sees is None else f"sees the sessions that {me.sees} is part of or proposed"
    yield f"may {', '.join(['read', *(words for route, words in DOES.items() if route in me.may)])}"


def _of(one: ParticipantView, *, with_columns: bool) -> Iterator[str]:
    yield f"{one.name}, {one.role}: {_connection(one)}"
    if one.fingerprint is not None:
        yield f"  key {one.fingerprint}"
    for data in one.published:
        table = data.table
        yield f"  {table.name}: {table.rows:,} rows, {len(table.columns):,} columns, ids in {table.id_column}"
        for column in table.columns if with_columns else ():
            yield f"    {column.name}: {column.kind}{'' if column.complete else ', with gaps'}"


def _connection(one: ParticipantView) -> str:
    if one.fingerprint is None:
        return "invited, not joined yet"
    release = f", release {one.version}" if one.version else ""
    if one.online:
        return f"connected{f' since {one.since:%Y-%m-%d %H:%M} UTC' if one.since else ''}{release}"
    return f"not connected{f', last seen {one.left:%Y-%m-%d %H:%M} UTC' if one.left else ''}{release}"
