"""What a transport must offer, and one in memory.

The transport is the engine's only seam: the same code runs on threads in one process and on mutual TLS between
organisations. A channel joins a party to all others and moves whole rounds; a link joins it to the dealer.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mpc.errors import PeerLost
from mpc.frames import HEADER_BYTES, Array, Due, dtype_of, form_of

Shape = tuple[int, ...]
Expectation = tuple[str, Shape]  # dtype and shape of a frame to come
Tap = Callable[[bytes], None]
TIMEOUT_S = 60.0  # of the transport in memory


def unseen(message: bytes) -> None:
    """The tap that looks away."""


@dataclass
class Counters:
    """What went over a channel: rounds, and bytes with their headers, by name of opening."""

    rounds: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    sent_by_name: dict[str, int] = field(default_factory=lambda: defaultdict(int))


class Channel(Protocol):
    """A party's connections to all its peers."""

    rank: int
    world: int
    counters: Counters

    def exchange(
        self, name: str, outgoing: Mapping[int, Array], expecting: Mapping[int, Expectation]
    ) -> dict[int, Array]:
        """One round: send these arrays to these peers and receive exactly what is stated, both ways at once.

        Raises: PeerLost if a peer is gone or silent past the deadline; ProtocolError if it sends anything else.
        """
        ...


class Link(Protocol):
    """A stream of whole messages between a party and the dealer."""

    def send(self, message: bytes) -> None:
        """Raises: PeerLost if the other end is gone."""
        ...

    def receive(self) -> bytes:
        """The next message. Raises: PeerLost if the other end is gone or silent past the deadline."""
        ...

    def close(self) -> None: ...


class Sequencer:
    """Writes and checks headers: a sequence number a peer and direction, each used once."""

    def __init__(self, session: bytes, epoch: int) -> None:
        self._session, self._epoch = session, epoch
        self._sent: dict[int, int] = defaultdict(int)
        self._received: dict[int, int] = defaultdict(int)

    def write(self, peer: int, name: str, array: Array) -> bytes:
        """The next frame to a peer."""
        form, sequence = form_of(self._session, self._epoch, name, dtype_of(array), array.shape), self._sent[peer]
        self._sent[peer] = sequence + 1
        return form.frame(sequence, array)

    def expect(self, peer: int, name: str, expectation: Expectation) -> Due:
        """What the next frame of a peer must be."""
        form, sequence = form_of(self._session, self._epoch, name, *expectation), self._received[peer]
        self._received[peer] = sequence + 1
        return Due(form.header(sequence), form)


class _Pipe:
    """Messages one way between two threads; closing it wakes whoever waits at either end."""

    def __init__(self, bound: int | None, tap: Tap) -> None:
        self._bound, self._tap = bound, tap
        self._messages: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, message: bytes, who: str) -> None:
        self._tap(message)
        with self._changed:
            self._await(lambda: self._closed or self._bound is None or len(self._messages) < self._bound, who)
            if self._closed:
                raise PeerLost(who, "went away")
            self._messages.append(message)
            self._changed.notify_all()

    def get(self, who: str) -> bytes:
        """What was sent before the pipe was closed still arrives."""
        with self._changed:
            self._await(lambda: self._closed or bool(self._messages), who)
            if not self._messages:
                raise PeerLost(who, "went away")
            message = self._messages.popleft()
            self._changed.notify_all()
            return message

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _await(self, ready: Callable[[], bool], who: str) -> None:
        if not self._changed.wait_for(ready, TIMEOUT_S):
            raise PeerLost(who, "kept silent past its deadline")


class Wrapped:
    """What stands around a channel: one that does more with each exchange is made of it. Counters are the channel's."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.rank, self.world = channel.rank, channel.world

    @property
    def counters(self) -> Counters:
        return self._channel.counters

    @counters.setter
    def counters(self, counters: Counters) -> None:
        self._channel.counters = counters


class MemoryChannel:
    """Parties as threads of one process: for simulation and kernel tests."""

    def __init__(
        self, rank: int, pipes: Mapping[tuple[int, int], _Pipe], world: int, *, session: bytes, epoch: int
    ) -> None:
        self.rank, self.world, self.counters = rank, world, Counters()
        self._pipes, self._sequencer = pipes, Sequencer(session, epoch)

    @classmethod
    def mesh(cls, world: int, *, session: bytes = bytes(32), epoch: int = 1, tap: Tap = unseen) -> list[MemoryChannel]:
        """Channels of all parties; `tap` is shown every frame, as a listener on the wire would see it without TLS."""
        pipes = {(i, j): _Pipe(None, tap) for i in range(world) for j in range(world) if i != j}
        return [cls(rank, pipes, world, session=session, epoch=epoch) for rank in range(world)]

    def exchange(
        self, name: str, outgoing: Mapping[int, Array], expecting: Mapping[int, Expectation]
    ) -> dict[int, Array]:
        self.counters.rounds += 1
        for peer, array in outgoing.items():
            frame = self._sequencer.write(peer, name, array)
            self.counters.bytes_sent += len(frame)
            self.counters.sent_by_name[name] += len(frame)
            self._pipes[self.rank, peer].put(frame, f"party {peer}")
        return {peer: self._receive(peer, name, expectation) for peer, expectation in expecting.items()}

    def _receive(self, peer: int, name: str, expectation: Expectation) -> Array:
        frame = self._pipes[peer, self.rank].get(f"party {peer}")
        self.counters.bytes_received += len(frame)
        expected = self._sequencer.expect(peer, name, expectation)
        expected.check(frame[:HEADER_BYTES])
        return expected.array(frame[HEADER_BYTES:])

    def close(self) -> None:
        """Whoever waits for this party learns that it is gone."""
        for (source, target), pipe in self._pipes.items():
            if self.rank in (source, target):
                pipe.close()


class MemoryLink:
    """One end of a bounded pair of pipes."""

    def __init__(self, inbox: _Pipe, outbox: _Pipe, other: str) -> None:
        self._inbox, self._outbox, self._other = inbox, outbox, other

    @classmethod
    def pair(cls, bound: int = 64, *, tap: Tap = unseen, dealer_tap: Tap = unseen) -> tuple[MemoryLink, MemoryLink]:
        """The party's end and the dealer's; `tap` is shown what the party sends, `dealer_tap` what the dealer does."""
        up, down = _Pipe(bound, tap), _Pipe(bound, dealer_tap)
        return cls(down, up, "the dealer"), cls(up, down, "a party")

    def send(self, message: bytes) -> None:
        self._outbox.put(bytes(message), self._other)

    def receive(self) -> bytes:
        return self._inbox.get(self._other)

    def close(self) -> None:
        self._inbox.close()
        self._outbox.close()
