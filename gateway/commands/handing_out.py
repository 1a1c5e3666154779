"""What commands about personal tokens share: a secret is printed once, or goes to a new file; lists show no secret."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli import echo_json, tell

if TYPE_CHECKING:
    from gateway.storage.token_rows import TokenView

Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="A new file for it.")]


def check_new(output: Path | None) -> None:
    """Raises: SettingsError if something is in the way of the token's file."""
    if output is not None and output.exists():
        from parties.errors import SettingsError

        raise SettingsError(f"{output} exists already", action="choose another -o, or remove it")


def hand_out(secret: str, token: TokenView, output: Path | None, *, as_json: bool) -> None:
    """Print a fresh token, or write it where nobody else reads it."""
    from parties.keys.identity import write_private

    shown = json.loads(token.model_dump_json())
    if output is None:
        tell(secret, as_json=as_json, token=shown, secret=secret)
        return
    write_private(output, secret.encode() + b"\n")
    words = f"wrote token {token.id} to {output}; it holds until {token.expires:%Y-%m-%d}"
    tell(words, as_json=as_json, token=shown, file=str(output))


def show_ended(token: TokenView, *, as_json: bool) -> None:
    """That a token is revoked."""
    if as_json:
        echo_json(json.loads(token.model_dump_json()))
    else:
        typer.echo(f"token {token.id} of {token.account} is revoked")


def line_of(token: TokenView, now: datetime) -> str:
    """Whose it is, what it may, how long it holds, when it was used."""
    used = f"used {token.last_used:%Y-%m-%d %H:%M}" if token.last_used else "never used"
    return f"{token.id}  {token.account}, {token.scope}; {token.standing(now)}; {used}"
