"""What a node's and the dealer's daemon have in common: one session's way from proposal to end at this participant.

Order, everywhere: record in the audit log, commit to the store, act. No record, no act.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.metadata
import json
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import structlog
from pydantic import SecretStr

from mpc.errors import PrivityError
from parties.agreement.contract import Approval, check_approvals, sign_approval
from parties.agreement.kinds import AnyContract, kind_of, parse_contract
from parties.audit import events
from parties.audit.log import AuditLog
from parties.errors import ContractError, LifecycleError, PartnerError, WorkerFailed
from parties.keys.partners import Partners
from parties.keys.succession import Succession
from parties.keys.tls import TlsKey, utc_now
from parties.process.job import Answer, Broken, Done, Report, TlsMaterial
from parties.service.control import ControlStream
from parties.service.desk import Desk
from parties.service.deviations import evidence
from parties.service.door import Door
from parties.service.home import Home
from parties.service.lifecycle import FINAL, State, Step
from parties.service.local import direct, serve_local
from parties.service.messages import (
    Approve,
    Fault,
    Finished,
    FromDaemon,
    FromGateway,
    FromPartner,
    HandedOver,
    Head,
    Lost,
    Proposal,
    Refuse,
    Relayed,
    Start,
    Stop,
    Waiting,
    Withdrawn,
    session_of,
)
from parties.service.notices import expiring, notices
from parties.service.notify import Notifier, way_of
from parties.service.oplog import about
from parties.service.pause import Pause
from parties.service.standing import Disk, Ending, ending_certificates, waiting
from parties.service.store import Session, SessionStore
from parties.service.supervisor import Process
from parties.testimony.commitments import Commitments
from parties.testimony.withdrawals import Withdrawals
from parties.testimony.witness import Witness
from parties.testimony.witness_store import Heads

if TYPE_CHECKING:
    from parties.page.server import Page
    from parties.service.metrics import MetricsPort

EPOCH = 1  # of each session: none is resumed
PEER_LOST = "engine.peer-lost"
WATCH_S = 3600.0  # from one look for what is over, ends or has changed to the next
CAUSE_WAIT_S = 5.0  # when a peer vanished, the gateway tells who was the first and why, if it is there to tell

log = structlog.get_logger("privity")


@dataclass
class Live:
    """A session that this daemon approved and has not ended."""

    contract: AnyContract
    tls: TlsKey
    envelope: dict[str, Any]
    approvals: dict[str, Approval] = field(default_factory=dict)
    process: Process | None = None
    stopped: Fault | None = None
    stop_event: asyncio.Event = field(default_factory=asyncio.Event)
    done: Done | None = None
    broken: Broken | None = None


class Daemon(ABC):
    """A participant's daemon; nodes and dealers say what they check and what their processes do."""

    role: Literal["node", "dealer"]

    def __init__(self, home: Home, clock: Callable[[], datetime] = utc_now) -> None:
        self.home, self.clock = home, clock
        self.settings = home.settings
        self.name = self.settings.name
        self.version = importlib.metadata.version("privity")  # of the code that runs, whatever is installed meanwhile
        self.identity = home.identity
        self.partners = Partners(home.path("partners.json"))
        self.store = SessionStore(home.path("state.sqlite"))
        self.journal = AuditLog.open(home.path("audit.sqlite"), self.identity, origin_of(self.name), must_exist=True)
        facts = self.name, self.identity, self.store, self.journal
        self.commitments = Commitments(*facts)
        self.withdrawals = Withdrawals(*facts, self.destroy_share, self.partners)
        self.succession = Succession(self.name, home.handovers, self.partners, self.journal)
        heads, former = Heads(home.path("state.sqlite")), self.succession.former
        self.witness = Witness(self.name, self.identity, self.journal, self.partners, heads, former)
        self.stream = ControlStream(home, self.on_connect, self.on_message)
        self.door = Door(self.settings.listen, self.settings.advertise)
        self.notifier = Notifier(way_of(home), self.name)
        self.page: Page | None = None  # of a node whose settings say so
        self.metrics = self._make_metrics()
        self.live: dict[str, Live] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._warned: set[str] = set()
        self._replayed: set[str] = set()  # sessions whose contracts came again

    # what differs

    @abstractmethod
    def admit(self) -> None:
        """Whether contracts are taken at all. Raises: Paused while they are not."""

    @abstractmethod
    def examine(self, contract: AnyContract) -> None:
        """Check what only this kind of participant can, its data untouched. Raises: PrivityError."""

    @abstractmethod
    def inspect(self, contract: AnyContract) -> None:
        """Check the data itself, once somebody here agreed. Raises: PrivityError if it does not fit the contract."""

    @abstractmethod
    def signs_by_itself(self, contract: AnyContract) -> bool:
        """Whether a contract that passed is signed without the operator."""

    @abstractmethod
    async def launch(self, live: Live, epoch: int, inbox: int) -> Process:
        """Start the session's process, which inherits the descriptor on which callers arrive."""

    def common(self, live: Live, epoch: int, inbox: int) -> dict[str, Any]:
        """What every process is told of its session; the key hidden in print."""
        return {
            "name": self.name,
            "contract": live.contract.canonical().decode(),
            "approvals": live.approvals,
            "epoch": epoch,
            "tls": TlsMaterial(key_pem=SecretStr(live.tls.key_pem.decode()), certificate=live.tls.certificate),
            "inbox_fd": inbox,
        }

    @abstractmethod
    async def on_report(self, live: Live, report: Report) -> Answer | None:
        """What a process said, besides its end."""

    @abstractmethod
    async def settle(self, live: Live) -> None:
        """Put away what takes a while of what a run leaves here. Raises: PrivityError; then the session failed here."""

    @abstractmethod
    def finish(self, live: Live, done: Done) -> None:
        """Record what a completed run leaves here."""

    @abstractmethod
    def destroy_share(self, session: str) -> None:
        """Destroy this participant's share of the model that a session left, if it keeps one, and record that."""

    @abstractmethod
    def partner_withdrew(self, session: str) -> None:
        """Another party's consent to a session ended: what is kept here of what it sent goes."""

    def greetings(self) -> list[FromDaemon]:
        """What to tell the gateway at each connection, besides the log's head."""
        return []

    def ends_soon(self, now: datetime) -> list[Ending]:
        """What ends soon, by its own terms."""
        return list(ending_certificates(self.home, now))

    # the gateway's messages

    def on_connect(self) -> list[FromDaemon]:
        said = [*self.greetings(), Head(note=self.journal.head())]
        with self.reporting():
            self._warn()
            # A partner that knows no key but the former one hears of the new one before it cosigns under it.
            said += [*self.succession.announcements(), *self.witness.offers()]
        return said

    def _warn(self) -> None:
        """Of each certificate that ends soon, once while the daemon runs."""
        for one in expiring(self.home, self.clock()):
            if one.certificate not in self._warned:
                self._warned.add(one.certificate)
                log.warning("a certificate ends", certificate=one.certificate, days=one.days, what=one.line())
                self.journal.append(events.CertificateExpiring(certificate=one.certificate, days=one.days))

    def look(self) -> None:
        """What is to be seen to each hour, connected or not."""
        with self.reporting():
            self._warn()

    async def keep_watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(WATCH_S)

    async def on_message(self, message: FromGateway) -> None:
        with about(session_of(message)):
            await self._act_on(message)

    async def _act_on(self, message: FromGateway) -> None:
        if isinstance(message, Proposal):
            await self.receive(message.contract.encode())
        elif isinstance(message, Start):
            self._spawn(self.start(message))
        elif isinstance(message, Stop):
            self.stop(message.session, message.fault)
        elif isinstance(message, Withdrawn):
            with self.reporting(type=message.type):
                self.withdrawals.hear(message.session, message.name, message.envelope)
                self.partner_withdrew(message.session)
        elif isinstance(message, Relayed):
            self._hear_partner(message)

    def _hear_partner(self, message: FromPartner) -> None:
        """What came from a participant, or in its name: the gateway may have made it up."""
        with self.reporting(who=message.peer, type=message.type):
            for answer in self.partner_said(message):
                self.stream.send(answer)

    def partner_said(self, message: FromPartner) -> list[FromPartner]:
        """What to answer. Raises: PrivityError if it does not hold."""
        if isinstance(message, HandedOver):
            self.succession.hear(message)
            return []
        return self.witness.hear(message)

    @contextlib.contextmanager
    def reporting(self, **about: str) -> Iterator[None]:
        """An error goes to the operational log, and the daemon goes on."""
        try:
            yield
        except PrivityError as exc:
            log.warning("between partners", code=exc.code, what=exc.what, action=exc.action, **about)

    async def receive(self, content: bytes) -> None:
        """A proposed contract: refuse it, sign it, or let it wait for the operator."""
        digest = hashlib.sha256(content).hexdigest()
        if (known := self.store.find(digest)) is not None:
            self._answer_again(known)
            return
        try:
            contract = parse_contract(content)
        except PrivityError as exc:
            self.journal.append(events.ContractRefused(session=digest, by="policy", reason=exc.code))
            self.stream.send(Refuse(session=digest, fault=Fault.of(exc, self.name)))
            return
        self.journal.append(events.ContractReceived(session=digest, parties=len(contract.parties)))
        self.store.receive(digest, content.decode())
        try:
            self.admit()
            await asyncio.to_thread(self._examine, contract)
        except PrivityError as exc:
            with contextlib.suppress(LifecycleError):  # the operator answered meanwhile
                self.refuse(digest, exc, by="policy")
            return
        if await asyncio.to_thread(self.signs_by_itself, contract):
            with contextlib.suppress(PrivityError):  # everybody was told why
                await self.sign(digest, by="policy")
        else:
            self.stream.send(Waiting(session=digest, reason=f"waits for the operator of {self.name}"))
            self.notifier.tell("approval-waits", digest, contract.kind)

    async def sign(self, digest: str, *, by: Literal["operator", "policy"]) -> None:
        """Look at everything again, and at the data for the first time, then approve or refuse.

        Not before: what the data hold must not answer somebody whom nobody here agreed to answer.
        Raises: PrivityError, after everybody was told.
        """
        with about((session := self.store.get(digest)).digest):
            await self._sign(session, by)

    async def _sign(self, session: Session, by: Literal["operator", "policy"]) -> None:
        digest = session.digest
        _require(session, State.PROPOSED)
        contract = parse_contract(session.contract.encode())
        if by == "operator":
            self.admit()  # what came before a pause is not refused by it: it goes on waiting
        try:
            await asyncio.to_thread(self._examine, contract)
            await asyncio.to_thread(self.inspect, contract)
            self.admit()  # a pause that began meanwhile
        except PrivityError as exc:
            if self.store.get(digest).state is State.PROPOSED:
                self.refuse(session.digest, exc, by="policy")
            raise
        _require(self.store.get(digest), State.PROPOSED)  # somebody else may have refused it meanwhile
        self.approve(session.digest, by=by)

    def _examine(self, contract: AnyContract) -> None:
        """What every participant checks, then what this kind does."""
        own = contract.dealer if self.role == "dealer" else contract.party(self.name)
        if own.name != self.name:
            raise ContractError(
                f"'{self.name}' is not the dealer of this session", action="propose it again", reason="party"
            )
        if own.key != self.identity.public:
            raise ContractError(
                f"the contract names another key for {self.name} than its own",
                action="the gateway swapped a key; call its operator",
                reason="key",
            )
        others = [p for p in (*contract.parties, contract.dealer) if p.name != self.name]
        try:
            self.partners.check(list(others))
        except PartnerError:
            self._record_mismatch(contract)
            raise
        self._check_expiry(contract)
        contract.check_derived()
        self.examine(contract)

    def _record_mismatch(self, contract: AnyContract) -> None:
        known = self.partners.all()
        for participant in (*contract.parties, contract.dealer):
            if participant.name != self.name and known.get(participant.name) != participant.fingerprint:
                self.journal.append(
                    events.PartnerMismatched(
                        name=participant.name,
                        confirmed=known.get(participant.name),
                        presented=participant.fingerprint,
                        session=contract.digest,
                    )
                )

    def _answer_again(self, known: Session) -> None:
        """After a reconnect: what this participant said before still stands."""
        if known.state is State.PROPOSED:
            self.stream.send(Waiting(session=known.digest, reason=f"waits for the operator of {self.name}"))
        elif known.digest in self.live:
            self.stream.send(Approve(session=known.digest, envelope=self.live[known.digest].envelope))
        elif known.epoch:
            self._refuse_replayed(known)
        elif known.fault is not None:
            self.stream.send(Refuse(session=known.digest, fault=known.fault))

    def _refuse_replayed(self, known: Session) -> None:
        """A contract is good for one session: an honest gateway proposes none that has run. Recorded once a start."""
        error = ContractError(
            f"session {known.digest[:12]} has run at {self.name} already; its contract is good for one session",
            action="propose it anew, as a session of its own; ask the gateway's operator who sent it again",
            reason="replayed",
        )
        if known.digest not in self._replayed:
            self._replayed.add(known.digest)
            self.journal.append(events.ContractReplayed(session=known.digest))
            log.warning("a contract came again", code=error.code)
        self.stream.send(Refuse(session=known.digest, fault=Fault.of(error, self.name)))

    # decisions

    def approve(self, digest: str, *, by: Literal["operator", "policy"]) -> None:
        """Sign. Raises: LifecycleError if there is nothing to sign, ContractError if it expired meanwhile."""
        session = self.store.get(digest)
        contract = parse_contract(session.contract.encode())
        _require(session, State.PROPOSED)
        self._check_time(contract)
        tls = TlsKey.generate(self.name, now=datetime.now(UTC))
        approval = Approval(
            contract=session.digest,
            name=self.name,
            role="dealer" if self.role == "dealer" else "party",
            certificate=tls.certificate,
            endpoint=self.door.endpoint,
        )
        self.journal.append(events.ContractApproved(session=session.digest, by=by))
        self.store.step(session.digest, Step.APPROVE)
        live = Live(contract, tls, sign_approval(self.identity, approval))
        self.live[session.digest] = live
        self.stream.send(Approve(session=session.digest, envelope=live.envelope))

    def _check_time(self, contract: AnyContract) -> None:
        """Raises: ContractError if it is over before all had agreed, or a run began; the session ends by that."""
        try:
            self._check_expiry(contract)
        except ContractError as exc:
            self.journal.append(events.ContractExpired(session=contract.digest))
            self.store.step(contract.digest, Step.EXPIRE, Fault.of(exc, self.name))
            raise

    def _check_expiry(self, contract: AnyContract) -> None:
        """Raises: ContractError once its time is over."""
        if contract.expires <= self.clock():
            raise ContractError("the contract has expired", action="propose the session again", reason="expired")

    def refuse(self, digest: str, error: PrivityError, *, by: Literal["operator", "policy"]) -> None:
        """Raises: LifecycleError if it was answered before."""
        session = self.store.get(digest)
        fault = Fault.of(error, self.name)
        self.journal.append(events.ContractRefused(session=session.digest, by=by, reason=error.code))
        self.store.step(session.digest, Step.REFUSE, fault)
        self.stream.send(Refuse(session=session.digest, fault=fault))

    def stop(self, digest: str, fault: Fault) -> None:
        """Somebody refused, failed, vanished or cancelled: this side ends too."""
        live, session = self.live.get(digest), self.store.find(digest)
        if live is not None and live.approvals:  # it runs, or its process is being started
            live.stopped = fault
            live.stop_event.set()
            if live.process is not None:
                live.process.kill()
        elif session is not None and session.state not in FINAL:
            self._end_without_run(session, fault)

    def _end_without_run(self, session: Session, fault: Fault) -> None:
        self.live.pop(session.digest, None)
        self.journal.append(events.SessionCancelled(session=session.digest, reason=fault.code, who=fault.who))
        self.store.step(session.digest, Step.CANCEL, fault)

    # the run

    async def start(self, message: Start) -> None:
        """All approvals are there: check every one, begin the epoch, run the session's process to its end."""
        live = self.live.get(message.session)
        if live is None or live.approvals:
            log.warning("a start came for a session that is not waiting for one")
            return
        try:
            self._check_time(live.contract)  # who relays approvals may have kept them for long
        except ContractError as exc:
            self._end(live, Fault.of(exc, self.name))
            return
        try:
            live.approvals = check_approvals(live.contract, message.approvals)
            if live.approvals[self.name].certificate != live.tls.certificate:
                raise ContractError(
                    f"the approval that came for {self.name} is not the one that it signed", reason="altered"
                )
            self.journal.append(
                events.SessionStarted(session=message.session, epoch=EPOCH, parties=len(live.contract.parties))
            )
            self.store.keep_approvals(message.session, message.approvals)
            self.store.begin_epoch(message.session, EPOCH)
            self.store.step(message.session, Step.START)
            with self.door.inbox(message.session) as inbox:
                live.process = await self.launch(live, EPOCH, inbox.fileno())
            self.journal.append(events.WorkerStarted(session=message.session, epoch=EPOCH, certificate=live.tls.sha256))
            if live.stopped is not None:  # while it was being started
                live.process.kill()
            status = await live.process.run(lambda report: self._hear(live, report))
            self.journal.append(events.WorkerEnded(session=message.session, exit=status))
            await self._conclude(live, status)
        except PrivityError as exc:
            self._fail(live, Fault.of(exc, self.name))

    async def _hear(self, live: Live, report: Report) -> Answer | None:
        if isinstance(report, Done):
            live.done = report
        elif isinstance(report, Broken):
            live.broken = report
            log.error("worker failed", code=report.code, what=report.what, action=report.action)
            for event in evidence(live.contract, self.name, report):
                self.journal.append(event)
        else:
            return await self.on_report(live, report)
        return None

    async def _conclude(self, live: Live, status: int) -> None:
        digest = live.contract.digest
        if live.done is not None and status == 0:
            await self.settle(live)
            self.finish(live, live.done)
            self.journal.append(
                events.SessionCompleted(session=digest, rounds=live.done.rounds, bytes_sent=live.done.bytes_sent)
            )
            self.store.step(digest, Step.COMPLETE)
            self._end(live, None)
            return
        fault = self._death(status) if live.broken is None else live.broken.fault(self.name, live.approvals)
        if live.stopped is None and fault.code == PEER_LOST:
            self.stream.send(Lost(session=digest, fault=fault))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(live.stop_event.wait(), CAUSE_WAIT_S)
        saw_it = live.broken is not None and live.broken.refused is not None  # rather than was told by the gateway
        self._fail(live, fault if saw_it else live.stopped or fault)

    def _death(self, status: int) -> Fault:
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        error = WorkerFailed(
            f"the worker of {self.name} {how}", action="see its operational log, then propose the session again"
        )
        return Fault.of(error, self.name)

    def _fail(self, live: Live, fault: Fault) -> None:
        digest = live.contract.digest
        self.journal.append(events.SessionFailed(session=digest, reason=fault.code, who=fault.who))
        state = self.store.get(digest).state
        if state not in FINAL:
            self.store.step(digest, Step.FAIL, fault)
        self._end(live, fault)
        self.notifier.tell("session-failed", digest, live.contract.kind, fault.code)

    def _end(self, live: Live, fault: Fault | None) -> None:
        done = live.done or Done()
        self.live.pop(live.contract.digest, None)
        self.door.shut(live.contract.digest)
        self.stream.send(Head(note=self.journal.head()))
        self.stream.send(
            Finished(
                session=live.contract.digest,
                seconds=done.seconds,
                rounds=done.rounds,
                bytes_sent=done.bytes_sent,
                converged=done.converged,
                estimate=done.estimate,
                models=done.models,
                validated=done.validated,
                information_values=done.information_values,
                stages=done.stages,
                links=done.links,
                fault=fault,
            )
        )
        contract = live.contract
        with self.reporting():
            for offer in self.witness.offers(other.name for other in (*contract.parties, contract.dealer)):
                self.stream.send(offer)

    # the daemon's life

    def local_handlers(self) -> dict[str, Any]:
        """What the operator may ask for through the local socket."""
        desk = Desk(self.home, self.journal, None, self.partners)

        async def partner_add(request: dict[str, Any]) -> Any:
            desk.partner_add(**request)

        async def partner_remove(request: dict[str, Any]) -> Any:
            desk.partner_remove(**request)

        async def partner_accept(request: dict[str, Any]) -> Any:
            return desk.partner_accept(**request)

        async def partner_revoke(request: dict[str, Any]) -> Any:
            revoked = desk.partner_revoke(**request)
            self._end_sessions_of(request["name"], revoked)
            return revoked

        async def status(_: dict[str, Any]) -> Any:
            now, paused = datetime.now(UTC), Pause(self.home).since
            return {
                "name": self.name,
                "endpoint": self.door.endpoint,
                "page": self.page.url if self.page else "",
                "metrics": self.metrics.url if self.metrics else "",
                "gateway": self.stream.connected.is_set(),
                "sessions": {digest: state.value for digest, state in self.store.states().items()},
                "workers": {digest: live.process.pid for digest, live in self.live.items() if live.process},
                "notices": notices(self.home, self.partners, now),
                "version": self.version,
                "paused": None if paused is None else paused.isoformat(),
                "waiting": [one.model_dump(mode="json") for one in waiting(self.store, now)],
                "ends_soon": [one.model_dump(mode="json") for one in await asyncio.to_thread(self.ends_soon, now)],
                "disk": Disk.of(self.home.directory).model_dump(),
            }

        return {
            "partner-add": partner_add,
            "partner-remove": partner_remove,
            "partner-accept": partner_accept,
            "partner-revoke": partner_revoke,
            "audit-verified": direct(desk.audit_verified),
            "status": status,
        }

    def _end_sessions_of(self, name: str, revoked: str) -> None:
        """A key was revoked: whatever was agreed with it ends here, and for everybody."""
        error = PartnerError(
            f"the key of '{name}' was revoked at {self.name}", action=f"ask the operator of {self.name}"
        )
        for session in self.store.all(set(State) - FINAL):
            contract = parse_contract(session.contract.encode())
            keys = {one.fingerprint for one in (*contract.parties, contract.dealer)}
            if revoked not in keys:
                continue
            if session.state is State.PROPOSED:
                self.refuse(session.digest, error, by="operator")
                continue
            live, fault = self.live.get(session.digest), Fault.of(error, self.name)
            self.stop(session.digest, fault)
            if live is None or live.process is None:  # else its end tells everybody
                self.stream.send(Refuse(session=session.digest, fault=fault))

    async def serve(self) -> None:
        """Run until SIGTERM or SIGINT. Raises: PrivityError if the gateway rejects this daemon."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        await self.door.open()
        for port in self._ports():
            await port.open()
        local = await serve_local(self.home.directory, self.local_handlers(), self._whole)
        self._fail_interrupted()
        self.journal.append(events.ServiceStarted(role=self.role, version=self.version))
        ready = {"ready": self.name, "endpoint": self.door.endpoint} | ({"page": self.page.url} if self.page else {})
        print(json.dumps(ready), flush=True)  # noqa: T201 - for supervisors
        stream = asyncio.create_task(self.stream.run())
        stopping, watch = asyncio.create_task(ended.wait()), asyncio.create_task(self.keep_watch())
        try:
            await asyncio.wait({stream, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
            await self._shut_down(local)
            stopping.cancel()
        if stream.done():
            stream.result()
        stream.cancel()

    def _whole(self, beginning: str) -> str:
        with contextlib.suppress(LifecycleError):
            return self.store.get(beginning).digest
        return ""

    def _make_metrics(self) -> MetricsPort | None:
        if not self.settings.metrics:
            return None
        from parties.service.metrics import MetricsPort  # only a daemon that is asked for them loads a web server

        return MetricsPort(self)

    def _ports(self) -> list[Page | MetricsPort]:
        """Those on loopback that the settings ask for."""
        return [port for port in (self.page, self.metrics) if port is not None]

    def _fail_interrupted(self) -> None:
        """Sessions whose keys died with the last daemon can't go on."""
        error = WorkerFailed(f"the daemon of {self.name} was restarted", action="propose the session again")
        fault = Fault.of(error, self.name)
        for digest in self.store.fail_unfinished(fault):
            self.journal.append(events.SessionFailed(session=digest, reason=fault.code, who=self.name))
            self.stream.send(Finished(session=digest, seconds=0, rounds=0, bytes_sent=0, fault=fault))
            self.notifier.tell("session-failed", digest, kind_of(self.store.get(digest).contract), fault.code)

    async def _shut_down(self, local: asyncio.Server) -> None:
        local.close()
        for port in self._ports():
            await port.close()
        for live in list(self.live.values()):
            if live.process is not None:
                live.process.kill()
        for task in list(self._tasks):
            with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                await asyncio.wait_for(task, 5)
        await self.notifier.close()
        self.door.close()
        self.journal.append(events.ServiceStopped(role=self.role))
        self.journal.close()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished_task)

    def _finished_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a session's task ended unexpectedly", kind=type(error).__name__, exc_info=error)


def _require(session: Session, state: State) -> None:
    if session.state is not state:
        why = f" ({session.fault.line()})" if session.fault is not None else ""
        raise LifecycleError(f"session {session.digest[:12]} is {session.state}; there is nothing to approve{why}")


def origin_of(name: str) -> str:
    """The name of a participant's log."""
    return name
