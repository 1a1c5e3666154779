"""What an operator does to a home's files: partners, data sets, results. Each act is recorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from parties.audit import events
from parties.audit.log import AuditLog
from parties.errors import DataError, LifecycleError, VaultError
from parties.home import Home
from parties.job import Outcome
from parties.partners import Partners
from parties.witness_store import Heads

if TYPE_CHECKING:
    from parties.models import Models
    from parties.vault import Vault


class Desk:
    """Each act on files and its record: done by the daemon when one runs, by the command itself when none does."""

    def __init__(self, home: Home, journal: AuditLog, vault: Vault | None, partners: Partners) -> None:
        self._home, self._journal, self._partners = home, journal, partners
        self._vault = vault

    def data_add(self, name: str, path: str, id_column: str) -> Any:
        """Raises: DataError, VaultError."""
        from parties.sources import read_csv

        vault = self._open_vault()
        table = read_csv(Path(path), id_column)
        manifest = vault.add(name, table, created=datetime.now(UTC))
        self._journal.append(
            events.DataAdded(name=name, version=manifest.version, rows=table.rows, columns=len(manifest.table.columns))
        )
        return json.loads(manifest.table.model_dump_json())

    def data_remove(self, name: str) -> None:
        """Raises: VaultError if there is none of that name; a damaged one is removed too."""
        vault = self._open_vault()
        version: str | None = None
        try:
            version = vault.manifest(name).version
        except VaultError:
            if name not in vault.list():
                raise
        self._journal.append(events.DataRemoved(name=name, version=version))
        vault.remove(name)

    def model_delete(self, session: str) -> str:
        """The id of the model that was deleted. Raises: VaultError if there is none, or several begin so."""
        models = models_of(self._home)
        found = models.find(session)
        self._journal.append(events.ModelDeleted(model=found, by="operator"))
        models.delete(found)
        return found

    def partner_add(self, name: str, fingerprint: str) -> None:
        """Raises: PartnerError."""
        self._partners.add(name, fingerprint)
        self._journal.append(events.PartnerAdded(name=name, fingerprint=self._partners.all()[name]))

    def partner_remove(self, name: str) -> None:
        """The head of its log that was cosigned here is forgotten too. Raises: PartnerError."""
        found = self._partners.all().get(name)
        self._partners.remove(name)
        if found is not None:
            self._journal.append(events.PartnerRemoved(name=name, fingerprint=found))
        Heads(self._home.path("state.sqlite")).forget(name)

    def partner_revoke(self, name: str) -> str:
        """The fingerprint that nobody takes here from now on. Raises: PartnerError if there is none of that name."""
        revoked = self._partners.revoke(name)
        self._journal.append(events.PartnerRevoked(name=name, fingerprint=revoked))
        return revoked

    def partner_accept(self, name: str) -> str:
        """The fingerprint of the key that is confirmed now. Raises: PartnerError if none was handed over to."""
        former, successor = self._partners.accept(name)
        self._journal.append(events.PartnerKeyReplaced(name=name, fingerprint=former, successor=successor))
        return successor

    def _open_vault(self) -> Vault:
        from parties.vault import Vault, load_master_key  # a dealer, which has none, loads no table library

        if self._vault is None:
            self._vault = Vault(self._home.path("vault"), load_master_key(self._home.path("vault.key")))
        return self._vault


def models_of(home: Home) -> Models:
    """The shares of models that a home keeps."""
    from parties.models import Models
    from parties.vault import load_master_key

    return Models(home.path("models"), load_master_key(home.path("vault.key")))


def result_of(home: Home, digest: str) -> Outcome:
    """What this party was disclosed in the one session whose id begins so. Raises: LifecycleError if there is none."""
    found = [path for path in home.path("results").glob("*.json") if digest and path.name.startswith(digest)]
    if len(found) != 1:
        raise LifecycleError(f"{len(found)} results begin with '{digest}'", action="`privity node status` shows them")
    try:
        return Outcome.model_validate_json(found[0].read_bytes())
    except ValidationError as exc:
        raise DataError(f"{found[0]} is damaged", action="restore it from a backup") from exc
