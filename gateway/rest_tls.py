"""TLS of REST: the server's certificate and key, as settings name them."""

from __future__ import annotations

import ssl
from pathlib import Path

from gateway.settings import GatewaySettings
from parties.errors import SettingsError


def load_context(home: Path, settings: GatewaySettings) -> ssl.SSLContext | None:
    """None if REST is plain HTTP. Raises: SettingsError if a file is missing, open to others, or does not fit."""
    if not settings.rest_key:
        return None
    certificate, key = home / settings.rest_certificate, home / settings.rest_key
    try:
        if key.stat().st_mode & 0o077:
            raise SettingsError(f"rest_key: {key} is readable by others", action=f"run: chmod 600 {key}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as exc:
        raise SettingsError(
            f"rest_certificate, rest_key: {certificate} and {key} are not a certificate and its unencrypted key (PEM)",
            action="mend the files, or the settings, and start again",
        ) from exc
    except OSError as exc:
        raise SettingsError(
            f"rest_certificate, rest_key: {exc.filename or certificate} can't be read: {exc.strerror}",
            action="mend the path or its rights, and start again",
        ) from exc
    return context


def _no_password() -> str:
    """A daemon can't be asked; without this OpenSSL would ask the terminal."""
    return ""
