"""Whom clients of HTTPS trust: the gateway's users, the gateway at its identity provider, a node at its webhook."""

from __future__ import annotations

import os
import ssl
from typing import Final

from parties.errors import SettingsError

CA_VARIABLE: Final = "PRIVITY_CA_FILE"


def trusted() -> ssl.SSLContext:
    """The system's authorities, or those of the file that PRIVITY_CA_FILE names.

    Raises: SettingsError if that file has none.
    """
    file = os.environ.get(CA_VARIABLE) or None
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as exc:
        raise SettingsError(f"{CA_VARIABLE}: {file} has no certificates (PEM)", action="mend the variable") from exc
