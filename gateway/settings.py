"""The gateway's settings: HOME/gateway.toml, read once at the start. Unknown keys are errors."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator

from parties.errors import SettingsError
from parties.plan import Frozen, Name, explain
from parties.web.addresses import parse_address

FILE = "gateway.toml"


def _address(text: str) -> str:
    return str(parse_address(text))


AddressText = Annotated[str, AfterValidator(_address)]


class GatewaySettings(Frozen):
    """What a gateway's operator decides; the text under each key is the manual."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: Name = "gateway"
    """How this gateway calls itself to daemons and in its TLS certificate; lower case, no spaces. Default "gateway"."""
    rest_address: AddressText = "127.0.0.1:8470"
    """Where REST listens, HOST:PORT, loopback only; port 0 chooses one. Default "127.0.0.1:8470"."""
    control_address: AddressText = "127.0.0.1:8471"
    """Where daemons dial in (gRPC, mutual TLS), HOST:PORT; port 0 chooses one. Default "127.0.0.1:8471"."""
    public_address: AddressText | Annotated[str, Field(max_length=0)] = ""
    """The address that invitations name, if not control_address: what daemons dial. Default "", the same."""
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

    @model_validator(mode="after")
    def _loopback(self) -> Self:
        if not parse_address(self.rest_address).is_loopback:
            raise ValueError(
                f"rest_address: {self.rest_address} is not loopback, and REST has no logins; "
                "use 127.0.0.1 and reach it through ssh -L"
            )
        return self

    def render(self) -> str:
        """The settings file: every key with its comment."""
        lines = ["# Settings of a Privity gateway. Restart it after a change."]
        for key, field in type(self).model_fields.items():
            value = getattr(self, key)
            shown = f'"{value}"' if isinstance(value, str) else str(value)
            lines += ["", f"# {field.description}", f"{key} = {shown}"]
        return "\n".join(lines) + "\n"


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
