"""A listener on every wire of a simulation: what it would see without TLS, in order for each sender."""

import threading
from collections import defaultdict

import numpy as np

from mpc.frames import HEADER_BYTES, decode_header
from mpc.simulation import Wire
from tests.mpc.engine import RING, unsigned


class Listener:
    """Keeps each message under the thread that sent it; a party has one thread, the dealer one a link."""

    def __init__(self):
        self._lock = threading.Lock()
        self._ranks = {}
        self._between, self._up, self._down = (defaultdict(list) for _ in range(3))

    def _tap(self, kept):
        def tap(message):
            with self._lock:
                kept[threading.get_ident()].append(bytes(message))

        return tap

    @property
    def wire(self):
        return Wire(self._tap(self._between), self._tap(self._up), self._tap(self._down))

    def introduce(self, runtime):
        """A party says which thread is its own."""
        with self._lock:
            self._ranks[runtime.rank] = threading.get_ident()

    def _by_rank(self, kept):
        return [kept[self._ranks[rank]] for rank in sorted(self._ranks)]

    def frames(self, rank):
        """Name and payload of each frame that a party sent, one for each recipient."""
        found = [
            (decode_header(frame[:HEADER_BYTES]), frame[HEADER_BYTES:]) for frame in self._by_rank(self._between)[rank]
        ]
        return [
            (header.name, np.frombuffer(payload, f"<{header.dtype}").reshape(header.shape)) for header, payload in found
        ]

    def trace(self):
        """Order, names and sizes of what each party sent to the others."""
        return [
            [(name, array.dtype.str, array.shape) for name, array in self.frames(rank)] for rank in sorted(self._ranks)
        ]

    @property
    def _ranks_sorted(self):
        return sorted(self._ranks)

    def to_dealer(self):
        """What each party sent to the dealer, without its key, which is random."""
        return [messages[1:] for messages in self._by_rank(self._up)]

    def from_dealer(self):
        """Order and sizes of what the dealer sent, for each link."""
        return sorted([len(message) for message in messages] for messages in self._down.values())

    def opened(self, name):
        """The words that parties opened under a name, time after time, as any of them computes them."""
        peers = len(self._ranks) - 1
        by_rank = [
            [array for found, array in self.frames(rank) if found == name][::peers] for rank in sorted(self._ranks)
        ]
        return [np.add.reduce(arrays, dtype=arrays[0].dtype) for arrays in zip(*by_rank, strict=True)]

    def rejected(self, name, window):
        """Which of a name's openings had a word that wraps into the rejected range."""
        half = 1 << (window - 1)
        return [any((word + half) % RING < 1 << window for word in unsigned(words)) for words in self.opened(name)]

    def payloads(self):
        """All that parties sent to each other and to the dealer, without frames' headers."""
        between = [frame[HEADER_BYTES:] for frames in self._between.values() for frame in frames]
        return between + [message for messages in self._up.values() for message in messages]
