"""Where a run stands in its program's list of requests: kept by each party for itself, by the dealer for each party.

What moves it is what the dealer is told anyway: that a phase begins and on which rung, that a part of an evaluation
begins. Between two such words exactly the listed requests are made, all of them, in order. Goodbye may come at any
time: who ends early gets nothing more.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import get_args

from mpc.errors import FrameRefused, MaskReuse, ProtocolError
from mpc.fused_program import Fused, Rung
from mpc.layouts import Kind, corrected, items
from mpc.prediction_program import Runnable
from mpc.requests import Kind as AskedKind
from mpc.requests import Listed, Request

MOST_REQUEST_BYTES = 1024  # longer than any that is listed


class Agenda:
    """What comes next; with a rank, of the requests that this party is to make."""

    def __init__(self, program: Runnable, listed: Listed, rank: int | None = None, who: str = "this party") -> None:
        """`who`: what errors call the party."""
        self._listed, self._world, self._rank, self._who = listed, program.world, rank, who
        self._number, self._parts, self._trained = 0, 0, False
        self.phases = Phases(program) if isinstance(program, Fused) else None
        self._due = self._numbered(listed.start)
        self._coming: deque[tuple[int, Request]] = deque()
        self._started = self.phases is None

    @property
    def precedes_phases(self) -> bool:
        """Whether a request is due that is made before the first phase."""
        return not self._started and bool(self.ahead(1))

    def ahead(self, count: int) -> list[tuple[int, Request]]:
        """The next requests of the list that is gone through, so many at most, without taking them.

        They may be sent at once: nothing that others say comes between them.
        """
        self._coming.extend(islice(self._due, max(0, count - len(self._coming))))
        return list(islice(self._coming, count))

    def take(self) -> tuple[int, Request]:
        """The next request and its number. Raises: ProtocolError if the list ends here."""
        if (found := self._pending()) is None:
            raise ProtocolError(f"{self._who} asked for more correlated randomness than the program lists")
        self._coming.popleft()
        return found

    def check(self, message: bytes) -> tuple[int, Request]:
        """The same, if this message asks for it. Raises: MaskReuse if for one before, FrameRefused if for another."""
        number, due = self.take()
        if message == due.encode(number):
            return number, due
        asked = _decoded(message)
        again = asked.get("number")
        if isinstance(again, int) and 0 <= again < number:
            raise MaskReuse(f"{self._who} asked for request {again} twice", action="the session must end")
        raise FrameRefused(
            f"{self._who} asked for {_differing(asked, number, due)} where {due} is request {number}",
            name=next((kind for kind in get_args(AskedKind) if asked.get("kind") == kind), ""),
            shape=(),
            expected=due.kind,
            who=self._who,
        )

    def advance(self, rung: int) -> None:
        """Another phase begins. Raises: ProtocolError if it is none that may follow here."""
        self._require_nothing_due(self._peek())
        if self.phases is None or self._trained:
            raise ProtocolError(f"{self._who} announced a phase that the program does not have")
        self.phases.advance(rung)
        self._load(self._listed.phase)

    def evaluate(self) -> int:
        """The next part of an evaluation, or of a prediction, begins. Returns its number. Raises: ProtocolError."""
        self._require_nothing_due(self._pending())
        part = self._parts
        if part >= len(self._listed.parts) or (self.phases is not None and not self.phases.last):
            raise ProtocolError(f"{self._who} announced an evaluation that the program does not have here")
        self._trained, self._parts = True, part + 1
        self._load(self._listed.parts[part])
        return part

    def _pending(self) -> tuple[int, Request] | None:
        """What is due; after the last phase also what follows training."""
        found = self._peek()
        if found is None and not self._trained and self.phases is not None and self.phases.last:
            self._trained = bool(self._listed.training)
            self._load(self._listed.training)
            found = self._peek()
        return found

    def _peek(self) -> tuple[int, Request] | None:
        """What is due of the list that is gone through, or of the first phase's once what precedes it is over."""
        found = self.ahead(1)
        if not found and not self._started:
            self._started = True
            self._load(self._listed.phase)
            found = self.ahead(1)
        return found[0] if found else None

    def _load(self, requests: Iterable[Request]) -> None:
        self._due = self._numbered(requests)

    def _numbered(self, requests: Iterable[Request]) -> Iterator[tuple[int, Request]]:
        for request in requests:
            number, self._number = self._number, self._number + 1
            if self._rank is None or corrected(number, self._world) == self._rank:
                yield number, request

    def _require_nothing_due(self, pending: tuple[int, Request] | None) -> None:
        if pending is not None:
            number, due = pending
            raise ProtocolError(f"{self._who} went on where {due} is request {number}")


class Phases:
    """Where a program stands between its phases, as one party tells it."""

    def __init__(self, program: Fused) -> None:
        self.program, self.number = program, 1
        self._segment, self._rung = 0, 0

    @property
    def items(self) -> tuple[Kind, ...]:
        return items(self.program, self.program.segments[self._segment])

    @property
    def rung(self) -> Rung:
        return self.program.ladder[self._rung]

    @property
    def last(self) -> bool:
        """Whether no further segment follows; this one may still be repeated on the next rung."""
        return self._segment == len(self.program.segments) - 1

    def advance(self, rung: int) -> None:
        """The same rung goes on to the next segment, the next rung repeats this one. Raises: ProtocolError."""
        if rung == self._rung:
            self._segment += 1
        elif rung == self._rung + 1:
            self._rung = rung
        else:
            raise ProtocolError("a party announced a rung of the range ladder out of order")
        if self._segment >= len(self.program.segments) or rung >= len(self.program.ladder):
            raise ProtocolError("a party announced a phase that the program does not have")
        self.number += 1


def _decoded(message: bytes) -> dict[str, object]:
    """What a request says, or nothing if it is none."""
    try:
        found = json.loads(message) if len(message) <= MOST_REQUEST_BYTES else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _differing(asked: dict[str, object], number: int, due: Request) -> str:
    """In what a request is another than the one that is due; nothing of what it says."""
    expected = json.loads(due.encode(number))
    if asked.keys() != expected.keys():
        return "something that is no request"
    names = {"number": "another number", "kind": "another kind", "sizes": "other shapes", "op": "another operation"}
    names |= {"owners": "other owners"}
    return ", ".join(said for key, said in names.items() if asked[key] != expected[key]) or "other words"
