"""`privity recording`: what a node keeps for replays, and its early end."""

from __future__ import annotations

import typer

from parties.cli import AsJson, Home, SessionId, ask, echo_json, tell

app = typer.Typer(help="Recordings that this node keeps for replays.", no_args_is_help=True)


@app.command("list")
def recording_list(home: Home, as_json: AsJson = False) -> None:
    """Sessions of which this node keeps a recording, how large it is, and until when it is kept."""
    from parties.service.desk import replays_of
    from parties.service.home import Home as HomeDirectory

    place = HomeDirectory(home)
    _ = place.settings  # a wrong --home is told before a missing key
    replays = replays_of(place)
    kept = [replays.kept(session) for session in replays.list()]
    if as_json:
        echo_json(
            [
                {"session": one.session, "data": one.data, "bytes": one.size_bytes, "until": one.until.isoformat()}
                for one in kept
            ]
        )
        return
    if not kept:
        typer.echo("no recordings are kept")
    for one in kept:
        typer.echo(f"{one.session}  {one.size}  until {one.until:%Y-%m-%d}  data set {one.data}")


@app.command("delete")
def recording_delete(session: SessionId, home: Home, as_json: AsJson = False) -> None:
    """Destroy a recording before its time; this node's part of that session can't be made again from then on."""
    found = ask(home, "recording-delete", session=session)
    tell(f"destroyed the recording of session {found}", as_json=as_json, session=found)
