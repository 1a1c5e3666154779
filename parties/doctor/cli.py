"""`privity doctor`: what is wrong with a node or a dealer, one line each, with what to do."""

from __future__ import annotations

import typer

from parties.cli import AsJson, Home, echo_json


def doctor(home: Home, as_json: AsJson = False) -> None:
    """Look at a node's or a dealer's home, machine and network; exit status 1 if something must be mended."""
    from dataclasses import asdict

    from parties.doctor.examination import examine
    from parties.keys.tls import utc_now
    from parties.service.home import Home as HomeDirectory

    found = []
    for symptom in examine(HomeDirectory(home), utc_now()):
        found.append(symptom)
        if not as_json:
            typer.echo(symptom.line())
    if as_json:
        echo_json([asdict(symptom) for symptom in found])
    if any(symptom.state == "mend" for symptom in found):
        raise typer.Exit(1)
