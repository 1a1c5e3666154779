"""The gateway's settings: HOME/gateway.toml, read once at the start. Unknown keys are errors."""

from __future__ import annotations

import json
import textwrap
import tomllib
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.access.places import Places, parse_url
from gateway.access.principal import Role
from gateway.storage.database import check_url
from parties.agreement.plan import Frozen, Name, explain
from parties.errors import SettingsError
from parties.web.addresses import names_loopback, parse_address

FILE = "gateway.toml"


def _address(text: str) -> str:
    return str(parse_address(text))


AddressText = Annotated[str, AfterValidator(_address)]
Url = Annotated[str, AfterValidator(parse_url)]
FileName = Annotated[str, Field(max_length=4096)]


class Grant(Frozen):
    """Who of an identity provider's users may do what: those whose claim is, or contains, the value."""

    claim: Annotated[str, Field(min_length=1, max_length=200)]
    value: Annotated[str, Field(min_length=1, max_length=500)]
    organisation: Name
    role: Role


class OidcSettings(Frozen):
    """Logins by an identity provider (OpenID Connect)."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    issuer: Annotated[str, Field(max_length=500)] = ""
    """The identity provider's address (https), exactly as its tokens name it. Default "", none."""
    client_id: Annotated[str, Field(max_length=500)] = ""
    """How the provider knows this gateway; it redirects to /oidc/callback under the first of rest_urls. Default ""."""
    client_secret_file: FileName = ""
    """File with the client's secret, mode 0600, in this directory or by its path. Default "", a public client."""
    scopes: Annotated[tuple[str, ...], Field(max_length=20)] = ("openid", "profile")
    """What the provider is asked to tell; openid must be among it. Default ["openid", "profile"]."""
    grants: Annotated[tuple[Grant, ...], Field(max_length=1000)] = ()
    """Who may do what, the first that fits: {claim, value, organisation, role} each; others are refused. Default []."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.issuer:
            return self
        if self.issuer != self.issuer.rstrip("/") or not is_confidential(self.issuer):
            raise ValueError(f"issuer: '{self.issuer}' is not https://HOST..., without a / at its end")
        if not self.client_id or "openid" not in self.scopes:
            raise ValueError("client_id: must be given, and openid be one of the scopes")
        return self


class GatewaySettings(Frozen):
    """What a gateway's operator decides; the text under each key is the manual."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: Name = "gateway"
    """How this gateway calls itself to daemons and in its TLS certificate; lower case, no spaces. Default "gateway"."""
    rest_address: AddressText = "127.0.0.1:8470"
    """Where REST listens, HOST:PORT; port 0 chooses one. Beyond loopback only with TLS. Default "127.0.0.1:8470"."""
    rest_urls: Annotated[tuple[Url, ...], Field(max_length=20)] = ()
    """Under which addresses browsers and clients come: https and the host, with the port if it is not 443, without a
    path. Requests that name others are refused, but for loopback's names if REST listens there. Default []."""
    rest_certificate: FileName = ""
    """File with REST's certificate and its chain (PEM), in this directory or by its path. Default "", no TLS."""
    rest_key: FileName = ""
    """File with that certificate's private key (PEM), mode 0600. Default ""."""
    request_rate: Annotated[float, Field(ge=0.1, le=100_000)] = 300.0
    """Requests a second that one token, or one address, may make; five seconds' worth at once. Default 300."""
    failures_a_minute: Annotated[int, Field(ge=1, le=100_000)] = 10
    """Wrong tokens and logins that one address may try in a minute; twice as many at once. Default 10."""
    control_address: AddressText = "127.0.0.1:8471"
    """Where daemons dial in (gRPC, mutual TLS), HOST:PORT; port 0 chooses one. Default "127.0.0.1:8471"."""
    public_address: AddressText | Annotated[str, Field(max_length=0)] = ""
    """The address that invitations name, if not control_address: what daemons dial. Default "", the same."""
    database: Annotated[str, AfterValidator(check_url)] = ""
    """PostgreSQL's postgresql+psycopg://USER@HOST/NAME, without password. Default "", the file gateway.sqlite here."""
    invitation_hours: Annotated[int, Field(ge=1, le=24 * 90)] = 72
    """How long an unused invitation stays open, hours. Default 72."""
    max_open_sessions: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Sessions that may be proposed, approved or running at once. Default 100."""
    absence_s: Annotated[float, Field(ge=0.1, le=3600)] = 5.0
    """How long a participant of a running session may be disconnected before the session fails, seconds. Default 5."""
    restart_grace_s: Annotated[float, Field(ge=0.1, le=3600)] = 30.0
    """The same, counted from the gateway's own start, for participants that have yet to return, seconds. Default 30."""
    hello_s: Annotated[float, Field(ge=0.1, le=60)] = 10.0
    """How long a new connection may take to introduce itself, seconds. Default 10."""

    oidc: OidcSettings = OidcSettings()
    """Logins by an identity provider (OpenID Connect). Default: none."""

    @model_validator(mode="after")
    def _confined(self) -> Self:
        if bool(self.rest_certificate) != bool(self.rest_key):
            raise ValueError("rest_certificate, rest_key: TLS takes both, or neither")
        if not parse_address(self.rest_address).is_loopback and not (self.rest_key and self.rest_urls):
            raise ValueError(
                f"rest_address: {self.rest_address} is not loopback, which takes TLS: give rest_certificate, rest_key "
                "and rest_urls, or use 127.0.0.1 and reach it through ssh -L"
            )
        if self.oidc.issuer and not self.rest_urls:
            raise ValueError("oidc: the identity provider must be told where to send browsers; give rest_urls")
        return self

    @property
    def places(self) -> Places:
        """Under which addresses REST is asked for."""
        is_loopback = parse_address(self.rest_address).is_loopback
        return Places(self.rest_urls, is_loopback=is_loopback, has_tls=bool(self.rest_key))

    def render(self) -> str:
        """The settings file: every key with its comment."""
        return "# Settings of a Privity gateway. Restart it after a change.\n" + _rendered(self)


def is_confidential(url: str) -> bool:
    """Whether nobody on the way can answer in its place."""
    parts = urlsplit(url)
    if parts.scheme == "http":
        return names_loopback(parts.netloc)
    return parts.scheme == "https" and bool(parts.hostname)


def _rendered(settings: BaseModel) -> str:
    """Keys with their comments, tables last."""
    lines, tables = [], []
    for key, field in type(settings).model_fields.items():
        value, comment = getattr(settings, key), textwrap.indent(str(field.description), "# ")
        if isinstance(value, OidcSettings):
            tables.append(f"\n{comment}\n[{key}]\n{_rendered(value)}")
        else:
            lines.append(f"\n{comment}\n{key} = {_toml(value)}\n")
    return "".join(lines + tables)


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, BaseModel):
        return f"{{ {', '.join(f'{key} = {_toml(inner)}' for key, inner in value)} }}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def load_settings(home: Path) -> GatewaySettings:
    """Raises: SettingsError if the file is missing, not TOML, or has a key or value that does not fit."""
    path = home / FILE
    try:
        return GatewaySettings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as exc:
        raise SettingsError(f"there is no gateway at {home}", action="make one with `privity gateway init`") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path} is not TOML: {exc}", action="mend the line and start again") from exc
    except ValidationError as exc:
        raise SettingsError(f"{path}: {explain(exc)}", action="mend it and start again") from exc
