"""One step at a time: its rows in one transaction, then the messages and events that follow from them.

Here is what one gateway's process has beside its rows: the streams of participants that are connected to it, the
watchers, and what is known of open sessions. It lives in one event loop, and nothing waits inside a step. Where several
gateways share the database, what concerns participants and watchers of another is posted to it in the same transaction,
and what others posted is done before the step: nobody sees a step before the one that it follows from.
"""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import structlog

from gateway.coordination.cosigning import Cosigning
from gateway.coordination.course import Course
from gateway.coordination.feed import Feed, Update
from gateway.coordination.journal import Journal
from gateway.coordination.relay import Line
from gateway.coordination.snapshots import Snapshot, Snapshots
from gateway.errors import StoreAway
from gateway.settings import GatewaySettings
from gateway.storage.neighbours import Missed, Moved, Passed, Post, Progressed, Stands
from gateway.storage.store import Mark, Rows, SessionRecord, Store
from gateway.views import Live, Loss, SessionView, session_view
from parties.keys.tls import utc_now
from parties.service.lifecycle import FINAL
from parties.service.messages import FromGateway

log = structlog.get_logger()


class Turn:
    """One step under way: its rows, who is connected, and what is said once the rows are committed."""

    def __init__(self, rows: Rows, present: dict[str, str]) -> None:
        self.rows, self.present = rows, present
        self.messages: list[tuple[str, FromGateway]] = []
        self.changed: dict[str, SessionRecord] = {}
        self.news: list[Post] = []  # for every gateway

    def send(self, names: Iterable[str], message: FromGateway) -> None:
        self.messages += [(name, message) for name in names]


class Switchboard:
    """Streams, watchers, and the turns that reach them."""

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
        self.cosigning = cosigning
        self.store, self.journal, self.settings = store, journal, settings
        self.clock, self.monotonic = clock, monotonic
        self.id = secrets.token_hex(8)  # of this process, among the gateways on one database
        self.feed = Feed()
        self.lines: dict[str, Line] = {}
        self.live: dict[str, Live] = defaultdict(Live)
        self._snapshots = Snapshots()
        self.left: dict[str, float] = {}  # when a participant's last stream to this gateway ended
        self._has_left = False
        self._taken = 0  # number of the last post that was done

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """A step; if it raises, nothing is written or said."""
        with self.store.transaction() as rows:
            self._collect(rows)
            turn = Turn(rows, dict(self.present(rows)))
            yield turn
            turn.news += [_stands(view) for view in self.views(list(turn.changed.values()), rows, turn.present)]
            own = self._post(turn)
        for post in [*own, *turn.news]:
            self._do(post)
        self.offer_head({name for record in turn.changed.values() if record.state in FINAL for name in record.roles})

    @contextmanager
    def abreast(self) -> Iterator[Rows]:
        """Rows to read of a moment of which watchers here have been told everything."""
        with self.store.reading() as rows:
            if not self.store.is_shared or not rows.gateways.has_posts(self.id):
                yield rows
                return
        with self.turn() as turn:
            yield turn.rows

    def offer_head(self, names: Iterable[str]) -> None:
        """Have the gateway's own log cosigned by those of these who are connected here."""
        if self.cosigning is not None:
            for name, offer in self.cosigning.offers([name for name in names if name in self.lines]):
                self.lines[name].send(offer)

    def present(self, rows: Rows) -> Mapping[str, str]:
        """Who is connected, and to which gateway."""
        return rows.gateways.present() if self.store.is_shared else dict.fromkeys(self.lines, self.id)

    def view(self, record: SessionRecord, rows: Rows) -> SessionView:
        return self.views([record], rows)[0]

    def views(
        self, records: Sequence[SessionRecord], rows: Rows, present: Mapping[str, str] | None = None
    ) -> list[SessionView]:
        """In the same order."""
        if not records:
            return []
        present = self.present(rows) if present is None else present
        said = rows.said([record.digest for record in records])
        return [
            session_view(record, said[record.digest], self.live.get(record.digest, Live()), present)
            for record in records
        ]

    def snapshots(self, marks: Sequence[Mark], rows: Rows) -> list[Snapshot]:
        """In the same order; what has not changed since it was shown last is not looked at again."""
        present = self.present(rows)
        here = frozenset(present)
        found: dict[str, Snapshot] = {}
        for mark in marks:
            if mark.digest not in self.live and (kept := self._snapshots.find(mark, here)):
                found[mark.digest] = kept
        unknown = {mark.digest: mark for mark in marks if mark.digest not in found}
        for view in self.views(rows.records(list(unknown)), rows, present) if unknown else ():
            snapshot = found[view.id] = Snapshot(view)
            if view.id not in self.live:
                self._snapshots.keep(unknown[view.id], here, snapshot)
        return [found[mark.digest] for mark in marks]

    def enter(self) -> None:
        """Be one of the gateways on the database."""
        if self.store.is_shared:
            with self.store.transaction() as rows:
                rows.gateways.enter(self.id, self.settings.name)

    def connect(self, turn: Turn, name: str, line: Line) -> None:
        """A participant's newest stream is this one."""
        if older := self.lines.get(name):
            older.close()
        self.lines[name] = line
        self.left.pop(name, None)
        before = turn.present.get(name)
        turn.present[name] = self.id
        if not self.store.is_shared:
            return
        turn.rows.gateways.connect(name, self.id)
        if before not in {None, self.id}:
            turn.rows.gateways.post(str(before), Moved(name=name))

    def disconnect(self, turn: Turn, name: str) -> bool:
        """Its stream to this gateway ended; whether it has no other by now."""
        self.left[name] = self.monotonic()
        if turn.present.get(name) == self.id:
            del turn.present[name]
        if self.store.is_shared:
            turn.rows.gateways.disconnect(name, self.id)
        return name not in turn.present

    def drop_lines(self) -> None:
        """End every participant's stream: each comes back, and is told everything."""
        for line in self.lines.values():
            line.close()

    def close(self) -> None:
        """End every event stream and every participant's."""
        self.feed.close()
        self.drop_lines()
        self._has_left = True
        if self.store.is_shared:
            try:
                with self.store.transaction() as rows:
                    rows.gateways.bury(self.id)
            except StoreAway as exc:
                log.warning("the other gateways will miss this one", error=exc.what)

    def _collect(self, rows: Rows) -> None:
        """Do what other gateways posted; a step that is undone leaves it there, and it is not done again."""
        if not self.store.is_shared or self._has_left:
            return
        if not rows.gateways.counts(self.id):
            log.warning("the other gateways had given this one up; its streams begin anew")
            rows.gateways.enter(self.id, self.settings.name)
            self.drop_lines()
        for number, post in rows.gateways.take(self.id):
            if number > self._taken:
                self._taken = number
                self._do(post)

    def _post(self, turn: Turn) -> list[Passed]:
        """Leave for other gateways what is theirs to say; tells what is this one's."""
        passed = [(turn.present.get(name), Passed(name=name, message=message)) for name, message in turn.messages]
        if self.store.is_shared:
            theirs: dict[str, list[Post]] = defaultdict(list)
            for gateway, post in passed:
                if gateway not in {None, self.id}:
                    theirs[str(gateway)].append(post)
            for gateway in turn.rows.gateways.beats() if turn.news or theirs else ():
                if gateway != self.id:
                    turn.rows.gateways.post(gateway, *theirs[gateway], *turn.news)
        return [post for gateway, post in passed if gateway == self.id]

    def _do(self, post: Post) -> None:
        match post:
            case Passed():
                if line := self.lines.get(post.name):
                    line.send(post.message)
            case Moved():
                if line := self.lines.pop(post.name, None):
                    line.close()
            case Progressed():
                progress = post.progress
                known = self.live[progress.session].progress
                known[post.who] = Course.after(progress, known.get(post.who))
                shown = progress.model_dump(mode="json", exclude={"type", "session"})
                self.feed.tell(progress.session, Update("progress", {"who": post.who, **shown}))
            case Missed():
                self.live[post.session].losses.setdefault(post.who, Loss(self.monotonic(), post.fault))
            case Stands():
                self.feed.tell(post.session, Update("state", post.view, final=post.final))
                if post.final:
                    self.live.pop(post.session, None)


def state_update(view: SessionView) -> Update:
    """What watchers are told of where a session stands."""
    return Update("state", view.model_dump(mode="json"), final=view.state in FINAL)


def _stands(view: SessionView) -> Stands:
    return Stands(session=view.id, view=view.model_dump(mode="json"), final=view.state in FINAL)
