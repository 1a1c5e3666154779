"""What a matching leaves in a party's vault: its common rows as they were, under ids that all parties share."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta

from mpc.randomness import KEY_BYTES
from parties.agreement.match_plan import MatchingContract
from parties.audit import events
from parties.audit.log import AuditLog
from parties.data.data_set import Manifest, Origin
from parties.data.matched_rows import ID_COLUMN, Found, MatchedRows
from parties.data.tables import Table, ids_of
from parties.data.vault import Vault
from parties.errors import DataError, VaultError
from parties.process.job import FoundRows
from parties.psi import check_library, keyed_records


class MatchedSets:
    """One party's matched data sets, from the rows that a worker found to the end of their time."""

    def __init__(self, name: str, vault: Vault, journal: AuditLog) -> None:
        self._name, self._vault, self._journal = name, vault, journal
        self._found: dict[str, Found] = {}  # by matchings that run
        self.gone: set[str] = set()  # versions of those that this process destroyed

    def check(self, contract: MatchingContract, source: Manifest, table: Table) -> None:
        """Whether rows can be compared, and, unless it is an estimate, the common ones kept.

        Raises: VaultError if the result's name is taken; DataError if the shared ids would have the name of a column,
        or as `keyed_records`; SettingsError if a library is missing.
        """
        if contract.result is not None:
            self._vault.check_free(contract.result)
            _check_free_column(source)
        check_library()
        ids = ids_of(table, contract.party(self._name).columns)
        keyed_records(ids, contract.rules, secrets.token_bytes(KEY_BYTES))

    def collect(self, session: str, found: FoundRows) -> None:
        """What a worker reports of its common rows; nothing is kept before `keep`."""
        self._found.setdefault(session, Found()).add(found)

    def keep(self, contract: MatchingContract, now: datetime) -> Manifest:
        """Put the common rows into the vault, not shared before the operator says so.

        The column that was the id stays, as text; of rows that a matching left already, the one that was the id before
        it. These stay no longer than agreed then, and go with that matching's consent. Cost: as `MatchedRows`.
        Raises: VaultError if the result's name is taken, or as `Vault.add`; DataError if no row was found.
        """
        party, found = contract.party(self._name), self._found.pop(contract.digest, None)
        if found is None:
            raise DataError("the worker reported no common record", action="see the node's operational log")
        manifest = self._vault.manifest(party.data)
        if manifest.version != party.data_version:
            raise VaultError(f"data set {party.data} was replaced during the session", action="propose it again")
        before, until = manifest.origin, now + timedelta(days=contract.keep_days)
        origin = Origin(
            session=contract.digest,
            source=party.data,
            source_version=party.data_version,
            id_column=before.id_column if before else party.id_column,
            partners=tuple(other.name for other in contract.parties if other.name != self._name),
            until=min(until, before.until) if before else until,
            earlier=before.sessions if before else (),
        )
        content = MatchedRows(manifest, lambda columns: self._vault.batches(manifest, columns), found)
        return self._vault.add(
            contract.leaves,
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
            if manifest.origin is not None and session in manifest.origin.sessions:
                self._destroy(manifest)

    def expire(self, now: datetime, is_used: Callable[[str], bool]) -> None:
        """Destroy those whose time is over, once no session uses them any more."""
        for manifest in self._all():
            if manifest.origin is not None and manifest.origin.until <= now and not is_used(manifest.name):
                self._destroy(manifest)

    def own_names(self, data: str) -> Iterator[str]:
        """What this party calls the records of a data set: of a matched one not the ids that all parties share.

        In the order of its file, of which one batch is in memory. Raises: VaultError as `Vault.batches`.
        """
        manifest = self._vault.manifest(data)
        column = manifest.origin.id_column if manifest.origin else manifest.table.id_column
        for batch in self._vault.batches(manifest, {column}):
            yield from batch[column].to_pylist()

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


def _check_free_column(source: Manifest) -> None:
    """Raises: DataError if the shared ids would have the name of a column that is not a matching's."""
    named = {source.table.id_column, *(column.name for column in source.table.columns)}
    if source.origin is None and ID_COLUMN in named:
        raise DataError(
            f"{source.name} has a column '{ID_COLUMN}', as the shared ids are called",
            action="name the column otherwise, and add the data set again",
        )
