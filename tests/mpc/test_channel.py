"""The transport in memory keeps what every transport promises."""

import threading
from contextlib import contextmanager

import pytest

from mpc.channel import MemoryChannel, MemoryLink
from mpc.errors import PeerLost
from tests.contracts.channel_suite import ChannelSuite


class TestMemoryChannel(ChannelSuite):
    @contextmanager
    def mesh(self, world):
        yield MemoryChannel.mesh(world)


def test_a_link_carries_messages_both_ways():
    """Messages arrive whole and in order."""
    party, dealer = MemoryLink.pair()
    party.send(b"one")
    party.send(b"")
    dealer.send(b"two")
    assert [dealer.receive(), dealer.receive(), party.receive()] == [b"one", b"", b"two"]


def test_a_link_is_bounded():
    """Who is far ahead waits until the other end reads."""
    party, dealer = MemoryLink.pair(bound=1)
    ahead = threading.Event()

    def send():
        party.send(b"1")
        party.send(b"2")
        ahead.set()

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    assert not ahead.wait(0.05)
    assert dealer.receive() == b"1"
    assert ahead.wait(30)
    assert dealer.receive() == b"2"


def test_what_was_sent_before_a_close_still_arrives():
    """A last message is not lost; after it the other end is gone, for sending and receiving."""
    party, dealer = MemoryLink.pair()
    party.send(b"goodbye")
    party.close()
    assert dealer.receive() == b"goodbye"
    with pytest.raises(PeerLost, match="a party"):
        dealer.receive()
    with pytest.raises(PeerLost):
        dealer.send(b"too late")
