"""`privity doctor`: what is wrong with a node or a dealer, one line each, with what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from parties.cli import AsJson, Home, echo_json


def doctor(
    home: Home,
    dial: Annotated[
        list[str] | None, typer.Option(metavar="NAME=HOST:PORT", help="A partner's port to try; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at a node's or a dealer's home, machine and network; exit status 1 if something must be mended."""
    from dataclasses import asdict

    from parties.doctor.examination import examine
    from parties.keys.tls import utc_now
    from parties.service.home import Home as HomeDirectory

    found = []
    for symptom in examine(HomeDirectory(home), utc_now(), dialled=_addresses(dial or [])):
        found.append(symptom)
        if not as_json:
            typer.echo(symptom.line())
    if as_json:
        echo_json([asdict(symptom) for symptom in found])
    if any(symptom.state == "mend" for symptom in found):
        raise typer.Exit(1)


def _addresses(dialled: list[str]) -> dict[str, str]:
    """Raises: SettingsError if one is not NAME=HOST:PORT."""
    from parties.errors import SettingsError
    from parties.keys.tls import split_address

    found = {}
    for text in dialled:
        name, separator, address = text.partition("=")
        if not name or not separator:
            raise SettingsError(f"'{text}' is not NAME=HOST:PORT", action="write it as --dial clinic-b=HOST:PORT")
        split_address(address)
        found[name] = address
    return found
