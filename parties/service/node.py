"""A party's node: its vault, its policy, and one worker process a session."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import SecretStr

from mpc.errors import PrivityError
from parties.agreement.contract import Contract, Party, Terms
from parties.agreement.kinds import AnyContract, columns_of, parse_contract
from parties.agreement.match_plan import MatchingContract
from parties.agreement.policy import Circumstances, Finding, check, judge, verdict
from parties.agreement.policy_file import PolicyFile
from parties.agreement.prediction import PredictionContract
from parties.audit import events
from parties.columns.reading import check_columns, read_columns
from parties.data.data_set import Manifest, check_agreed
from parties.data.matched import MatchedSets
from parties.data.records import Records
from parties.data.schema import check_features, check_ids, check_label
from parties.data.tables import labels
from parties.data.vault import Vault
from parties.errors import ConsentWithdrawn, OperatorRefusal, SettingsError, VaultError
from parties.keys.identity import write_private
from parties.keys.tls import utc_now
from parties.outcome.estimates import Estimated, Estimates
from parties.outcome.models import KeptModel, Models
from parties.outcome.predictions import Predictions
from parties.outcome.results import record
from parties.outcome.told import ToldValues
from parties.process.job import (
    Advanced,
    Answer,
    Commit,
    Committed,
    Done,
    FoundRows,
    Intent,
    KeySigned,
    Matched,
    ModelPart,
    Opened,
    Outcome,
    PartyJob,
    Predicted,
    Report,
)
from parties.service.claims import Claims
from parties.service.daemon import EPOCH, Daemon, Live
from parties.service.desk import Desk, destroy_predicted, destroy_replay, destroy_share
from parties.service.home import Home
from parties.service.lifecycle import FINAL, State
from parties.service.local import direct, threaded
from parties.service.messages import (
    Fault,
    FromDaemon,
    FromPartner,
    Progress,
    Publish,
    PublishedData,
    Refuse,
    SignedTranscript,
    Withdraw,
)
from parties.service.pause import Pause
from parties.service.standing import Ending, ending_data
from parties.service.store import Session
from parties.service.supervisor import MATCH_WORKER, WORKER, Process
from parties.testimony.replays import Replays
from parties.testimony.transcripts import Transcripts

INSPECTED_CELLS = 1 << 26  # of a table, before anybody signs; half a gigabyte of numbers
if TYPE_CHECKING:
    from parties.audit.events import Reader
    from parties.page.server import Page


class Node(Daemon):
    role: Literal["node", "dealer"] = "node"

    def __init__(self, home: Home, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(home, clock)
        master_key = home.master_key()
        self.vault = Vault(home.path("vault"), master_key)
        self.vault.check_key()
        self.models = Models(home.path("models"), master_key)
        self.replays = Replays(home.path("replays"), self.vault)
        self.policy = PolicyFile(home.path("policy.toml"), self.journal)
        self.records = Records(home.path("records"), master_key)
        self.predictions = Predictions(home.path("results"))
        self.predictions.sweep()
        self.told = ToldValues(self.name, home.path("results"), self.journal)
        self.transcripts = Transcripts(self.name, self.identity, self.store, self.journal)
        self.matched = MatchedSets(self.name, self.vault, self.journal)
        self.pause = Pause(home)
        self.claims = Claims()
        self._counts: dict[tuple[str, str], int] = {}  # (session, clause) -> disclosures recorded
        self.page = self._make_page()

    # contracts

    def admit(self) -> None:
        self.pause.check()

    def examine(self, contract: AnyContract) -> None:
        """The policy, then what this node publishes of its data, and what it keeps of a model."""
        party = contract.party(self.name)
        check(self.findings(contract))
        manifest = self._shared(party.data)
        check_agreed(manifest, party)
        self._check_origin(manifest)
        if isinstance(contract, MatchingContract):
            check_ids(manifest.table, manifest.table.id_column, party.columns)
            return
        if party.columns:
            check_features(manifest.table, party.columns, contract.preparation.of)
        if isinstance(contract, PredictionContract):
            contract.check_model(self._model(contract).trained, self._follows)
        elif contract.label.held_by(self.name):
            check_label(manifest.table, contract.label.column)

    def _check_origin(self, manifest: Manifest) -> None:
        """Raises: ConsentWithdrawn if a party ended its consent to a matching on which a data set rests."""
        for session in manifest.origin.sessions if manifest.origin is not None else ():
            for name in sorted(self.store.withdrawals(session)):
                raise ConsentWithdrawn(name, session)

    def _shared(self, name: str) -> Manifest:
        """Raises: VaultError, in the same words whether it is not there, not shared, or its time is over."""
        if name in self.vault.list():
            manifest = self.vault.manifest(name)
            if manifest.shareable and (manifest.origin is None or manifest.origin.until > datetime.now(UTC)):
                return manifest
        raise VaultError(
            f"there is no data set {name} that {self.name} shares", action="its operator runs `privity data share`"
        )

    def _follows(self, former: Party, present: Party) -> bool:
        """Whether a party has the key that it had, or one that follows it here."""
        if former.name == self.name:
            return former.key in {*self.succession.former, self.identity.public}
        return self.partners.is_same(former.name, former.fingerprint, present.fingerprint)

    async def sign(self, digest: str, *, by: Literal["operator", "policy"]) -> None:
        """As `Daemon.sign`; what the contract is about stays in the vault meanwhile."""
        data = parse_contract(self.store.get(digest).contract.encode()).party(self.name).data
        with self.claims.held(data, digest):
            await super().sign(digest, by=by)

    def _model(self, contract: PredictionContract) -> KeptModel:
        """Raises: ConsentWithdrawn if a party ended its consent; VaultError if no share of it is kept, or no longer."""
        withdrawn = self.store.withdrawals(contract.model)
        for name in sorted(withdrawn, key=lambda name: name != self.name):
            raise ConsentWithdrawn(name, contract.model)
        self.delete_expired()
        return self.models.load(contract.model)

    def inspect(self, contract: AnyContract) -> None:
        """Columns as their recipes want them, and a label: what is wrong must show before anybody signs.

        Cost: a reading, and the memory, of the columns by which records are matched, or of INSPECTED_CELLS at once.
        """
        party = contract.party(self.name)
        manifest = self.vault.manifest(party.data)
        self._record_reading(contract, manifest)
        if isinstance(contract, MatchingContract):
            self.matched.check(contract, manifest, self.vault.open(party.data, columns_of(contract, self.name)))
            return
        is_divided = contract.division.is_divided(contract.rank(self.name))
        inspected = read_columns if isinstance(contract, PredictionContract) or is_divided else check_columns
        at_once = max(1, INSPECTED_CELLS // manifest.table.rows)
        for start in range(0, len(party.columns), at_once):
            columns = party.columns[start : start + at_once]
            inspected(self.vault.open(party.data, columns), columns, contract.preparation)
        if isinstance(contract, Contract) and contract.label.held_by(self.name):
            table = self.vault.open(party.data, {contract.label.column})
            labels(table, contract.label.column, contract.label.told_apart)

    def _record_reading(self, contract: Terms, manifest: Manifest) -> None:
        self.journal.append(
            events.DataRead(
                name=manifest.name,
                version=manifest.version,
                rows=manifest.table.rows,
                columns=len(contract.party(self.name).columns),
                session=contract.digest,
            )
        )

    def findings(self, contract: AnyContract) -> list[Finding]:
        """What the policy in force says of a contract, rule by rule. Raises: SettingsError if there is none."""
        return judge(self.policy.read(), contract, self.name, Circumstances.of(self.store, self.name))

    def signs_by_itself(self, contract: AnyContract) -> bool:
        return verdict(self.findings(contract)) == "holds"

    def greetings(self) -> list[FromDaemon]:
        told = [
            Withdraw(session=digest, envelope=self.store.withdrawals(digest)[self.name])
            for digest in self.store.withdrawn_by(self.name)
        ]
        return [self._published(), *told, *self.transcripts.reminders()]

    def _published(self) -> Publish:
        manifests = [self.vault.manifest(name) for name in self.vault.list()]
        shared = (manifest for manifest in manifests if manifest.shareable)
        return Publish(data=tuple(PublishedData(table=m.table, version=m.version) for m in shared))

    def ends_soon(self, now: datetime) -> list[Ending]:
        return [*super().ends_soon(now), *ending_data(self.models, self.vault, now)]

    # a session's worker

    async def launch(self, live: Live, epoch: int, inbox: int) -> Process:
        """One worker, with its data key and, to predict, its part of the model."""
        contract = live.contract
        party = contract.party(self.name)
        await asyncio.to_thread(self._keep_records, contract)
        model: SecretStr | None = None
        if isinstance(contract, PredictionContract):
            model = SecretStr(self._model(contract).part.model_dump_json())
            self.journal.append(events.ModelUsed(model=contract.model, session=contract.digest))
            if contract.recipient == self.name:
                self.predictions.begin(contract.digest, party.id_column, contract.told_apart)
        manifest = self.vault.manifest(party.data)
        recording = await asyncio.to_thread(self._record_run, contract)
        job = PartyJob(
            **self.common(live, epoch, inbox),
            recording=recording,
            data_key=SecretStr(self.vault.data_key(party.data).reveal().hex()),
            manifest=manifest.model_dump_json(),
            data_path=str(self.vault.path(manifest)),
            device=self.settings.device,
            model=model,
        )
        self._record_reading(contract, manifest)
        command = MATCH_WORKER if isinstance(contract, MatchingContract) else WORKER
        return await Process.start(job, (inbox,), command)

    def _record_run(self, contract: AnyContract) -> SecretStr | None:
        """Where the contract keeps a recording: the seed and the key of one."""
        if not contract.replay_days:
            return None
        until = datetime.now(UTC) + timedelta(days=contract.replay_days)
        if isinstance(contract, PredictionContract):
            until = min(until, self._model(contract).expires)  # without the model's share nothing is made again
        made = self.replays.begin(contract.digest, contract.party(self.name).data, until)
        return SecretStr(made.model_dump_json())

    def _keep_records(self, contract: AnyContract) -> None:
        """Before any of them is used: digests of the own record ids, to tell later who took part."""
        if self.records.knows(contract.digest):
            return
        model_days = contract.retention.model_days if isinstance(contract, Contract) else 0
        if days := max(self.settings.records_days, model_days):
            party = contract.party(self.name)
            ids = self.matched.own_names(party.data)
            self.journal.append(events.RecordsKept(session=contract.digest, rows=party.rows, days=days))
            self.records.keep(contract.digest, ids, datetime.now(UTC) + timedelta(days=days))

    async def on_report(self, live: Live, report: Report) -> Answer | None:
        digest = live.contract.digest
        if isinstance(report, Intent):
            return await asyncio.to_thread(self._record, live.contract, report)
        if isinstance(report, Commit | Committed | KeySigned):
            return await asyncio.to_thread(self.commitments.hear, live.contract, EPOCH, report)
        if isinstance(report, Matched):
            self.journal.append(events.RecordsMatched(session=digest, rows=report.rows, equal=True))
        elif isinstance(report, Opened):
            await asyncio.to_thread(self.told.keep, live.contract, report)
        elif isinstance(report, Predicted):
            await asyncio.to_thread(self.predictions.append, digest, report)
        elif isinstance(report, FoundRows):
            self.matched.collect(digest, report)
        elif isinstance(report, Advanced):
            self.stream.send(Progress(session=digest, **report.model_dump(exclude={"type"})))
        return None

    def _record(self, contract: AnyContract, intent: Intent) -> Answer:
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
                    transcript=intent.transcript,  # under this log's signed head before anything leaves
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

    async def settle(self, live: Live) -> None:
        contract = live.contract
        ended = self.name in self.store.withdrawals(contract.digest)  # in the moment in which the run did
        if isinstance(contract, MatchingContract) and not contract.is_estimate and not ended:
            await asyncio.to_thread(self.matched.keep, contract, datetime.now(UTC))

    def finish(self, live: Live, done: Done) -> None:
        contract, digest = live.contract, live.contract.digest
        for party in contract.parties:
            if party.name != self.name and done.transcript is not None:
                self.journal.append(
                    events.TranscriptCompared(session=digest, partner=party.name, digest=done.transcript, equal=True)
                )
        self.journal.append(
            events.OpeningsCounted(session=digest, rounds=done.openings, words=done.words, bytes_sent=done.bytes_sent)
        )
        if done.transcript is not None:
            for signed in self.transcripts.conclude(contract, EPOCH, done.transcript, done.openings, done.words):
                self.stream.send(signed)
        if done.tape is not None:
            self.journal.append(events.ReplayKept(session=digest, days=contract.replay_days))
            self.replays.finish(digest, done.tape)
        self._keep_results(contract, done)

    def _keep_results(self, contract: AnyContract, done: Done) -> None:
        """What this party was told at the end, and its part of a model, as the contract's kind has them."""
        digest = contract.digest
        if done.outcome is not None:
            self._keep(digest, done.outcome)
        if isinstance(contract, MatchingContract) and done.estimate is not None:
            told = Estimated(about=done.estimate, least=contract.least_told)
            salted = Estimates(self.home.path("results")).keep(digest, told)
            self.journal.append(events.ResultStored(session=digest, name="estimate", digest=salted))
        if isinstance(contract, PredictionContract):
            if contract.recipient == self.name:
                salted = self.predictions.finish(digest)
                self.journal.append(events.ResultStored(session=digest, name="probabilities", digest=salted))
        elif isinstance(contract, Contract) and done.model is not None and contract.retention.model_days:
            self._keep_model(contract, done.model, contract.retention.model_days)

    def _end(self, live: Live, fault: Fault | None) -> None:
        if fault is not None:
            self.predictions.discard(live.contract.digest)
            self.transcripts.forget(live.contract.digest)
            self.matched.forget(live.contract.digest)
            destroy_replay(self.replays, self.journal, live.contract.digest, by="failure")
        super()._end(live, fault)
        if fault is None:
            with self.reporting():
                self.transcripts.catch_up(live.contract)

    def partner_said(self, message: FromPartner) -> list[FromPartner]:
        if isinstance(message, SignedTranscript):
            return [*self.transcripts.hear(message)]
        return super().partner_said(message)

    def _keep(self, digest: str, outcome: Outcome) -> None:
        """What this party was disclosed, in a file that only it reads; its digest, not its values, in the log."""
        content = outcome.model_dump_json(indent=1).encode()
        path = self.home.path("results") / f"{digest}.json"
        salted = record(path, content)
        write_private(path, content)
        self.journal.append(events.ResultStored(session=digest, name="coefficients", digest=salted))

    def _keep_model(self, contract: Terms, part: ModelPart, days: int) -> None:
        """This party's share of the model, sealed, for as long as the contract says."""
        if self.name in self.store.withdrawals(contract.digest):
            return  # consent ended in the moment in which the run did
        kept = KeptModel(contract=contract.canonical().decode(), stored=datetime.now(UTC), part=part)
        self.models.store(contract.digest, kept)
        self.journal.append(events.ModelStored(model=contract.digest, days=days))

    def delete_expired(self) -> None:
        """Delete every model and matched data set whose time is over, and every key of record digests whose time is."""
        now = datetime.now(UTC)
        for session in list(self.models.expired(now)):
            destroy_predicted(self.replays, self.store, self.journal, session, by="expiry")
            self.journal.append(events.ModelDeleted(model=session, by="expiry"))
            self.models.delete(session)
        for session in list(self.records.expired(now)):
            self.journal.append(events.RecordsDestroyed(session=session, by="expiry"))
            self.records.destroy(session)
        for session in list(self.replays.expired(now)):
            destroy_replay(self.replays, self.journal, session, by="expiry")
        with self.claims.lock:
            self.matched.expire(now, self.desk.is_used)

    # consent that ends

    def withdraw(self, beginning: str) -> str:
        """The operator ends this party's consent to a session; its id. Raises: as `Withdrawals.withdraw`."""
        digest = self.withdrawals.withdraw(beginning)
        self.stream.send(Withdraw(session=digest, envelope=self.store.withdrawals(digest)[self.name]))
        self._end_withdrawn(digest)
        self.stream.send(self._published())
        return digest

    def destroy_share(self, session: str) -> None:
        """And what a matching left."""
        destroy_share(self.models, self.journal, session)
        self.partner_withdrew(session)
        self.matched.forget(session)

    def partner_withdrew(self, session: str) -> None:
        """A recording holds its masked rows, and so do those of predictions by the model."""
        destroy_replay(self.replays, self.journal, session, by="withdrawal")
        destroy_predicted(self.replays, self.store, self.journal, session, by="withdrawal")

    def _sweep_replays(self) -> None:
        """Destroy recordings of runs that a daemon which was killed left unfinished."""
        for session in self.replays.list():
            found = self.store.find(session)
            if found is None or found.state is not State.COMPLETED:
                destroy_replay(self.replays, self.journal, session, by="failure")

    def _end_withdrawn(self, digest: str) -> None:
        """End what is not over yet: the session itself, and what is done with what it left."""
        error = ConsentWithdrawn(self.name, digest)
        for session in self.store.all(set(State) - FINAL):
            if not self._rests_on(session, digest):
                continue
            if session.state is State.PROPOSED:
                self.refuse(session.digest, error, by="operator")
                continue
            fault = Fault.of(error, self.name)
            self.stop(session.digest, fault)
            if session.digest not in self.live:  # a process that was stopped says so itself, at its end
                self.stream.send(Refuse(session=session.digest, fault=fault))

    def _rests_on(self, session: Session, digest: str) -> bool:
        """Whether it is this session, predicts by the model that it left, or uses a data set that went with it."""
        if session.digest == digest:
            return True
        contract = parse_contract(session.contract.encode())
        if contract.party(self.name).data_version in self.matched.gone:
            return True
        return isinstance(contract, PredictionContract) and contract.model == digest

    def look(self) -> None:
        """And what is kept goes when its time is over, and a changed policy is noticed."""
        super().look()
        with contextlib.suppress(PrivityError):  # a disk that refuses: tried again, and at each use
            before = len(self.matched.gone)
            self.delete_expired()
            if len(self.matched.gone) > before:
                self.stream.send(self._published())
        with contextlib.suppress(PrivityError):  # a policy that can't be read: said so at each contract
            self.policy.read()

    async def serve(self) -> None:
        """As every daemon's, once what was killed half-way is done."""
        for digest in self.withdrawals.resume():
            self._end_withdrawn(digest)
        self._sweep_replays()
        await super().serve()

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

    @property
    def desk(self) -> Desk:
        """What the operator does to this node's files."""
        return Desk(self.home, self.journal, self.vault, self.partners, self.records, self.claims)

    def local_handlers(self) -> dict[str, Any]:
        desk = self.desk

        async def data_added(request: dict[str, Any]) -> Any:
            desk.data_added(**request)

        async def data_share(request: dict[str, Any]) -> Any:
            await asyncio.to_thread(desk.data_share, **request)
            self.stream.send(self._published())

        async def data_publish(_: dict[str, Any]) -> Any:
            self.stream.send(self._published())

        async def data_delete(request: dict[str, Any]) -> Any:
            await asyncio.to_thread(desk.data_delete, **request)
            self.stream.send(self._published())

        async def pending(_: dict[str, Any]) -> Any:
            return [s.contract for s in self.store.all([State.PROPOSED])]

        async def contract(request: dict[str, Any]) -> Any:
            return self.store.get(request["session"]).contract

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
            "node-pause": direct(desk.node_pause),
            "node-resume": direct(desk.node_resume),
            "data-added": data_added,
            "data-share": data_share,
            "data-publish": data_publish,
            "data-delete": data_delete,
            "model-delete": direct(desk.model_delete),
            "recording-delete": threaded(desk.recording_delete),
            "session-withdraw": direct(self.withdraw),
            "data-forget": direct(desk.data_forget),
            "audit-subject": threaded(desk.audit_subject),
            "audit-replay": direct(desk.audit_replay),
            "audit-replayed": direct(desk.audit_replayed),
            "pending": pending,
            "contract": contract,
            "approve": approve,
            "refuse": refuse,
            "login": login,
        }
