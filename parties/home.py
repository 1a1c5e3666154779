"""A daemon's home directory: where its keys, settings and records lie, and how one is made.

settings.toml   who it is and where the gateway is        identity.pem   signs; never leaves
policy.toml     what it signs by itself                   tls.pem        its TLS key and certificate
partners.json   fingerprints that its operator confirmed  gateway.pem    the gateway's certificate
state.sqlite    sessions and epochs                       audit.sqlite   the audit log
vault.key, vault/   data at rest (nodes)                  results/       what it was disclosed (nodes)
"""

from __future__ import annotations

import os
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import StringConstraints, ValidationError

from parties.errors import SettingsError
from parties.identity import Identity, write_private
from parties.plan import Frozen, Name, explain
from parties.tls import Invitation, TlsKey, fetch_certificate
from parties.vault import create_master_key

Address = Annotated[str, StringConstraints(pattern=r"^[^\s:]{1,253}:[0-9]{1,5}$")]
Role = Literal["party", "dealer"]


class Settings(Frozen):
    """settings.toml; each key is explained in the file that `init` writes."""

    name: Name
    role: Role
    listen: Address
    advertise: str = ""
    gateway: Address
    gateway_certificate_sha256: str


_SETTINGS = """\
# This {role}'s name in the consortium, as the gateway invited it.
name = "{name}"
# What it is: "party" brings data, "dealer" hands out correlated randomness. One home is one of them.
role = "{role}"
# HOST:PORT where {callers} connect; port 0 takes a free one at each start.
listen = "{listen}"
# HOST:PORT that others are told instead, where a firewall translates addresses; empty: the one above.
advertise = ""
# HOST:PORT of the gateway's control stream, which this daemon dials.
gateway = "{gateway}"
# SHA-256 of the certificate that the gateway must show, from the invitation.
gateway_certificate_sha256 = "{sha256}"
"""


class Home:
    """Paths and files of one daemon."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, name: str) -> Path:
        return self.directory / name

    @property
    def identity(self) -> Identity:
        return Identity.load(self.path("identity.pem"))

    @property
    def settings(self) -> Settings:
        """Raises: SettingsError if there is no home here, or a key does not fit."""
        path = self.path("settings.toml")
        try:
            return Settings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as exc:
            raise SettingsError(
                f"{self.directory} is no home of a node or a dealer",
                action="run `privity node init` or `privity dealer init`, or give another --home",
            ) from exc
        except tomllib.TOMLDecodeError as exc:
            raise SettingsError(f"{path} is not TOML: {exc}") from exc
        except ValidationError as exc:
            raise SettingsError(f"{path}: {explain(exc)}") from exc

    @property
    def tls(self) -> TlsKey:
        content = self.path("tls.pem").read_bytes()
        key, _, certificate = content.partition(b"-----BEGIN CERTIFICATE-----")
        return TlsKey.from_pem(key, "-----BEGIN CERTIFICATE-----" + certificate.decode())

    def gateway_certificate(self) -> str:
        """The gateway's certificate, fetched once and compared with the invitation's digest."""
        path = self.path("gateway.pem")
        if not path.exists():
            settings = self.settings
            path.write_text(fetch_certificate(settings.gateway, settings.gateway_certificate_sha256))
        return path.read_text()


def init(directory: Path, role: Role, token: str, listen: str, now: datetime) -> Home:
    """Make a home out of an invitation: fresh keys, settings, a policy that asks its operator for everything.

    Raises: SettingsError if the directory is a home already or the token is not one; nothing is left then.
    """
    invitation = Invitation.parse(token)
    home = Home(directory)
    if home.path("settings.toml").exists():
        raise SettingsError(f"{directory} is a home already", action="choose another --home")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chmod(directory, 0o700)  # noqa: PTH101 - the directory may have been there
    Identity.generate().save(home.path("identity.pem"))
    tls = invitation.admit(now)
    write_private(home.path("tls.pem"), tls.key_pem + tls.certificate.encode())
    if role == "party":
        create_master_key(home.path("vault.key"))
        home.path("results").mkdir(exist_ok=True, mode=0o700)
    home.path("policy.toml").write_text(POLICY, encoding="utf-8")
    home.path("settings.toml").write_text(  # last: a home exists once this does
        _SETTINGS.format(
            role=role,
            name=invitation.name,
            listen=listen,
            callers="the other parties' workers" if role == "party" else "workers",
            gateway=invitation.address,
            sha256=invitation.gateway_sha256,
        ),
        encoding="utf-8",
    )
    return home


POLICY = """\
# What this organisation signs. A contract that breaks a rule is refused whoever asks.

# "operator": every contract waits for `privity session approve` here. "automatic": what passes the rules is signed.
approve = "operator"
# Purposes that may be signed, word for word; empty: any (the operator reads it).
purposes = []
# Disclosures that may be named in a contract.
disclosures = ["coefficients", "intercept", "loss", "guard"]
# Fewest training rows of a session.
min_training_rows = 50
# Most coefficients for each hundred training rows.
max_columns_per_100_rows = 20
# Own columns that never take part.
never_columns = []
"""
