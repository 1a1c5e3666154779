"""`privity session log`: what the gateway's own audit log has of a session, and proofs of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.options import TokenFile, Url, client_of
from parties.cli import AsJson, echo_json


def session_log(
    session: Annotated[str, typer.Argument(metavar="SESSION")],
    prove: Annotated[
        int | None, typer.Option("--prove", min=0, metavar="ENTRY", help="The proof of this entry instead of the list.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where the proof goes; standard output if left out.")
    ] = None,
    gateway: Url = "http://127.0.0.1:8470",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """What the gateway's own audit log has of a session, and proofs of it for `audit verify`."""
    from parties.errors import SettingsError

    if prove is None and out is not None:
        raise SettingsError("a list goes to standard output", action="give --out with --prove ENTRY")
    with client_of(gateway, token_file) as client:
        found = client.find(session)
        if prove is not None:
            _show_proof(client.log_proof(found, prove), prove, out, as_json=as_json)
            return
        entries = client.log_entries(found)
    if as_json:
        echo_json([json.loads(one.model_dump_json()) for one in entries])
        return
    for one in entries:
        typer.echo(f"{one.entry:>8}  {one.time:%Y-%m-%d %H:%M:%S}  {one.type}")


def _show_proof(text: str, entry: int, out: Path | None, *, as_json: bool) -> None:
    from parties.audit.cli import deliver

    if out is not None or not as_json:
        deliver(text.encode(), out)
    if as_json:
        echo_json({"entry": entry, **({"proof": text} if out is None else {"file": str(out)})})
