"""The coordinator: brings proposals to participants, collects what they sign and say, ends a session for all at once.

It stores approvals and can't make one; its row of a session is for display, participants act on signatures. Here is
what analysts ask; what participants say is taken in `reception.py`, what time brings about in `watchdog.py`.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import rfc8785

from gateway.access.principal import Principal
from gateway.coordination.cosigning import Cosigning
from gateway.coordination.feed import Watcher
from gateway.coordination.heads import merged
from gateway.coordination.journal import Journal
from gateway.coordination.once import Cancelled, Once, Proposed
from gateway.coordination.reception import Reception
from gateway.coordination.relay import Line
from gateway.coordination.snapshots import Snapshot
from gateway.coordination.steps import Steps
from gateway.coordination.switchboard import Switchboard, state_update
from gateway.coordination.watchdog import Watchdog
from gateway.errors import BadCursor, Busy, NotFound
from gateway.planning.estimate import Estimate, Link, estimate
from gateway.planning.proposals import contract_for, sees
from gateway.settings import GatewaySettings
from gateway.storage.selection import EVERY, Selection
from gateway.storage.store import Mark, Member, Rows, SessionRecord, Store
from gateway.views import ParticipantView, participant_view
from parties.agreement.kinds import AnyContract, ProposedPlan, parse_plan_text
from parties.audit.events import Event, SessionProposed
from parties.keys.tls import utc_now
from parties.service.lifecycle import State, Step
from parties.service.messages import Envelope, Fault, FromDaemon, Proposal


@dataclass(frozen=True)
class Figures:
    """Counts: of the database's, and of this process since it started."""

    sessions: dict[State, int]
    waiting_approvals: int
    joined: int  # participants
    connected: int  # of them, to any gateway
    connected_here: int
    event_streams: int
    gateways: int
    messages: dict[tuple[str, str], int]  # by direction, as participants see it, and type
    bytes_sent: int  # to participants


class Sessions:
    """All sessions, and the participants that are connected."""

    def __init__(
        self,
        store: Store,
        journal: Journal,
        settings: GatewaySettings,
        *,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        cosigning: Cosigning | None = None,
    ) -> None:
        """`cosigning`: of the gateway's own log; None where there is none that lasts."""
        self._board = Switchboard(store, journal, settings, clock=clock, monotonic=monotonic, cosigning=cosigning)
        self._steps = Steps(self._board)
        self._watchdog = Watchdog(self._board, self._steps)
        self._reception = Reception(self._board, self._steps)
        self.bytes_sent = 0  # to participants, since the start
        self._messages: Counter[tuple[str, str]] = Counter()  # by direction and type

    def record(self, event: Event) -> None:
        """What happens beside the sessions. Raises: AuditError if it could not be written."""
        self._board.journal.append(event)

    # What the analyst asks

    def propose(self, plan: ProposedPlan, by: Principal, key: str | None = None) -> Proposed:
        """Resolve a plan and send its contract to every participant; once for a key, however often it comes.

        Raises: Busy at the settings' limit; KeyReused if the key came with another request within a day; otherwise as
        `resolve`.
        """
        now = self._board.clock().replace(microsecond=0)
        digest = hashlib.sha256(rfc8785.dumps(plan.model_dump(mode="json"))).hexdigest()
        with self._board.turn() as turn:
            once = None if key is None else Once(turn.rows, by.account, key, digest, now)
            if once and (earlier := once.earlier()):
                return Proposed(_found(turn.rows, earlier, by), is_new=False)
            if turn.rows.count_open() >= self._board.settings.max_open_sessions:
                raise Busy(
                    f"{self._board.settings.max_open_sessions} sessions are open, as many as this gateway allows",
                    action="cancel one, or wait for one to end",
                )
            contract = contract_for(plan, turn.rows, now, by)
            record = turn.rows.add_session(contract, plan.model_dump_json(), by.organisation)
            entry = SessionProposed(session=record.digest, plan=digest, parties=len(contract.parties), **by.recorded)
            self._board.journal.append(entry)
            if once:
                once.remember(record.digest)
            turn.send(record.roles, Proposal(contract=record.text))
            return Proposed(record)

    def estimate(self, plan: ProposedPlan, link: Link, by: Principal) -> Estimate:
        """What the plan's contract would quote. Nothing is stored, recorded or sent. Raises: as `resolve`."""
        return self.preview(plan, link, by)[1]

    def preview(self, plan: ProposedPlan, link: Link, by: Principal) -> tuple[AnyContract, Estimate]:
        """The contract that would come of a plan, were it proposed now, and its costs. Raises: as `resolve`."""
        with self._board.store.reading() as rows:
            contract = contract_for(plan, rows, self._board.clock().replace(microsecond=0), by)
            everybody = [*(party.name for party in contract.parties), contract.dealer.name]
            return contract, estimate(contract, link, rows.links.slowest(everybody))

    def cancel(self, digest: str, by: Principal, key: str | None = None) -> Cancelled:
        """Once for a key, however often it comes.

        Raises: NotFound; LifecycleError if the session is at its end already; KeyReused as `propose`.
        """
        asked = hashlib.sha256(f"cancel {digest}".encode()).hexdigest()
        with self._board.turn() as turn:
            record = _found(turn.rows, digest, by)
            once = None if key is None else Once(turn.rows, by.account, key, asked, self._board.clock())
            if once and once.earlier():
                return Cancelled(self._board.view(record, turn.rows), is_new=False)
            fault = Fault(code="cancelled", who="gateway", what=f"{by.in_words} cancelled the session")
            ended = self._steps.end(turn, record, Step.CANCEL, fault, by=by)
            if once:
                once.remember(digest)
            return Cancelled(self._board.view(ended, turn.rows))

    def sessions(self, by: Principal, selection: Selection = EVERY) -> list[Snapshot]:
        """Those selected of what the account sees, newest first. Raises: BadCursor."""
        with self._board.store.reading() as rows:
            if selection.cursor is not None and not sees(rows, selection.cursor, by):
                raise BadCursor("this gateway has no session with the cursor's id", action="begin at the first page")
            return self._board.snapshots(rows.marks(replace(selection, organisation=by.sees)), rows)

    def session(self, digest: str, by: Principal) -> Snapshot:
        """Raises: NotFound."""
        with self._board.store.reading() as rows:
            return self._board.snapshots([_mark(rows, digest, by)], rows)[0]

    def contract(self, digest: str, by: Principal) -> str:
        """The contract's canonical JSON. Raises: NotFound."""
        with self._board.store.reading() as rows:
            return rows.contract(_mark(rows, digest, by).digest)

    def agreed(self, digest: str, by: Principal) -> AnyContract:
        """Raises: NotFound."""
        with self._board.store.reading() as rows:
            return _found(rows, digest, by).contract

    def approvals(self, digest: str, by: Principal) -> dict[str, Envelope]:
        """What participants signed so far, by name. Raises: NotFound."""
        with self._board.store.reading() as rows:
            return rows.approvals(_mark(rows, digest, by).digest)

    def plan(self, digest: str, by: Principal) -> ProposedPlan:
        """What the session was proposed by. Raises: NotFound; PlanError if this release can't read it."""
        with self._board.store.reading() as rows:
            return parse_plan_text(rows.plan(_mark(rows, digest, by).digest))

    @contextmanager
    def watch(self, digest: str, by: Principal, last_id: str = "") -> Iterator[Watcher]:
        """A subscription, from the present state or after the event that the watcher saw last. Raises: NotFound."""
        with self._board.abreast() as rows:
            (present,) = self._board.snapshots([_mark(rows, digest, by)], rows)
        with self._board.feed.watch(digest, state_update(present.view), last_id) as watcher:
            yield watcher

    def names(self) -> list[str]:
        """Of all participants."""
        with self._board.store.reading() as rows:
            return rows.names()

    def listed(self) -> list[tuple[Member, bool]]:
        """All who are invited, and whether each is connected."""
        with self._board.store.reading() as rows:
            present = self._board.present(rows)
            return [(member, member.name in present) for member in rows.members()]

    def participants(self, by: Principal) -> list[ParticipantView]:
        """All; log heads of those alone with which the account's organisation has a session."""
        with self._board.store.reading() as rows:
            partners = None if by.sees is None else rows.partners(by.sees)
            present, published, cosigned = self._board.present(rows), rows.published_by_owner(), rows.cosigned()
            return [
                participant_view(
                    member,
                    published.get(member.name, ()),
                    online=member.name in present,
                    cosigned=merged(cosigned.get(member.name, ())),
                    with_heads=partners is None or member.name in partners,
                )
                for member in rows.members()
            ]

    def connected(self, name: str, line: Line, version: str = "") -> None:
        """An admitted participant's stream is up; it says that it runs this release."""
        self._reception.connected(name, line, version)

    def disconnected(self, name: str, line: Line) -> None:
        """A stream ended."""
        self._reception.disconnected(name, line)

    def received(self, name: str, message: FromDaemon) -> None:
        """One message of a connected participant. Raises: GatewayError if it has no place after the first."""
        self._messages["from", message.type] += 1
        self._reception.received(name, message)

    def sent(self, kind: str, count: int) -> None:
        """A message of this type and so many bytes went to a participant."""
        self._messages["to", kind] += 1
        self.bytes_sent += count

    def figures(self) -> Figures:
        """Counts of all that there is. Raises: StoreAway."""
        with self._board.store.reading() as rows:
            present = self._board.present(rows)
            return Figures(
                sessions=rows.count_by_state(),
                waiting_approvals=rows.count_waiting(),
                joined=sum(member.public_key is not None for member in rows.members()),
                connected=len(present),
                connected_here=len(self._board.lines),
                event_streams=self._board.feed.watchers,
                gateways=len(rows.gateways.beats()) or 1,
                messages=dict(self._messages),
                bytes_sent=self.bytes_sent,
            )

    @property
    def id(self) -> str:
        """Of this gateway's process, among those on one database."""
        return self._board.id

    def enter(self) -> None:
        """Begin to be one of the gateways on the database. Raises: StoreAway."""
        self._board.enter()

    def collect(self) -> None:
        """Do what other gateways left for this one. Raises: StoreAway."""
        with self._board.turn():
            pass

    def tick(self) -> None:
        """What time brings about; call it every half second or so. Raises: StoreAway."""
        self._watchdog.tick()

    def close(self) -> None:
        """End every event stream and every participant's."""
        self._board.close()


def _mark(rows: Rows, digest: str, by: Principal) -> Mark:
    """What the account may not see is to it as if it were not."""
    if mark := rows.mark(digest, by.sees):
        return mark
    raise NotFound("this gateway has no such session", action="see `privity session list`")


def _found(rows: Rows, digest: str, by: Principal) -> SessionRecord:
    if record := rows.session(_mark(rows, digest, by).digest):
        return record
    raise AssertionError("a session vanished within a transaction")
