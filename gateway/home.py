"""A gateway's directory: what is in it, making one, and inviting organisations to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gateway import settings as gateway_settings
from gateway.access.principal import CONSORTIUM
from gateway.access.tokens import TOKEN_FILE, Token
from gateway.settings import GatewaySettings, load_settings
from gateway.storage.database import PASSWORD_FILE
from gateway.storage.database import migrate as migrate_database
from gateway.storage.migrations import newest
from gateway.storage.store import Role, Store
from parties.agreement.plan import Name, explain
from parties.audit.log import FILE_NAME as AUDIT_FILE
from parties.audit.log import AuditLog
from parties.errors import SettingsError
from parties.keys.identity import Identity, write_private
from parties.keys.tls import DAEMON_DAYS, Invitation, TlsKey, certificate_sha256, utc_now
from parties.web.addresses import parse_address

IDENTITY_FILE = "identity.pem"
TLS_KEY_FILE = "tls.key"
TLS_CERTIFICATE_FILE = "tls.crt"
SERVING_FILE = "serving.json"  # where a running gateway listens; gone when it does not run
OWN_NAME = "gateway"  # stands for the gateway itself in every fault


def init(
    home: Path,
    *,
    name: str = "gateway",
    rest: str = "127.0.0.1:8470",
    control: str = "127.0.0.1:8471",
    database: str = "",
    clock: Callable[[], datetime] = utc_now,
) -> GatewaySettings:
    """Make a gateway: settings, identity, TLS key, REST token, empty store and log.

    Raises: SettingsError if there is one at home already, or a setting does not fit.
    """
    settings = _settings(name=name, rest_address=rest, control_address=control, database=database)
    identity = _begin(home, settings)
    key = TlsKey.generate(name, now=clock(), days=DAEMON_DAYS)
    write_private(home / TLS_KEY_FILE, key.key_pem)
    write_private(home / TLS_CERTIFICATE_FILE, key.certificate.encode())
    Token.create(home)
    _furnish(home, settings, identity, clock)
    return settings


def init_beside(
    home: Path,
    first: Path,
    *,
    name: str,
    rest: str = "127.0.0.1:8470",
    control: str = "127.0.0.1:8471",
    clock: Callable[[], datetime] = utc_now,
) -> GatewaySettings:
    """Make another gateway on the database of a first one, which daemons can't tell from it.

    TLS key, REST token, password and settings are copies; identity, log and addresses are its own. Raises:
    SettingsError if the first one has a file for a database, its name is taken over, or as `init`.
    """
    shared = load_settings(first)
    if not shared.database:
        raise SettingsError(
            f"the gateway in {first} keeps its sessions in a file, which is one gateway's",
            action="move it to PostgreSQL: set `database`",
        )
    if name == shared.name:
        raise SettingsError(f"the gateway in {first} is called '{name}'", action="give this one a --name of its own")
    own = {"name": name, "rest_address": rest, "control_address": control, "public_address": ""}
    settings = _settings(**(shared.model_dump() | own))
    identity = _begin(home, settings)
    for file in (TLS_KEY_FILE, TLS_CERTIFICATE_FILE, TOKEN_FILE, PASSWORD_FILE):
        if (first / file).exists():
            write_private(home / file, (first / file).read_bytes())
    _furnish(home, settings, identity, clock)
    return settings


def _settings(**given: Any) -> GatewaySettings:
    try:
        return GatewaySettings(**given)
    except ValidationError as exc:
        raise SettingsError(explain(exc), action="choose another value") from exc


def _begin(home: Path, settings: GatewaySettings) -> Identity:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(home / gateway_settings.FILE, settings.render().encode())
    identity = Identity.generate()
    identity.save(home / IDENTITY_FILE)
    return identity


def _furnish(home: Path, settings: GatewaySettings, identity: Identity, clock: Callable[[], datetime]) -> None:
    Store.open(home, settings.database).close()
    AuditLog.open(home / AUDIT_FILE, identity, settings.name, clock=clock).close()


def invite(home: Path, name: str, role: Role = "party", *, clock: Callable[[], datetime] = utc_now) -> str:
    """A one-time token for an organisation's `init`; also while the gateway serves.

    Raises: SettingsError if the name can't be used, or nobody knows yet where the gateway will listen.
    """
    settings = load_settings(home)
    invitation = Invitation.create(_checked(name), _address_to_dial(home, settings), _certificate_digest(home))
    store = Store.open(home, settings.database)
    try:
        with store.transaction() as rows:
            rows.invite(name, role, invitation.authority(clock()), clock())
    finally:
        store.close()
    return invitation.token()


def migrate(home: Path) -> tuple[str | None, str]:
    """Bring the database to this version's revision; what it was of, None for none, and what it is of.

    Raises: SettingsError if it is newer, or no store of a gateway; AuditError while the gateway runs.
    """
    settings = load_settings(home)
    with AuditLog.open(home / AUDIT_FILE, Identity.load(home / IDENTITY_FILE), settings.name, must_exist=True):
        return migrate_database(home, settings.database), newest()


def load_tls_key(home: Path) -> TlsKey:
    """Raises: SettingsError if key or certificate is missing or they do not fit."""
    try:
        key, certificate = (home / TLS_KEY_FILE).read_bytes(), (home / TLS_CERTIFICATE_FILE).read_text("ascii")
    except FileNotFoundError as exc:
        raise SettingsError(f"{exc.filename} is missing", action="restore it from a backup") from exc
    return TlsKey.from_pem(key, certificate)


def _checked(name: str) -> str:
    try:
        checked: str = TypeAdapter(Name).validate_python(name)
    except ValidationError as exc:
        raise SettingsError(
            f"'{name}' can't be a participant's name",
            action="use lower-case letters, digits, - and _, beginning with a letter or a digit",
        ) from exc
    if checked in {OWN_NAME, CONSORTIUM}:
        raise SettingsError(f"'{checked}' stands for the gateway itself", action="choose another name")
    return checked


def _certificate_digest(home: Path) -> str:
    return certificate_sha256((home / TLS_CERTIFICATE_FILE).read_text("ascii"))


def _address_to_dial(home: Path, settings: GatewaySettings) -> str:
    if settings.public_address:
        return settings.public_address
    if parse_address(settings.control_address).port:
        return settings.control_address
    return serving(home)["control"]


def serving(home: Path) -> dict[str, str]:
    """Where the gateway listens, as "rest" and "control". Raises: SettingsError if it does not run."""
    try:
        addresses: dict[str, str] = json.loads((home / SERVING_FILE).read_text("ascii"))
    except FileNotFoundError as exc:
        raise SettingsError(
            f"no gateway runs in {home}", action="start it with `privity gateway serve`, and try again"
        ) from exc
    return addresses
