"""What a matching leaves in a party's vault: its common rows as they were, under ids that all parties share."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa

from mpc.randomness import KEY_BYTES
from parties.audit import events
from parties.audit.log import AuditLog
from parties.data_set import Manifest, Origin
from parties.errors import DataError, VaultError
from parties.job import FoundRows
from parties.match_plan import MatchingContract
from parties.psi import check_library, keyed_records
from parties.schema import Schema
from parties.tables import Table, ids_of, sorted_by_id
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


class MatchedSets:
    """One party's matched data sets, from the rows that a worker found to the end of their time."""

    def __init__(self, name: str, vault: Vault, journal: AuditLog) -> None:
        self._name, self._vault, self._journal = name, vault, journal
        self._found: dict[str, list[FoundRows]] = {}  # by matchings that run
        self.gone: set[str] = set()  # versions of those that this process destroyed

    def check(self, contract: MatchingContract, source: Schema, table: Table) -> None:
        """Whether rows can be compared, and the common ones kept.

        Raises: VaultError if the result's name is taken; DataError if the shared ids would have the name of a column,
        or as `keyed_records`; SettingsError if a library is missing.
        """
        self._vault.check_free(contract.result)
        if ID_COLUMN in {source.id_column, *(column.name for column in source.columns)}:
            raise DataError(
                f"{source.name} has a column '{ID_COLUMN}', as the shared ids are called",
                action="match the data set that a matching was made of, or name the column otherwise",
            )
        check_library()
        ids = ids_of(table, contract.party(self._name).columns)
        keyed_records(ids, contract.rules, secrets.token_bytes(KEY_BYTES))

    def collect(self, session: str, found: FoundRows) -> None:
        """What a worker reports of its common rows; nothing is kept before `keep`."""
        self._found.setdefault(session, []).append(found)

    def keep(self, contract: MatchingContract, now: datetime) -> Manifest:
        """Put the common rows into the vault, not shared before the operator says so.

        The column that was the id stays, as text. Cost: the memory of the whole data set.
        Raises: VaultError if the result's name is taken, or as `Vault.add`; DataError if no row was found.
        """
        party, found = contract.party(self._name), self._found.pop(contract.digest, [])
        if not found:
            raise DataError("the worker reported no common record", action="see the node's operational log")
        manifest = self._vault.manifest(party.data)
        if manifest.version != party.data_version:
            raise VaultError(f"data set {party.data} was replaced during the session", action="propose it again")
        shared = _shared_rows(self._vault.open(party.data), found)
        origin = Origin(
            session=contract.digest,
            source=party.data,
            source_version=party.data_version,
            id_column=party.id_column,
            partners=tuple(other.name for other in contract.parties if other.name != self._name),
            until=now + timedelta(days=contract.keep_days),
        )
        content = MatchedRows(Table(contract.result, ID_COLUMN, shared), manifest.table)
        return self._vault.add(
            contract.result,
            content,
            created=now,
            record=lambda added: self._record(added, origin, contract.keep_days),
            origin=origin,
        )

    def _record(self, added: Manifest, origin: Origin, days: int) -> None:
        self._journal.append(
            events.DataMatched(
                name=added.name,
                version=added.version,
                rows=added.table.rows,
                columns=len(added.table.columns),
                session=origin.session,
                source=origin.source,
                days=days,
            )
        )

    def forget(self, session: str) -> None:
        """The run failed, or its consent ended: nothing that it found stays."""
        self._found.pop(session, None)
        for manifest in self._all():
            if manifest.origin is not None and manifest.origin.session == session:
                self._destroy(manifest)

    def expire(self, now: datetime, is_used: Callable[[str], bool]) -> None:
        """Destroy those whose time is over, once no session uses them any more."""
        for manifest in self._all():
            if manifest.origin is not None and manifest.origin.until <= now and not is_used(manifest.name):
                self._destroy(manifest)

    def own_names(self, data: str) -> list[str]:
        """What this party calls the records of a data set: of a matched one not the ids that all parties share."""
        origin = self._vault.manifest(data).origin
        if origin is None:
            return self._vault.open(data).ids
        names: list[str] = self._vault.open(data, {origin.id_column}).arrow[origin.id_column].to_pylist()
        return names

    def _destroy(self, manifest: Manifest) -> None:
        self._journal.append(events.DataRemoved(name=manifest.name, version=manifest.version))
        self._vault.remove(manifest.name)
        self.gone.add(manifest.version)

    def _all(self) -> list[Manifest]:
        """A damaged manifest is left for its operator."""
        found = []
        for name in self._vault.list():
            with suppress(VaultError):
                found.append(self._vault.manifest(name))
        return [manifest for manifest in found if manifest.origin is not None]


def _shared_rows(table: Table, found: Sequence[FoundRows]) -> pa.Table:
    """The rows found, under the ids that all share, in the order of these."""
    arrow = table.arrow.take(pa.array([row for strip in found for row in strip.rows], pa.int64()))
    ids = pa.array([record for strip in found for record in strip.ids], pa.string())
    return sorted_by_id(arrow.add_column(0, ID_COLUMN, ids), ID_COLUMN)
