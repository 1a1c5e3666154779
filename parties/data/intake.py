"""How a table gets into the vault: judged, encrypted, recorded, and only then there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from parties.data.data_set import Manifest
from parties.data.vault import Vault
from parties.sources import Notes, Source, Telling, survey
from parties.sources.columns import ColumnProfile


def take_in(
    vault: Vault,
    name: str,
    source: Source,
    id_column: str,
    *,
    created: datetime,
    record: Callable[..., object],
    notes: Notes = Notes(),  # noqa: B008 - frozen
    shareable: bool = False,
    tell: Telling = lambda *_: None,
) -> tuple[Manifest, tuple[ColumnProfile, ...]]:
    """The data set's manifest, and what its owner may see of the rows.

    Just before it exists `record` is called with its name, version, rows and columns.
    Raises: DataError for a table that is doubtful, VaultError as `Vault.add`; the vault is as it was then.
    """
    vault.check_free(name)  # before hours of reading
    vault.check_key()
    try:
        found = survey(source, id_column, notes, tell)
        manifest = vault.add(
            name, found, created=created, shareable=shareable, record=lambda added: record(**_entry(added))
        )
    finally:
        source.close()
    return manifest, found.profile


def _entry(added: Manifest) -> dict[str, str | int]:
    return {
        "name": added.name,
        "version": added.version,
        "rows": added.table.rows,
        "columns": len(added.table.columns),
    }
