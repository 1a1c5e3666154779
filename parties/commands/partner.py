"""`privity partner`: whose keys this participant takes."""

from __future__ import annotations

from typing import Annotated

import typer

from parties.cli import AsJson, Home, ask, echo_json, tell

app = typer.Typer(help="Partners whose fingerprint was confirmed over the phone.", no_args_is_help=True)


@app.command("add")
def partner_add(
    name: str,
    fingerprint: Annotated[list[str], typer.Argument(help="Forty hexadecimal digits, or fifteen words.")],
    home: Home,
    as_json: AsJson = False,
) -> None:
    """Confirm a partner's fingerprint, as its operator read it to you."""
    ask(home, "partner-add", name=name, fingerprint=" ".join(fingerprint))
    tell(f"{name} is a confirmed partner", as_json=as_json, partner=name)


@app.command("remove")
def partner_remove(name: str, home: Home, as_json: AsJson = False) -> None:
    """Withdraw a confirmation; contracts with that partner are refused from then on."""
    ask(home, "partner-remove", name=name)
    tell(f"{name} is no longer a partner", as_json=as_json, partner=name)


@app.command("revoke")
def partner_revoke(name: str, home: Home, as_json: AsJson = False) -> None:
    """Refuse a partner's key for ever: for one that was stolen. Sessions with it end at once."""
    key = ask(home, "partner-revoke", name=name)
    tell(f"the key {key} of {name} is revoked", as_json=as_json, partner=name, fingerprint=key)


@app.command("accept")
def partner_accept(name: str, home: Home, as_json: AsJson = False) -> None:
    """Confirm the key to which a partner's confirmed one has handed over; `partner list` shows it."""
    key = ask(home, "partner-accept", name=name)
    tell(f"{name} is confirmed with the key {key}", as_json=as_json, partner=name, fingerprint=key)


@app.command("list")
def partner_list(home: Home, as_json: AsJson = False) -> None:
    """Confirmed partners and their fingerprints, keys that wait to be accepted, and revoked ones."""
    from parties.keys.identity import fingerprint_words
    from parties.keys.partners import Partners
    from parties.service.home import Home as HomeDirectory

    place = HomeDirectory(home)
    _ = place.settings  # a wrong --home is an error, not an empty list
    partners = Partners(place.path("partners.json"))
    if as_json:
        echo_json(partners.all())
        return
    for name, fingerprint in partners.all().items():
        typer.echo(f"{name}  {fingerprint}")
    keys = partners.keys()
    for name, fingerprint in keys.offered.items():
        typer.echo(f"{name}  {fingerprint}  handed over to, not accepted yet: {fingerprint_words(fingerprint)}")
    for fingerprint, name in keys.revoked.items():
        typer.echo(f"{name}  {fingerprint}  revoked")
