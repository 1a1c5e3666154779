"""All parties and the dealer as threads of one process, over memory: for tests, never on the main path."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mpc.channel import MemoryChannel, MemoryLink, Tap, unseen
from mpc.commitment import Chained, ChainedLink
from mpc.dealing import Dealing, Epoch, serve
from mpc.disclosure import Ledger, ProgramLedger
from mpc.errors import PeerLost, PrivityError
from mpc.keys import agree
from mpc.prediction_program import Runnable
from mpc.randomness import Entropy, Secret
from mpc.replay import Recording, RecordingLink, Tape
from mpc.requests import Listed
from mpc.runtime import Progress, Runtime
from mpc.stages import Stage

Result = TypeVar("Result")

DIGEST = bytes(range(32))


@dataclass(frozen=True)
class Wire:
    """Who looks at what goes over the wire: functions that are shown each message."""

    between_parties: Tap = unseen
    to_dealer: Tap = unseen
    from_dealer: Tap = unseen


class Simulation:
    """One run of a program by its parties; the channels' counters remain for inspection.

    `requests` are of parties that run a part of a program, or none: a kernel by itself.
    """

    def __init__(
        self,
        program: Runnable,
        ledgers: list[Ledger] | None = None,
        wire: Wire | None = None,
        requests: Listed | None = None,
        seeds: Sequence[Secret] | None = None,
        tapes: Sequence[Tape] | None = None,
    ) -> None:
        """`seeds`: of each party's fresh secrets, if not the system; `tapes`: that take each party's part."""
        self.seeds, self.tapes = seeds, tapes
        self.program, self.wire, self.requests = program, wire or Wire(), requests
        self.world = program.world
        self.channels = MemoryChannel.mesh(self.world, session=DIGEST, tap=self.wire.between_parties)
        self.ledgers = ledgers or [ProgramLedger(program) for _ in range(self.world)]
        self.progress: list[Progress] = []
        self.stages: list[Stage] = []
        self.dealing: Dealing | None = None
        self._pairs = [
            MemoryLink.pair(tap=self.wire.to_dealer, dealer_tap=self.wire.from_dealer) for _ in range(self.world)
        ]
        self._errors: list[BaseException] = []

    def run(self, party: Callable[[Runtime], Result]) -> list[Result]:
        """Run one function as every party. Raises: the first error of a party or of the dealer."""
        results: dict[int, Result] = {}
        threads = [
            threading.Thread(target=self._deal, daemon=True),
            *(
                threading.Thread(target=self._party, args=(rank, party, results), daemon=True)
                for rank in range(self.world)
            ),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._errors:
            raise next((error for error in self._errors if not isinstance(error, PeerLost)), self._errors[0])
        return [results[rank] for rank in range(self.world)]

    def _deal(self) -> None:
        try:
            self.dealing = serve(
                self.program, Epoch([dealer for _, dealer in self._pairs], DIGEST, 1, requests=self.requests)
            )
        except PrivityError as exc:
            self._errors.append(exc)
            for channel in self.channels:  # parties may wait for one another alone
                channel.close()

    def _party(self, rank: int, party: Callable[[Runtime], Result], results: dict[int, Result]) -> None:
        plain, (end, _) = self.channels[rank], self._pairs[rank]
        tape = self.tapes[rank] if self.tapes else None
        channel = Chained(Recording(plain, tape) if tape else plain)
        link = ChainedLink(RecordingLink(end, tape) if tape else end, channel.sent)
        entropy = Entropy(self.seeds[rank] if self.seeds else None)
        try:
            keys = agree(channel, link, DIGEST, 1, entropy)
            report = (self.progress.append, self.stages.append) if rank == 0 else (lambda _: None, lambda _: None)
            facts = self.ledgers[rank], self.program, DIGEST, *report
            with Runtime(channel, link, keys, *facts, requests=self.requests, entropy=entropy) as runtime:
                results[rank] = party(runtime)
        except BaseException as exc:  # noqa: BLE001 - a thread's end: reported by run()
            self._errors.append(exc)
            plain.close()
            link.close()
