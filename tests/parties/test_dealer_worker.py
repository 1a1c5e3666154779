"""The dealer's session process and its daemon: whole messages over a Unix stream, with limits and an end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from mpc.errors import PeerLost, ProtocolError
from parties.dealer_link import MAX_REQUEST_BYTES
from parties.dealer_worker import LENGTH, RelayLink

DEADLINE_S = 30


@pytest.fixture
def ends() -> Iterator[tuple[RelayLink, socket.socket]]:
    """The process's link, and the daemon's end of the stream."""
    theirs, ours = socket.socketpair()
    link = RelayLink(theirs, "clinic-a")
    with ours:
        yield link, ours
        link.close()


def frame(message: bytes) -> bytes:
    return LENGTH.pack(len(message)) + message


def test_messages_are_whole_however_they_are_cut(ends):
    """Bytes that arrive one by one make the messages that were sent."""
    link, ours = ends
    sent = [b"", b"x", bytes(range(256))]

    def drip() -> None:
        for byte in b"".join(map(frame, sent)):
            ours.sendall(bytes([byte]))

    thread = threading.Thread(target=drip)
    thread.start()
    assert [link.receive() for _ in sent] == sent
    thread.join(DEADLINE_S)


def test_what_is_sent_has_its_length(ends):
    """The daemon finds the end of each message by the four bytes before it."""
    link, ours = ends
    link.send(b"hello")
    link.send(b"")
    assert ours.recv(13, socket.MSG_WAITALL) == frame(b"hello") + frame(b"")


@pytest.mark.parametrize("cut", [b"", frame(b"hello")[:2], frame(b"hello")[:7]])
def test_a_party_that_is_gone_is_named(ends, cut):
    """The end of the stream, between messages or within one, is a lost party and not half a message."""
    link, ours = ends
    ours.sendall(cut)
    ours.close()
    with pytest.raises(PeerLost, match="clinic-a closed its stream"):
        link.receive()
    with pytest.raises(PeerLost, match="clinic-a closed its stream"):
        link.send(b"x" * (1 << 20))


def test_a_message_has_a_limit(ends):
    """A party can't make the process allocate what it never sends."""
    link, ours = ends
    ours.sendall(LENGTH.pack(MAX_REQUEST_BYTES + 1))
    with pytest.raises(ProtocolError, match=f"clinic-a sent {MAX_REQUEST_BYTES + 1} bytes where {MAX_REQUEST_BYTES}"):
        link.receive()


def test_closing_wakes_whoever_waits(ends):
    """A thread that waits for a party learns at once that the session is over."""
    link, _ = ends
    found: list[Exception] = []
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        try:
            link.receive()
        except PeerLost as exc:
            found.append(exc)

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(DEADLINE_S)
    link.close()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert found
