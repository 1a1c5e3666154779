"""The dealer's side of a session. It learns kinds, shapes and order of requests, and nothing that they are for."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from mpc.channel import Link
from mpc.correlations import GOODBYE, Request, correction, decode_request, expand
from mpc.errors import MaskReuse, PrivityError, ProtocolError
from mpc.keys import agree_as_dealer
from mpc.program import Program
from mpc.randomness import Streams


class Dealing:
    """One session's dealer: a thread for each party's link, one lock around the numbers already used."""

    def __init__(self, program: Program, links: Sequence[Link], digest: bytes, epoch: int) -> None:
        self._program, self._links = program, links
        self._streams: list[Streams] = agree_as_dealer(links, digest, epoch)
        self._served: set[int] = set()
        self._lock = threading.Lock()
        self._failure: PrivityError | None = None
        self.tuples = 0
        self.bytes_sent = 0

    def run(self) -> None:
        """Answer until every party has said goodbye. Raises: the first party's failure, after all links are closed."""
        threads = [threading.Thread(target=self._attend, args=(rank,), daemon=True) for rank in range(len(self._links))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure

    def _attend(self, rank: int) -> None:
        try:
            while (message := self._links[rank].receive()) != GOODBYE:
                self._answer(rank, decode_request(message, self._max_words))
        except PrivityError as exc:
            self._fail(exc)

    def _fail(self, error: PrivityError) -> None:
        """One broken link ends the epoch for all: the masks of the others are no longer of use."""
        with self._lock:
            if self._failure is not None:
                return
            self._failure = error
        for link in self._links:
            link.close()

    def _answer(self, rank: int, request: Request) -> None:
        if request.corrected(len(self._links)) != rank:
            raise ProtocolError(f"party {rank} asked for tuple {request.number}, which is not its to correct")
        with self._lock:
            if request.number in self._served:
                raise MaskReuse(f"party {rank} asked for tuple {request.number} twice", action="the session must end")
            self._served.add(request.number)
            shares = [expand(request, streams.open(request.number)) for streams in self._streams]
        reply = request.number.to_bytes(8, "little") + correction(request, shares, rank).tobytes()
        self._links[rank].send(reply)
        with self._lock:
            self.tuples += 1
            self.bytes_sent += len(reply)

    @property
    def _max_words(self) -> int:
        """No operation of the program works on more than the table, widened for bitwise stacks."""
        return 64 * self._program.rows * (self._program.columns + 1)


def serve(program: Program, links: Sequence[Link], digest: bytes, epoch: int) -> Dealing:
    """Serve one session to its end; the counts are in what is returned."""
    dealing = Dealing(program, links, digest, epoch)
    dealing.run()
    return dealing
