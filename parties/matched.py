"""What a matching leaves in a party's vault: its common rows as they were, under ids that all parties share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa

from parties.audit import events
from parties.audit.log import AuditLog
from parties.data_set import Manifest, Origin
from parties.errors import DataError, VaultError
from parties.job import FoundRows
from parties.match_plan import MatchingContract
from parties.schema import Schema
from parties.tables import Table, sorted_by_id
from parties.vault import Vault

ID_COLUMN = "matched_id"


@dataclass(frozen=True, repr=False, eq=False)
class MatchedRows:
    """`parties.tables.Content`: some rows of a data set, with their owner's words for the columns."""

    table: Table
    source: Schema

    @property
    def arrow_schema(self) -> pa.Schema:
        return self.table.arrow_schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        return self.table.batches()

    def schema(self, name: str) -> Schema:
        words = {column.name: column for column in self.source.columns}
        found = self.table.schema(name)
        columns = tuple(
            column.model_copy(update={"description": words[column.name].description, "unit": words[column.name].unit})
            if column.name in words
            else column
            for column in found.columns
        )
        return found.model_copy(update={"columns": columns})


def check_source(source: Schema) -> None:
    """Raises: DataError if the shared ids would have the name of a column."""
    if ID_COLUMN in {source.id_column, *(column.name for column in source.columns)}:
        raise DataError(
            f"{source.name} has a column '{ID_COLUMN}', as the shared ids are called",
            action="match the data set that a matching was made of, or name the column otherwise",
        )


def keep(
    vault: Vault,
    journal: AuditLog,
    contract: MatchingContract,
    name: str,
    found: Sequence[FoundRows],
    now: datetime,
) -> Manifest:
    """Put the common rows into the vault of the party of this name, not shared before its operator says so.

    The column that was the id stays, as text. Cost: the memory of the whole data set.
    Raises: VaultError if the result's name is taken, or as `Vault.add`.
    """
    party = contract.party(name)
    manifest = vault.manifest(party.data)
    if manifest.version != party.data_version:
        raise VaultError(f"data set {party.data} was replaced during the session", action="propose it again")
    table = vault.open(party.data)
    arrow = table.arrow.take(pa.array([row for strip in found for row in strip.rows], pa.int64()))
    ids = pa.array([record for strip in found for record in strip.ids], pa.string())
    shared = sorted_by_id(arrow.add_column(0, ID_COLUMN, ids), ID_COLUMN)
    origin = Origin(
        session=contract.digest,
        source=party.data,
        source_version=party.data_version,
        id_column=party.id_column,
        partners=tuple(other.name for other in contract.parties if other.name != name),
        until=now + timedelta(days=contract.keep_days),
    )

    def record(added: Manifest) -> None:
        journal.append(
            events.DataMatched(
                name=added.name,
                version=added.version,
                rows=added.table.rows,
                columns=len(added.table.columns),
                session=contract.digest,
                source=party.data,
                days=contract.keep_days,
            )
        )

    content = MatchedRows(Table(contract.result, ID_COLUMN, shared), manifest.table)
    return vault.add(contract.result, content, created=now, record=record, origin=origin)


def left_by(vault: Vault, session: str) -> Manifest | None:
    """The data set that a matching left, if it is there."""
    return next((one for one in _matched(vault) if one.origin is not None and one.origin.session == session), None)


def expired(vault: Vault, now: datetime) -> list[Manifest]:
    """Matched data sets whose time is over."""
    return [one for one in _matched(vault) if one.origin is not None and one.origin.until <= now]


def destroy(vault: Vault, journal: AuditLog, manifest: Manifest) -> None:
    """Destroy a matched data set, and record that."""
    journal.append(events.DataRemoved(name=manifest.name, version=manifest.version))
    vault.remove(manifest.name)


def _matched(vault: Vault) -> Iterator[Manifest]:
    """A damaged manifest is left for its operator."""
    for name in vault.list():
        try:
            manifest = vault.manifest(name)
        except VaultError:
            continue
        if manifest.origin is not None:
            yield manifest
