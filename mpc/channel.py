"""What a transport must offer, and one in memory.

The transport is the engine's only seam: the same code runs on threads in one process and on mutual TLS between
organisations. A channel joins a party to all others and moves whole rounds; a link joins it to the dealer.
"""

from __future__ import annotations

import queue
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mpc.errors import PeerLost
from mpc.frames import (
    HEADER_BYTES,
    Array,
    Header,
    array_from,
    decode_header,
    dtype_of,
    encode_header,
    payload_of,
)

Shape = tuple[int, ...]
Expectation = tuple[str, Shape]  # dtype and shape of a frame to come


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
        header = Header(self._session, self._epoch, self._sent[peer], name, dtype_of(array), array.shape)
        self._sent[peer] += 1
        return encode_header(header) + payload_of(array)

    def expect(self, peer: int, name: str, expectation: Expectation) -> Header:
        """The header that the next frame of a peer must have."""
        header = Header(self._session, self._epoch, self._received[peer], name, *expectation)
        self._received[peer] += 1
        return header


class MemoryChannel:
    """Parties as threads of one process, over queues: for simulation and kernel tests."""

    def __init__(
        self,
        rank: int,
        queues: Mapping[tuple[int, int], queue.SimpleQueue[bytes | None]],
        world: int,
        *,
        session: bytes,
        epoch: int,
    ) -> None:
        self.rank, self.world, self.counters = rank, world, Counters()
        self._queues, self._sequencer = queues, Sequencer(session, epoch)
        self.timeout_s = 60.0

    @classmethod
    def mesh(cls, world: int, *, session: bytes = bytes(32), epoch: int = 1) -> list[MemoryChannel]:
        queues: dict[tuple[int, int], queue.SimpleQueue[bytes | None]] = {
            (i, j): queue.SimpleQueue() for i in range(world) for j in range(world) if i != j
        }
        return [cls(rank, queues, world, session=session, epoch=epoch) for rank in range(world)]

    def exchange(
        self, name: str, outgoing: Mapping[int, Array], expecting: Mapping[int, Expectation]
    ) -> dict[int, Array]:
        self.counters.rounds += 1
        for peer, array in outgoing.items():
            frame = self._sequencer.write(peer, name, array)
            self.counters.bytes_sent += len(frame)
            self.counters.sent_by_name[name] += len(frame)
            self._queues[self.rank, peer].put(frame)
        return {peer: self._receive(peer, name, expectation) for peer, expectation in expecting.items()}

    def _receive(self, peer: int, name: str, expectation: Expectation) -> Array:
        try:
            frame = self._queues[peer, self.rank].get(timeout=self.timeout_s)
        except queue.Empty:
            frame = None
        if frame is None:
            self._queues[peer, self.rank].put(None)
            raise PeerLost(f"party {peer}", "went away")
        self.counters.bytes_received += len(frame)
        header = decode_header(frame[:HEADER_BYTES])
        header.check(self._sequencer.expect(peer, name, expectation))
        return array_from(header, frame[HEADER_BYTES:])

    def close(self) -> None:
        """Whoever waits for this party learns that it is gone."""
        for (source, _), pipe in self._queues.items():
            if source == self.rank:
                pipe.put(None)


class MemoryLink:
    """One end of a bounded pair of queues."""

    def __init__(self, inbox: queue.Queue[bytes | None], outbox: queue.Queue[bytes | None]) -> None:
        self._inbox, self._outbox = inbox, outbox
        self.timeout_s = 60.0

    @classmethod
    def pair(cls, bound: int = 64) -> tuple[MemoryLink, MemoryLink]:
        one: queue.Queue[bytes | None] = queue.Queue(bound)
        other: queue.Queue[bytes | None] = queue.Queue(bound)
        return cls(one, other), cls(other, one)

    def send(self, message: bytes) -> None:
        try:
            self._outbox.put(bytes(message), timeout=self.timeout_s)
        except queue.Full as exc:
            raise PeerLost("the other end of a link", "does not read") from exc

    def receive(self) -> bytes:
        try:
            message = self._inbox.get(timeout=self.timeout_s)
        except queue.Empty:
            message = None
        if message is None:
            raise PeerLost("the other end of a link", "went away")
        return message

    def close(self) -> None:
        try:
            self._outbox.put_nowait(None)
        except queue.Full:
            return
