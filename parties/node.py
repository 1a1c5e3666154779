"""A party's node: its vault, its policy, and one worker process a session."""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import SecretStr

from parties.audit import events
from parties.contract import Contract
from parties.daemon import Daemon, Live
from parties.desk import Desk
from parties.errors import ContractError, OperatorRefusal, SettingsError
from parties.home import Home
from parties.identity import write_private
from parties.job import Advanced, Answer, Done, Intent, Matched, Outcome, PartyJob, Report
from parties.lifecycle import State
from parties.messages import FromDaemon, Progress, Publish, PublishedData
from parties.policy import Circumstances, Finding, check, judge, load_policy, verdict
from parties.schema import check_features, check_label
from parties.supervisor import Process
from parties.tables import features, labels
from parties.vault import Manifest, Vault, load_master_key

if TYPE_CHECKING:
    from parties.audit.events import Reader
    from parties.page.server import Page


class Node(Daemon):
    role: Literal["node", "dealer"] = "node"

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.vault = Vault(home.path("vault"), load_master_key(home.path("vault.key")))
        self._counts: dict[tuple[str, str], int] = {}  # (session, clause) -> disclosures recorded
        self.page = self._make_page()

    # contracts

    def examine(self, contract: Contract) -> None:
        """The policy, then what this node publishes of its data."""
        party = contract.party(self.name)
        check(self.findings(contract))
        manifest = self.vault.manifest(party.data)
        if manifest.version != party.data_version or manifest.table.rows != party.rows:
            raise ContractError(
                f"data set '{party.data}' is not in the version that the contract names",
                action="propose the session again",
            )
        if party.columns:
            check_features(manifest.table, party.columns)
        if contract.label.held_by(self.name):
            check_label(manifest.table, contract.label.column)

    def inspect(self, contract: Contract) -> None:
        """Columns that vary and a label of two values: what is wrong must show before anybody signs."""
        party = contract.party(self.name)
        manifest, table = self.vault.manifest(party.data), self.vault.open(party.data)
        self._record_reading(contract, manifest)
        if party.columns:
            features(table, party.columns, varied=contract.partition == "columns")
        if contract.label.held_by(self.name):
            labels(table, contract.label.column, contract.label.positive)

    def _record_reading(self, contract: Contract, manifest: Manifest) -> None:
        self.journal.append(
            events.DataRead(
                name=manifest.name,
                version=manifest.version,
                rows=manifest.table.rows,
                columns=len(contract.party(self.name).columns),
                session=contract.digest,
            )
        )

    def findings(self, contract: Contract) -> list[Finding]:
        """What the policy in force says of a contract, rule by rule. Raises: SettingsError if there is none."""
        policy = load_policy(self.home.path("policy.toml"))
        return judge(policy, contract, self.name, Circumstances.of(self.store, self.name))

    def signs_by_itself(self, contract: Contract) -> bool:
        return verdict(self.findings(contract)) == "holds"

    def greetings(self) -> list[FromDaemon]:
        return [self._published()]

    def _published(self) -> Publish:
        manifests = [self.vault.manifest(name) for name in self.vault.list()]
        return Publish(data=tuple(PublishedData(table=m.table, version=m.version) for m in manifests))

    # a session's worker

    async def launch(self, live: Live, epoch: int, inbox: int) -> Process:
        """One worker, with its data key."""
        party = live.contract.party(self.name)
        manifest = self.vault.manifest(party.data)
        job = PartyJob(
            **self.common(live, epoch, inbox),
            data_key=SecretStr(self.vault.data_key(party.data).reveal().hex()),
            manifest=manifest.model_dump_json(),
            data_path=str(self.vault.path(manifest)),
        )
        self._record_reading(live.contract, manifest)
        return await Process.start(job, (inbox,))

    async def on_report(self, live: Live, report: Report) -> Answer | None:
        digest = live.contract.digest
        if isinstance(report, Intent):
            return await asyncio.to_thread(self._record, live.contract, report)
        if isinstance(report, Matched):
            self.journal.append(events.RecordsMatched(session=digest, rows=report.rows, equal=True))
        elif isinstance(report, Advanced):
            self.stream.send(Progress(session=digest, **report.model_dump(exclude={"type"})))
        return None

    def _record(self, contract: Contract, intent: Intent) -> Answer:
        """Record a disclosure that the contract names, or refuse it: no record, no act."""
        for item in contract.disclosures:
            if (item.name, item.recipient) != (intent.name, intent.recipient):
                continue
            count = self._counts.get((contract.digest, item.clause), 0) + 1
            if count > item.count or intent.values > item.values:
                break
            self.journal.append(
                events.DisclosureRecorded(
                    session=contract.digest,
                    name=item.name,
                    recipients=(item.recipient,),
                    shape=(intent.values,),
                    clause=item.clause,
                    count=count,
                )
            )
            self._counts[contract.digest, item.clause] = count
            return Answer()
        self.journal.append(
            events.DisclosureRefused(
                session=contract.digest,
                name=intent.name,
                recipients=(intent.recipient,),
                shape=(intent.values,),
                who=self.name,
                reason="engine.disclosure-refused",
            )
        )
        return Answer(refused=f"the contract does not allow '{intent.name}' to {intent.recipient} once more")

    def finish(self, live: Live, done: Done) -> None:
        digest = live.contract.digest
        for party in live.contract.parties:
            if party.name != self.name and done.transcript is not None:
                self.journal.append(
                    events.TranscriptCompared(session=digest, partner=party.name, digest=done.transcript, equal=True)
                )
        self.journal.append(
            events.OpeningsCounted(session=digest, rounds=done.openings, words=done.words, bytes_sent=done.bytes_sent)
        )
        if done.outcome is not None:
            self._keep(digest, done.outcome)

    def _keep(self, digest: str, outcome: Outcome) -> None:
        """What this party was disclosed, in a file that only it reads; its digest, not its values, in the log."""
        content = outcome.model_dump_json(indent=1).encode()
        write_private(self.home.path("results") / f"{digest}.json", content)
        keyed = hashlib.blake2b(content, key=os.urandom(32), digest_size=32).hexdigest()
        self.journal.append(events.ResultStored(session=digest, name="coefficients", digest=keyed))

    # the operator

    def _make_page(self) -> Page | None:
        if not self.settings.page:
            return None
        from parties.page.server import Page  # only a node that serves a page loads a web server

        return Page(self)

    def refuse_for(self, digest: str, reason: str) -> None:
        """The operator's no. Raises: SettingsError for an unknown reason, LifecycleError if it was answered before."""
        self.refuse(digest, OperatorRefusal(self.name, reason), by="operator")

    def login(self, role: str) -> str:
        """A link to the page, which works once. Raises: SettingsError if there is no page, or no such role."""
        if self.page is None:
            raise SettingsError(
                f"the node of {self.name} serves no page",
                action='set page = "127.0.0.1:0" in its settings.toml, and start it again',
            )
        if role not in {"operator", "officer"}:
            raise SettingsError(f"'{role[:40]}' is no role", action="say operator or officer")
        return self.page.offer(cast("Reader", role))

    def local_handlers(self) -> dict[str, Any]:
        desk = Desk(self.home, self.journal, self.vault, self.partners)

        async def data_add(request: dict[str, Any]) -> Any:
            added = await asyncio.to_thread(desk.data_add, **request)
            self.stream.send(self._published())
            return added

        async def data_remove(request: dict[str, Any]) -> Any:
            await asyncio.to_thread(desk.data_remove, **request)
            self.stream.send(self._published())

        async def pending(_: dict[str, Any]) -> Any:
            return [s.contract for s in self.store.all() if s.state is State.PROPOSED]

        async def approve(request: dict[str, Any]) -> Any:
            digest = self.store.get(request["session"]).digest
            await self.sign(digest, by="operator")
            return digest

        async def refuse(request: dict[str, Any]) -> Any:
            digest = self.store.get(request["session"]).digest
            self.refuse_for(digest, request.get("reason", "unstated"))
            return digest

        async def login(request: dict[str, Any]) -> Any:
            return self.login(str(request["role"]))

        return super().local_handlers() | {
            "data-add": data_add,
            "data-remove": data_remove,
            "pending": pending,
            "approve": approve,
            "refuse": refuse,
            "login": login,
        }
