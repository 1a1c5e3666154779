"""What an operator does to a home's files: partners, data sets, results. Each act is recorded."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mpc.errors import PrivityError
from parties.audit import events
from parties.audit.log import AuditLog
from parties.errors import LifecycleError
from parties.home import Home
from parties.job import Outcome
from parties.partners import Partners
from parties.sources import read_csv
from parties.vault import Vault, load_master_key


class Desk:
    """What an operator does to files, each act recorded: through the daemon when one runs, directly when none does."""

    def __init__(self, home: Home, journal: AuditLog, vault: Vault | None, partners: Partners) -> None:
        self._home, self._journal, self._partners = home, journal, partners
        self._vault = vault

    def data_add(self, name: str, path: str, id_column: str) -> Any:
        """Raises: DataError, VaultError."""
        vault = self._open_vault()
        table = read_csv(Path(path), id_column)
        manifest = vault.add(name, table, created=datetime.now(UTC))
        self._journal.append(
            events.DataAdded(name=name, version=manifest.version, rows=table.rows, columns=len(manifest.table.columns))
        )
        return json.loads(manifest.table.model_dump_json())

    def data_remove(self, name: str) -> None:
        """Raises: VaultError."""
        vault = self._open_vault()
        version: str | None = None
        with contextlib.suppress(PrivityError):
            version = vault.manifest(name).version
        self._journal.append(events.DataRemoved(name=name, version=version))
        vault.remove(name)

    def partner_add(self, name: str, fingerprint: str) -> None:
        """Raises: PartnerError."""
        self._partners.add(name, fingerprint)
        self._journal.append(events.PartnerAdded(name=name, fingerprint=self._partners.all()[name]))

    def partner_remove(self, name: str) -> None:
        """Raises: PartnerError."""
        found = self._partners.all().get(name)
        self._partners.remove(name)
        if found is not None:
            self._journal.append(events.PartnerRemoved(name=name, fingerprint=found))

    def _open_vault(self) -> Vault:
        if self._vault is None:
            self._vault = Vault(self._home.path("vault"), load_master_key(self._home.path("vault.key")))
        return self._vault


def result_of(home: Home, digest: str) -> Outcome:
    """What this party was disclosed in a session. Raises: LifecycleError if there is nothing."""
    found = sorted(home.path("results").glob(f"{digest}*.json"))
    if len(found) != 1:
        raise LifecycleError(f"{len(found)} results begin with '{digest}'", action="`privity session list` shows them")
    return Outcome.model_validate_json(found[0].read_text())
