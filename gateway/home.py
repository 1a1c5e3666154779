"""A gateway's directory: what is in it, making one, and inviting organisations to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from gateway import settings as gateway_settings
from gateway.access import Token
from gateway.settings import GatewaySettings, load_settings
from gateway.store import Role, Store
from parties.audit.log import FILE_NAME as AUDIT_FILE
from parties.audit.log import AuditLog
from parties.errors import SettingsError
from parties.identity import Identity, write_private
from parties.plan import Name, explain
from parties.tls import DAEMON_DAYS, Invitation, TlsKey, certificate_sha256, utc_now
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
    clock: Callable[[], datetime] = utc_now,
) -> GatewaySettings:
    """Make a gateway: settings, identity, TLS key, REST token, empty store and log.

    Raises: SettingsError if there is one at home already, or a setting does not fit.
    """
    try:
        settings = GatewaySettings(name=name, rest_address=rest, control_address=control)
    except ValidationError as exc:
        raise SettingsError(explain(exc), action="choose another value") from exc
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(home / gateway_settings.FILE, settings.render().encode())
    identity = Identity.generate()
    identity.save(home / IDENTITY_FILE)
    key = TlsKey.generate(name, now=clock(), days=DAEMON_DAYS)
    write_private(home / TLS_KEY_FILE, key.key_pem)
    write_private(home / TLS_CERTIFICATE_FILE, key.certificate.encode())
    Token.create(home)
    Store.open(home).close()
    AuditLog.open(home / AUDIT_FILE, identity, name, clock=clock).close()
    return settings


def invite(home: Path, name: str, role: Role = "party", *, clock: Callable[[], datetime] = utc_now) -> str:
    """A one-time token for an organisation's `init`; also while the gateway serves.

    Raises: SettingsError if the name can't be used, or nobody knows yet where the gateway will listen.
    """
    settings = load_settings(home)
    invitation = Invitation.create(_checked(name), _address_to_dial(home, settings), _certificate_digest(home))
    store = Store.open(home)
    try:
        with store.transaction() as rows:
            rows.invite(name, role, invitation.authority(clock()), clock())
    finally:
        store.close()
    return invitation.token()


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
    if checked == OWN_NAME:
        raise SettingsError(f"'{OWN_NAME}' is the gateway itself", action="choose another name")
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
