"""What an operator does to a home's files: partners, data sets, results. Each act is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from parties.agreement.kinds import model_of, parse_contract
from parties.agreement.prediction import PredictionContract
from parties.audit import events
from parties.audit.log import AuditLog
from parties.errors import DataError, LifecycleError, SettingsError, VaultError
from parties.keys.partners import Partners
from parties.process.job import Outcome
from parties.service.claims import Claims
from parties.service.home import Home
from parties.service.lifecycle import FINAL, State
from parties.service.pause import Pause
from parties.service.store import SessionStore
from parties.testimony.transcripts import UNCONFIRMED, unconfirmed
from parties.testimony.witness_store import Heads

if TYPE_CHECKING:
    from parties.audit.events import Reader
    from parties.data.records import Records
    from parties.data.rotation import Rotated
    from parties.data.vault import Vault
    from parties.data.vault_key import KeySource
    from parties.outcome.models import Models
    from parties.testimony.replays import Replays


class Desk:
    """Each act on files and its record: done by the daemon when one runs, by the command itself when none does."""

    def __init__(
        self,
        home: Home,
        journal: AuditLog,
        vault: Vault | None,
        partners: Partners,
        records: Records | None = None,
        claims: Claims | None = None,
    ) -> None:
        self._home, self._journal, self._partners = home, journal, partners
        self._vault, self._records = vault, records
        self._claims = claims or Claims()

    def node_pause(self) -> str:
        """Take no contracts until `node_resume`; since when. Raises: SettingsError in a dealer's home."""
        pause = self._pause()
        if (since := pause.since) is None:
            self._journal.append(events.ServicePaused(role="node"))
            since = pause.begin()
        return since.isoformat(timespec="seconds")

    def node_resume(self) -> bool:
        """Take contracts again; false if the node was not paused. Raises: as `node_pause`."""
        pause = self._pause()
        if pause.since is None:
            return False
        self._journal.append(events.ServiceResumed(role="node"))
        pause.end()
        return True

    def _pause(self) -> Pause:
        if self._home.settings.role == "dealer":
            raise SettingsError("a dealer can't be paused", action="a node can; or stop the dealer")
        return Pause(self._home)

    def data_added(self, name: str, version: str, rows: int, columns: int) -> None:
        """Record a data set that is about to be there. Raises: AuditError; then it must not be there."""
        self._journal.append(events.DataAdded(name=name, version=version, rows=rows, columns=columns))

    def data_share(self, name: str, *, shareable: bool) -> None:
        """Let a data set's schema be published, or no longer.

        Raises: VaultError if there is none of that name, or if a matching left it that did not end well everywhere, as
        far as is known here: then it is a list of persons for which there is no use.
        """
        vault = self.open_vault()
        manifest = vault.manifest(name)
        if shareable and manifest.origin is not None:
            self._check_confirmed(name, manifest.origin.session)
        self._journal.append(events.DataShared(name=name, version=manifest.version, shareable=shareable))
        vault.share(name, shareable=shareable)

    def _check_confirmed(self, name: str, session: str) -> None:
        store = self._store()
        contract = parse_contract(store.get(session).contract.encode())
        if missing := unconfirmed(contract, self._home.settings.name, store.transcripts(session)):
            raise VaultError(
                f"{', '.join(missing)} did not sign yet that the matching which left {name} ended well there",
                action="wait until it is connected; if it failed there, delete the data set and match again",
                reason=UNCONFIRMED,
            )

    def data_delete(self, name: str) -> None:
        """Destroy a data set's key; a damaged one's too.

        Raises: VaultError if there is none of that name, or a session that was agreed to uses it.
        """
        vault = self.open_vault()
        version: str | None = None
        try:
            version = vault.manifest(name).version
        except VaultError:
            if name not in vault.list():
                raise
        with self._claims.lock:
            self._check_unused(name)
            replays = self._replays()
            for session in list(replays.of_data(name)):
                destroy_replay(replays, self._journal, session, by="operator")
            self._journal.append(events.DataRemoved(name=name, version=version))
            vault.remove(name)

    def data_rotate(self, to: KeySource | None) -> Rotated:
        """Another key for the vault. Raises: SettingsError, VaultError as `rotation.rotate`."""
        from parties.data.rotation import rotate

        return rotate(
            self._home,
            to,
            lambda found: self._journal.append(
                events.VaultKeyRotated(to=found.to, data_sets=found.data_sets, models=found.models)
            ),
        )

    def model_delete(self, session: str) -> str:
        """The id of the model that was deleted. Raises: VaultError if there is none, or several begin so."""
        models = models_of(self._home)
        found = models.find(session)
        destroy_predicted(self._replays(), self._store(), self._journal, found, by="operator")
        self._journal.append(events.ModelDeleted(model=found, by="operator"))
        models.delete(found)
        return found

    def recording_delete(self, session: str) -> str:
        """The id of the session whose recording was destroyed.

        Raises: VaultError if none is kept, several begin so, or the session has not ended.
        """
        replays = self._replays()
        found = replays.find(session)
        known = self._store().find(found)
        if known is not None and known.state not in FINAL:
            raise VaultError(
                f"session {found[:12]} is being recorded",
                action="wait for its end; `privity session withdraw` ends it, and destroys the recording",
            )
        destroy_replay(replays, self._journal, found, by="operator")
        return found

    def session_withdraw(self, beginning: str) -> str:
        """The id of the session; what is not over of it ends, and the partners are told, when the daemon starts.

        Raises: as `Withdrawals.withdraw`; SettingsError in a dealer's home.
        """
        from parties.testimony.withdrawals import Withdrawals

        name, store = self._home.settings.name, self._store()

        def destroy(session: str) -> None:
            # Here: a dealer, which is refused, loads no table library.
            from parties.data.matched import MatchedSets

            destroy_share(models_of(self._home), self._journal, session)
            destroy_replay(self._replays(), self._journal, session, by="withdrawal")
            destroy_predicted(self._replays(), store, self._journal, session, by="withdrawal")
            MatchedSets(name, self.open_vault(), self._journal).forget(session)

        facts = name, self._home.identity, store, self._journal
        return Withdrawals(*facts, destroy, self._partners).withdraw(beginning)

    def data_forget(self, session: str) -> str:
        """The id of the session whose key of record digests was destroyed. Raises: VaultError if none is kept of it."""
        records = self._open_records()
        found = records.find(session)
        self._journal.append(events.RecordsDestroyed(session=found, by="operator"))
        records.destroy(found)
        return found

    def audit_subject(self, record: str, by: Reader = "operator") -> list[dict[str, Any]]:
        """Each session that ran here, and whether it held this record; that somebody asked is recorded, not of whom."""
        from parties.data.subject import search

        store, records = self._store(), self._open_records()
        searched = sum(standing == "kept" for standing in records.standings().values())
        self._journal.append(events.RecordsSearched(by=by, sessions=searched))
        return [found.model_dump(mode="json") for found in search(records, store.all(), record)]

    def audit_verified(self, entries: int, *, intact: bool) -> None:
        """Record what the operator's own command found of the log up to an entry before this one."""
        self._journal.append(events.LogVerified(by="operator", entries=entries, intact=intact))

    def audit_replay(self, session: str) -> None:
        """Record that a session's data, and the model that it used, are read to make this party's part again.

        Raises: LifecycleError if there is no such session; VaultError if its data set is gone.
        """
        contract = parse_contract(self._store().get(session).contract.encode())
        party = contract.party(self._home.settings.name)
        manifest = self.open_vault().manifest(party.data)
        if isinstance(contract, PredictionContract):
            self._journal.append(events.ModelUsed(model=contract.model, session=contract.digest))
        self._journal.append(
            events.DataRead(
                name=manifest.name,
                version=manifest.version,
                rows=manifest.table.rows,
                columns=len(party.columns),
                session=contract.digest,
            )
        )

    def audit_replayed(self, session: str, *, equal: bool, round_number: int | None, name: str | None) -> None:
        """Record what a replay of this party's part found."""
        named = events.allowed_name((name or "").replace(" ", "-")) if name else None
        self._journal.append(events.Replayed(session=session, equal=equal, round=round_number, name=named))

    def _store(self) -> SessionStore:
        return SessionStore(self._home.path("state.sqlite"))

    def _replays(self) -> Replays:
        return replays_of(self._home, self.open_vault())

    def partner_add(self, name: str, fingerprint: str) -> None:
        """Raises: PartnerError."""
        self._partners.add(
            name,
            fingerprint,
            lambda found: self._journal.append(events.PartnerAdded(name=name, fingerprint=found)),
        )

    def partner_remove(self, name: str) -> None:
        """The head of its log that was cosigned here is forgotten too. Raises: PartnerError."""
        self._partners.remove(
            name, lambda found: self._journal.append(events.PartnerRemoved(name=name, fingerprint=found))
        )
        Heads(self._home.path("state.sqlite")).forget(name)

    def partner_revoke(self, name: str) -> str:
        """The fingerprint that nobody takes here from now on. Raises: PartnerError if there is none of that name."""
        return self._partners.revoke(
            name, lambda found: self._journal.append(events.PartnerRevoked(name=name, fingerprint=found))
        )

    def partner_accept(self, name: str) -> str:
        """The fingerprint of the key that is confirmed now. Raises: PartnerError if none was handed over to."""

        def record(former: str, successor: str) -> None:
            self._journal.append(events.PartnerKeyReplaced(name=name, fingerprint=former, successor=successor))

        _, successor = self._partners.accept(name, record)
        return successor

    def _open_records(self) -> Records:
        from parties.data.records import Records

        if self._records is None:
            self._records = Records(self._home.path("records"), self._home.master_key())
        return self._records

    def open_vault(self) -> Vault:
        """Raises: SettingsError, VaultError if there is no key for it."""
        if self._vault is None:
            self._vault = vault_of(self._home)
        return self._vault

    def _check_unused(self, name: str) -> None:
        """Raises: VaultError if `is_used`."""
        if session := self._user_of(name):
            raise VaultError(
                f"data set {name} is used by session {session[:12]}",
                action="wait for its end, or cancel it; sessions of a node that is stopped end when it starts",
            )

    def is_used(self, name: str) -> bool:
        """Whether a session uses the data set that this node agreed to, or is about to, and that has not ended."""
        return bool(self._user_of(name))

    def _user_of(self, name: str) -> str:
        own = self._home.settings.name
        claimed = self._claims.user_of(name)  # read first: a claim ends once the store has the approval
        for session in self._store().all([State.APPROVED, State.RUNNING]):
            if parse_contract(session.contract.encode()).party(own).data == name:
                return session.digest
        return claimed


def vault_of(home: Home) -> Vault:
    """A node's vault. Raises: SettingsError, VaultError if there is no key for it."""
    from parties.data.vault import Vault  # a dealer, which has none, loads no table library

    return Vault(home.path("vault"), home.master_key())


def destroy_share(models: Models, journal: AuditLog, session: str) -> None:
    """Destroy the share of a model whose session was withdrawn from, if there is one."""
    if session in models.list():
        journal.append(events.ModelDeleted(model=session, by="withdrawal"))
        models.delete(session)


def destroy_replay(
    replays: Replays, journal: AuditLog, session: str, *, by: Literal["operator", "expiry", "withdrawal", "failure"]
) -> None:
    """Destroy the recording of a session, if there is one."""
    if session in replays.list():
        journal.append(events.ReplayDeleted(session=session, by=by))
        replays.delete(session)


def destroy_predicted(
    replays: Replays,
    store: SessionStore,
    journal: AuditLog,
    model: str,
    *,
    by: Literal["operator", "expiry", "withdrawal"],
) -> None:
    """Destroy the recordings of predictions by a model that goes: without it nothing can be made again."""
    for session in replays.list():
        found = store.find(session)
        if found is not None and model_of(found.contract) == model:
            destroy_replay(replays, journal, session, by=by)


def models_of(home: Home) -> Models:
    """The shares of models that a home keeps."""
    from parties.outcome.models import Models

    return Models(home.path("models"), home.master_key())


def replays_of(home: Home, vault: Vault | None = None) -> Replays:
    """The recordings that a home keeps."""
    from parties.testimony.replays import Replays

    return Replays(home.path("replays"), vault or vault_of(home))


def result_of(home: Home, digest: str) -> Outcome:
    """What this party was disclosed in the one session whose id begins so. Raises: LifecycleError if there is none."""
    found = [path for path in home.path("results").glob("*.json") if digest and path.name.startswith(digest)]
    if len(found) != 1:
        raise LifecycleError(f"{len(found)} results begin with '{digest}'", action="`privity node status` shows them")
    try:
        return Outcome.model_validate_json(found[0].read_bytes())
    except ValidationError as exc:
        raise DataError(f"{found[0]} is damaged", action="restore it from a backup") from exc
