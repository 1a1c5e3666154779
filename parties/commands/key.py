"""`privity key`: a participant's identity key."""

from __future__ import annotations

import typer

from parties.cli import AsJson, Home, echo_json

app = typer.Typer(help="This participant's identity key.", no_args_is_help=True)


@app.command("show")
def key_show(home: Home, as_json: AsJson = False) -> None:
    """The fingerprint that partners confirm, in digits and in words: one of the two will do."""
    from parties.keys.identity import fingerprint_words
    from parties.service.home import Home as HomeDirectory

    identity = HomeDirectory(home).identity
    words = fingerprint_words(identity.fingerprint)
    if as_json:
        echo_json({"fingerprint": identity.fingerprint, "words": words, "public_key": identity.public.hex()})
    else:
        typer.echo(f"{identity.fingerprint}\n{words}")


@app.command("rotate")
def key_rotate(home: Home, as_json: AsJson = False) -> None:
    """Hand over to a new identity key, while no daemon runs; partners are told, and accept it.

    A call that was broken off is finished by another.
    """
    from parties.keys.identity import fingerprint_words
    from parties.keys.identity_rotation import rotate_identity
    from parties.keys.tls import utc_now
    from parties.service.home import Home as HomeDirectory

    fingerprint = rotate_identity(HomeDirectory(home), utc_now())
    if as_json:
        echo_json({"fingerprint": fingerprint, "words": fingerprint_words(fingerprint)})
        return
    typer.echo("The key handed over to a new one. Its fingerprint, to read to your partners over the phone:")
    typer.echo(f"  {fingerprint}\n  {fingerprint_words(fingerprint)}")
    typer.echo("Next: start the daemon; each partner then runs `privity partner accept` with your name.")
