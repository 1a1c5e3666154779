"""A worker that somebody modified, to get more than the contract says; DIR/deed says what.

Run as `python modified_worker.py DIR`; DIR/got takes the names of the frames that came after it had asked.
"""

from __future__ import annotations

import json
import select
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np

from mpc.commitment import Chained
from mpc.errors import DisclosureRefused
from mpc.frames import HEADER_BYTES, decode_header
from parties.process import meeting, running, worker
from parties.process.job import Intent
from parties.process.links import TlsChannel
from parties.process.voice import live

DEED, GOT = "deed", "got"
LISTENS_S = 30.0

# The round in which it asks, and then what for: a name of its own, and how many words.
ASKED = {
    "gradient": ("gradient", "open gradient", 11),
    "another shape": ("gradient", "gradient", 12),
    "an iteration more": ("held-out weights", "gradient", 11),
    "labels": ("labels", "labels of org-2", 442),
    "second copy": ("goodbye", "disclosure", 3),
    "somebody else": ("disclosure", "disclosure", 4),
}
TWO_FACED = "two-faced"
OTHER_WORDS = "binds other words"
ANOTHER_WORD = "sends another word"  # and signs that it did
OF_ITS_NODE = "of its own node"
INTENTS = (
    Intent(name="gradient", recipient="party:org-1", values=11),
    Intent(name="labels", recipient="party:org-1", values=442),
    Intent(name="coefficients", recipient="party:org-1", values=3),  # once more
    Intent(name="coefficients", recipient="session", values=3),
)


def home() -> Path:
    return Path(sys.argv[1])


class Greedy(TlsChannel):
    """Sends what it likes, and writes down what comes."""

    def exchange(self, name, outgoing, expecting):
        """As the original, until the moment of the deed; after it nothing goes on."""
        deed = (home() / DEED).read_text()
        if deed in ASKED and name == ASKED[deed][0] and (name != "disclosure" or set(outgoing) == {0}):
            _, asked, words = ASKED[deed]
            self._listen(asked, np.zeros(words, dtype="<i8"))
        if deed == TWO_FACED and name == "transcript" and self._lied:
            self._listen(name, outgoing[0])
        if deed == TWO_FACED and name == "gradient" and not self._lied:
            self._lied = True
            outgoing = {peer: words + peer for peer, words in outgoing.items()}
        return super().exchange(name, outgoing, expecting)

    _lied = False

    def _listen(self, name, words):
        """Send this to everybody, take whatever comes, and be silent about it."""
        for rank, peer in self._peers.items():
            peer.tls.setblocking(True)
            peer.tls.sendall(self._sequencer.write(rank, name, words))
        frames = [heard for peer in self._peers.values() for heard in self._frames(peer)]
        (home() / GOT).write_text(json.dumps(frames))
        time.sleep(LISTENS_S)

    @staticmethod
    def _frames(peer):
        content, deadline = bytearray(), time.monotonic() + LISTENS_S
        while time.monotonic() < deadline:
            if not peer.tls.pending() and not select.select([peer.tls], [], [], deadline - time.monotonic())[0]:
                break
            try:
                if not (more := peer.tls.recv(1 << 16)):
                    break
            except OSError:
                break
            content += more
        while len(content) >= HEADER_BYTES:
            header = decode_header(content[:HEADER_BYTES])
            yield peer.name, header.name
            del content[: HEADER_BYTES + header.length]


class Lying(Chained):
    """Signs that it sent something else than it did."""

    _lied = False

    def exchange(self, name, outgoing, expecting):
        """As the original, but for what it binds itself to of one frame to its first peer."""
        if (home() / DEED).read_text() == OTHER_WORDS and name == "gradient" and not self._lied:
            self._lied = True
            self.sent.frames(name, {0: outgoing[0]})
            (home() / GOT).write_text("[]")
        if (home() / DEED).read_text() == ANOTHER_WORD and name == "residuals" and not self._lied:
            self._lied = True
            next(iter(outgoing.values())).reshape(-1)[0] += 1  # its own sum has it too: no transcript shows it
        return super().exchange(name, outgoing, expecting)


def asking(job, voice):
    """An honest run, at the end of which it asks its own node for more."""
    if (home() / DEED).read_text() != OF_ITS_NODE:
        return worker.run(job, voice)
    say, refused = voice.say, []

    def after(report):
        if report.type == "done":
            for intent in INTENTS:
                try:
                    voice.ask(intent)
                except DisclosureRefused as exc:
                    refused.append(exc.what)
            (home() / GOT).write_text(json.dumps(refused))
        say(report)

    voice.say = after
    return worker.run(job, voice)


if __name__ == "__main__":
    mock.patch.object(meeting, "TlsChannel", Greedy).start()
    mock.patch.object(running, "Chained", Lying).start()
    live(asking)
