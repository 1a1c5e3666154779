"""What an operator does to a home's files: partners, data sets, results. Each act is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from parties.audit import events
from parties.audit.log import AuditLog
from parties.errors import DataError, LifecycleError, SettingsError, VaultError
from parties.home import Home
from parties.job import Outcome
from parties.kinds import parse_contract
from parties.lifecycle import State
from parties.partners import Partners
from parties.pause import Pause
from parties.store import SessionStore
from parties.witness_store import Heads

if TYPE_CHECKING:
    from parties.audit.events import Reader
    from parties.models import Models
    from parties.records import Records
    from parties.rotation import Rotated
    from parties.vault import Vault
    from parties.vault_key import KeySource


class Desk:
    """Each act on files and its record: done by the daemon when one runs, by the command itself when none does."""

    def __init__(
        self,
        home: Home,
        journal: AuditLog,
        vault: Vault | None,
        partners: Partners,
        records: Records | None = None,
    ) -> None:
        self._home, self._journal, self._partners = home, journal, partners
        self._vault, self._records = vault, records

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
        """Let a data set's schema be published, or no longer. Raises: VaultError if there is none of that name."""
        vault = self.open_vault()
        version = vault.manifest(name).version
        self._journal.append(events.DataShared(name=name, version=version, shareable=shareable))
        vault.share(name, shareable=shareable)

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
        self._check_unused(name)
        self._journal.append(events.DataRemoved(name=name, version=version))
        vault.remove(name)

    def data_rotate(self, to: KeySource | None) -> Rotated:
        """Another key for the vault. Raises: SettingsError, VaultError as `rotation.rotate`."""
        from parties.rotation import rotate

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
        self._journal.append(events.ModelDeleted(model=found, by="operator"))
        models.delete(found)
        return found

    def session_withdraw(self, beginning: str) -> str:
        """The id of the session; what is not over of it ends, and the partners are told, when the daemon starts.

        Raises: as `Withdrawals.withdraw`; SettingsError in a dealer's home.
        """
        from parties.withdrawal import Withdrawals

        name, store = self._home.settings.name, SessionStore(self._home.path("state.sqlite"))

        def destroy(session: str) -> None:
            from parties.matched import MatchedSets  # a dealer, which comes here to be refused, loads no table library

            destroy_share(models_of(self._home), self._journal, session)
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
        from parties.subject import search

        store, records = SessionStore(self._home.path("state.sqlite")), self._open_records()
        searched = sum(standing == "kept" for standing in records.standings().values())
        self._journal.append(events.RecordsSearched(by=by, sessions=searched))
        return [found.model_dump(mode="json") for found in search(records, store.all(), record)]

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

    def _open_records(self) -> Records:
        from parties.records import Records

        if self._records is None:
            self._records = Records(self._home.path("records"), self._home.master_key())
        return self._records

    def open_vault(self) -> Vault:
        """Raises: SettingsError, VaultError if there is no key for it."""
        if self._vault is None:
            self._vault = vault_of(self._home)
        return self._vault

    def _check_unused(self, name: str) -> None:
        """Raises: VaultError if a session that this node agreed to, and that has not ended, uses the data set."""
        if session := self._user_of(name):
            raise VaultError(
                f"data set {name} is used by session {session[:12]}",
                action="wait for its end, or cancel it; sessions of a node that is stopped end when it starts",
            )

    def is_used(self, name: str) -> bool:
        """Whether a session that this node agreed to, and that has not ended, uses the data set."""
        return bool(self._user_of(name))

    def _user_of(self, name: str) -> str:
        own = self._home.settings.name
        for session in SessionStore(self._home.path("state.sqlite")).all():
            agreed = session.state in {State.APPROVED, State.RUNNING}
            if agreed and parse_contract(session.contract.encode()).party(own).data == name:
                return session.digest
        return ""


def vault_of(home: Home) -> Vault:
    """A node's vault. Raises: SettingsError, VaultError if there is no key for it."""
    from parties.vault import Vault  # a dealer, which has none, loads no table library

    return Vault(home.path("vault"), home.master_key())


def destroy_share(models: Models, journal: AuditLog, session: str) -> None:
    """Destroy the share of a model whose session was withdrawn from, if there is one."""
    if session in models.list():
        journal.append(events.ModelDeleted(model=session, by="withdrawal"))
        models.delete(session)


def models_of(home: Home) -> Models:
    """The shares of models that a home keeps."""
    from parties.models import Models

    return Models(home.path("models"), home.master_key())


def result_of(home: Home, digest: str) -> Outcome:
    """What this party was disclosed in the one session whose id begins so. Raises: LifecycleError if there is none."""
    found = [path for path in home.path("results").glob("*.json") if digest and path.name.startswith(digest)]
    if len(found) != 1:
        raise LifecycleError(f"{len(found)} results begin with '{digest}'", action="`privity node status` shows them")
    try:
        return Outcome.model_validate_json(found[0].read_bytes())
    except ValidationError as exc:
        raise DataError(f"{found[0]} is damaged", action="restore it from a backup") from exc
