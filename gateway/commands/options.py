"""What commands about sessions share: their options, and how they reach a gateway."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

if TYPE_CHECKING:
    from gateway.client import Gateway

TOKEN_VARIABLE = "PRIVITY_TOKEN"  # noqa: S105  (a variable's name)
GatewayHome = Annotated[Path, typer.Option("--home", envvar="PRIVITY_HOME", metavar="DIR", help="The gateway's home.")]
Url = Annotated[str, typer.Option("--gateway", envvar="PRIVITY_GATEWAY", metavar="URL", help="Its REST address.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file", envvar="PRIVITY_TOKEN_FILE", metavar="FILE", help="Your token's; without, PRIVITY_TOKEN is it."
    ),
]
Data = Annotated[list[str], typer.Option("--data", metavar="PARTY=FILE.csv", help="A party's file; once for each.")]
IdColumn = Annotated[str, typer.Option("--id", metavar="COLUMN", help="The column that identifies a record.")]


def files_of(data: list[str]) -> dict[str, Path]:
    """What --data says. Raises: PlanError."""
    return {party: Path(file) for party, file in pairs(data, "data", "FILE.csv", "a.csv").items()}


def pairs(written: list[str], option: str, what: str, example: str) -> dict[str, str]:
    """Values by party, from an option that comes once for each. Raises: PlanError."""
    from parties.errors import PlanError

    found = {}
    for item in written:
        party, equals, value = item.partition("=")
        if not equals or not party or not value:
            raise PlanError(f"'{item}' is not PARTY={what}", action=f"write it as --{option} clinic-a={example}")
        if party in found:
            raise PlanError(f"--{option} names {party} twice", action="give it once a party")
        found[party] = value
    return found


def _is_address(url: str) -> bool:
    try:
        found = urlsplit(url)
        return found.scheme in {"http", "https"} and bool(found.hostname) and (found.port is None or found.port > 0)
    except ValueError:  # a port that is none
        return False


def client_of(url: str, token_file: Path | None) -> Gateway:
    """Raises: SettingsError without a token, or for a URL that can't be a gateway's."""
    from gateway.access.tokens import Token
    from gateway.client import Gateway
    from parties.errors import SettingsError

    if not _is_address(url):
        raise SettingsError(f"'{url[:80]}' is no gateway's URL", action="write it as http://HOST:PORT or https://HOST")
    if token_file is None and TOKEN_VARIABLE not in os.environ:
        raise SettingsError(
            "the gateway asks for a token", action=f"give --token-file FILE with yours, or set {TOKEN_VARIABLE}"
        )
    return Gateway(url, os.environ[TOKEN_VARIABLE] if token_file is None else Token.load(token_file).reveal())
