"""`privity model`: the shares of trained models that a node keeps."""

from __future__ import annotations

import typer

from parties.cli import AsJson, Home, SessionId, ask, echo_json, tell

app = typer.Typer(help="Shares of trained models that this node keeps.", no_args_is_help=True)


@app.command("list")
def model_list(home: Home, as_json: AsJson = False) -> None:
    """Models of which this node keeps its share, and until when."""
    from parties.service.desk import models_of
    from parties.service.home import Home as HomeDirectory

    place = HomeDirectory(home)
    _ = place.settings  # a wrong --home is told before a missing key
    models = models_of(place)
    kept = [models.load(session) for session in models.list()]
    if as_json:
        echo_json(
            [
                {"session": m.trained.digest, "purpose": m.trained.purpose, "expires": m.expires.isoformat()}
                for m in kept
            ]
        )
        return
    for model in kept:
        typer.echo(f"{model.trained.digest}  until {model.expires:%Y-%m-%d}  {model.trained.purpose}")


@app.command("delete")
def model_delete(session: SessionId, home: Home, as_json: AsJson = False) -> None:
    """Destroy this node's share of a model; nobody can predict by it from then on."""
    deleted = ask(home, "model-delete", session=session)
    tell(f"deleted the share of model {deleted}", as_json=as_json, session=deleted)
