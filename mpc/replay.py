"""A party's part of a run, made again from its seed and from what came in: the same code, no peers, no dealer.

While a run is recorded its tape takes what came, whole, and of what was sent a digest. A replay is fed the one and held
to the other: the first frame that is another than the one that was sent ends it, by round and name. A tape holds the
peers' masked rows: whoever keeps it keeps it sealed.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from math import prod
from typing import Final, Protocol

import numpy as np

from mpc.channel import Channel, Counters, Expectation, Link, Wrapped
from mpc.errors import ReplayDiffers, ReplayEnded
from mpc.frames import HEADER_BYTES, NAME_BYTES, Array, payload_of

SENT, CAME = b"s", b"c"  # a frame to a peer, one from it
ASKED, DEALT = b"a", b"d"  # a message to the dealer, one from it
DIGEST_BYTES: Final = 32
_FRAME: Final = struct.Struct(f"<cB{NAME_BYTES}sQ")  # kind, peer's rank, round's name, bytes that follow
DEALER: Final = 255  # in place of a peer's rank
DEALER_NAME: Final = "to the dealer"


class Tape(Protocol):
    """Where a recording goes; called by one thread, in order."""

    def write(self, content: bytes | memoryview) -> None: ...


class Reel(Protocol):
    """Where it comes from."""

    def read(self, count: int) -> bytes:
        """So many bytes, fewer at the end."""
        ...


def _digest(form: str, content: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(form.encode() + b"\n", digest_size=DIGEST_BYTES)
    digest.update(content)
    return digest.digest()


def _digest_of(array: Array) -> bytes:
    return _digest(f"{array.dtype.str} {array.shape!r}", payload_of(array))


def _put(tape: Tape, kind: bytes, peer: int, name: str, content: bytes | memoryview) -> None:
    tape.write(_FRAME.pack(kind, peer, name.encode(), memoryview(content).nbytes))
    tape.write(content)


class Recording(Wrapped):
    """A channel whose every frame goes on a tape."""

    def __init__(self, channel: Channel, tape: Tape) -> None:
        super().__init__(channel)
        self._tape = tape

    def exchange(
        self, name: str, outgoing: Mapping[int, Array], expecting: Mapping[int, Expectation]
    ) -> dict[int, Array]:
        """One round; see mpc.channel.Channel. What is sent is on the tape before it leaves."""
        for peer in sorted(outgoing):
            _put(self._tape, SENT, peer, name, _digest_of(outgoing[peer]))
        received = self._channel.exchange(name, outgoing, expecting)
        for peer in sorted(expecting):
            _put(self._tape, CAME, peer, name, payload_of(received[peer]))
        return received


class RecordingLink:
    """A link to the dealer whose every message goes on a tape."""

    def __init__(self, link: Link, tape: Tape) -> None:
        self._link, self._tape = link, tape

    def send(self, message: bytes) -> None:
        _put(self._tape, ASKED, DEALER, DEALER_NAME, _digest("", message))
        self._link.send(message)

    def receive(self) -> bytes:
        message = self._link.receive()
        _put(self._tape, DEALT, DEALER, DEALER_NAME, message)
        return message

    def close(self) -> None:
        self._link.close()


class _Player:
    """The records of a reel, in order, and in which round it is."""

    def __init__(self, reel: Reel) -> None:
        self._reel = reel
        self.rounds = 0

    def take(self, kind: bytes, peer: int, name: str) -> bytes:
        """The next record, which must be of this. Raises: ReplayDiffers; ReplayEnded where the reel ends."""
        found_kind, found_peer, found_name, length = _FRAME.unpack(self._exactly(_FRAME.size))
        content = self._exactly(length)
        if (found_kind, found_peer, found_name.rstrip(b"\0")) != (kind, peer, name.encode()):
            raise ReplayDiffers(self.rounds, name, peer)
        return content

    def compare(self, kind: bytes, peer: int, name: str, digest: bytes) -> None:
        """Raises: ReplayDiffers unless what would be sent is what was."""
        if self.take(kind, peer, name) != digest:
            raise ReplayDiffers(self.rounds, name, peer)

    def _exactly(self, count: int) -> bytes:
        content = self._reel.read(count)
        if len(content) != count:
            raise ReplayEnded(self.rounds)
        return content


class Replayed:
    """A party's channel without peers."""

    def __init__(self, rank: int, world: int, reel: Reel) -> None:
        self.rank, self.world, self.counters = rank, world, Counters()
        self._player = _Player(reel)

    def exchange(
        self, name: str, outgoing: Mapping[int, Array], expecting: Mapping[int, Expectation]
    ) -> dict[int, Array]:
        """One round, in which what came then comes again.

        Raises: ReplayDiffers for the first frame that is not the one sent then; ReplayEnded where the reel ends.
        """
        self.counters.rounds += 1
        self._player.rounds += 1
        for peer in sorted(outgoing):
            sent = HEADER_BYTES + outgoing[peer].nbytes
            self.counters.bytes_sent += sent
            self.counters.sent_by_name[name] += sent
            self._player.compare(SENT, peer, name, _digest_of(outgoing[peer]))
        return {peer: self._came(name, peer, expecting[peer]) for peer in sorted(expecting)}

    def _came(self, name: str, peer: int, expectation: Expectation) -> Array:
        dtype, shape = expectation
        kind = np.dtype(f"<{dtype}")
        content = self._player.take(CAME, peer, name)
        if len(content) != kind.itemsize * prod(shape):
            raise ReplayDiffers(self._player.rounds, name, peer)
        self.counters.bytes_received += HEADER_BYTES + len(content)
        return np.frombuffer(bytearray(content), dtype=kind).reshape(shape)

    def link(self) -> ReplayedLink:
        """The link to the dealer, of the same reel."""
        return ReplayedLink(self._player)


class ReplayedLink:
    """A party's link without a dealer."""

    def __init__(self, player: _Player) -> None:
        self._player = player

    def send(self, message: bytes) -> None:
        """Raises: ReplayDiffers unless it is the message sent then."""
        self._player.compare(ASKED, DEALER, DEALER_NAME, _digest("", message))

    def receive(self) -> bytes:
        return self._player.take(DEALT, DEALER, DEALER_NAME)

    def close(self) -> None:
        """Nobody is at the other end."""
