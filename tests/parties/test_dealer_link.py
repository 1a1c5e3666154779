"""The link to the dealer: whole messages both ways over TLS, a heartbeat, and its end is noticed."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from mpc.errors import PeerLost, ProtocolError
from parties.keys.tls import TlsKey, utc_now
from parties.process.dealer_link import MAX_REQUEST_BYTES, beating
from parties.process.links import SILENCE_S
from tests.contracts.link_suite import LinkSuite
from tests.parties.dealing import joined, other_process
from tests.parties.wires import at_once, wire


@pytest.fixture(scope="module")
def keys() -> dict[str, TlsKey]:
    return {name: TlsKey.generate(name, now=utc_now()) for name in ("dealer", "clinic-a")}


class TestDealerLink(LinkSuite):
    """All that a link in memory promises, over a real TLS connection."""

    @pytest.fixture(autouse=True)
    def _keys(self, keys):
        self.keys = keys

    def pair(self):
        return joined(self.keys)


@pytest.fixture
def ends(keys):
    with joined(keys) as made:
        yield made


# what goes over it


def test_messages_may_be_as_large_as_the_limit(ends):
    """The longest request that a party may send arrives."""
    party, dealer = ends
    sent = b"y" * MAX_REQUEST_BYTES
    assert at_once(lambda: party.send(sent), dealer.receive) == [None, sent]


def test_a_large_correction_comes_through(ends):
    """The dealer's messages are as large as what they correct."""
    party, dealer = ends
    sent = os.urandom(20 << 20)
    assert at_once(party.receive, lambda: dealer.send(sent)) == [sent, None]


def test_messages_are_whole_however_they_are_cut(ends):
    """Bytes that arrive one by one make the messages that were sent."""
    party, dealer = ends
    sent = [b"", b"x", bytes(range(256))]
    framed = b"".join(len(message).to_bytes(4, "little") + message for message in sent)
    received, _ = at_once(
        lambda: [party.receive() for _ in sent],
        lambda: [dealer._tls.send(framed[place : place + 1]) for place in range(len(framed))],
    )
    assert received == sent


def test_a_party_can_not_fill_the_dealer_s_memory(ends):
    """A message beyond what parties have to say is refused by its length, before it is waited for."""
    party, dealer = ends
    refused, _ = at_once(dealer.receive, lambda: party.send(b"x" * (MAX_REQUEST_BYTES + 1)))
    assert isinstance(refused, ProtocolError)
    assert f"clinic-a sent {MAX_REQUEST_BYTES + 1} bytes where {MAX_REQUEST_BYTES} are the limit" in str(refused)


def test_nothing_goes_in_clear(keys):
    """A listener between party and dealer sees no message, however the link ends."""
    secret = os.urandom(32)
    with wire() as tapped:
        with joined(keys, ends=lambda: (tapped.client, tapped.server)) as (party, dealer):
            for near, far in ((party, dealer), (dealer, party)):
                near.send(secret * 1000)
                assert far.receive() == secret * 1000
            for link in (party, dealer):
                link.close()
                with pytest.raises(PeerLost):
                    link.send(secret)
        seen = bytes(tapped.to_server), bytes(tapped.to_client)
    for content in seen:
        assert len(content) > 32_000
        assert secret not in content


def test_closing_leaves_the_other_threads_their_tls(ends):
    """One thread closes while another still sends: nothing turns the connection into one without TLS under it."""
    _, dealer = ends
    dealer.close()
    assert dealer._tls.version() == "TLSv1.3"


# the heartbeat


def test_heartbeats_are_no_messages(ends):
    """Whoever receives hears what was sent and nothing else."""
    party, dealer = ends
    for message in (b"one", b"", b"three"):
        dealer.beat()
        dealer.send(message)
        dealer.beat()
    assert [party.receive() for _ in range(3)] == [b"one", b"", b"three"]


def test_heartbeats_cut_no_message(ends):
    """Heartbeats of another thread go between messages and never into one, while messages go both ways."""
    party, dealer = ends
    down, up = [os.urandom(1 << 20) for _ in range(8)], [b"credit"] * 200
    with beating([dealer], every_s=0.0005):
        heard_by_dealer, heard_by_party = at_once(
            lambda: [dealer.send(message) for message in down] and [dealer.receive() for _ in up],
            lambda: [party.send(message) for message in up] and [party.receive() for _ in down],
        )
    assert heard_by_dealer == up
    assert heard_by_party == down


def test_heartbeats_that_nobody_reads_hold_nothing_up(ends):
    """A party that is busy elsewhere lets them pile up; the dealer goes on, and the next message arrives."""
    party, dealer = ends
    for _ in range(200_000):
        dealer.beat()
    assert at_once(lambda: dealer.send(b"a tuple"), party.receive) == [None, b"a tuple"]


def test_a_slow_dealer_is_waited_for(keys):
    """An answer that takes longer than a silence may last is no silence while heartbeats come."""
    computing = threading.Event()

    def answer() -> None:
        computing.wait(4.5)
        dealer.send(b"at last")

    with joined(keys, silence_s=3) as (party, dealer), beating([dealer], every_s=0.1):
        assert at_once(party.receive, answer) == [b"at last", None]


# its end


def test_a_silent_dealer_is_given_up(keys):
    """Without a heartbeat the wait is short, and the line says how long it was."""
    with (
        joined(keys, silence_s=0.2) as (party, _),
        pytest.raises(PeerLost, match="dealer kept silent for 0 s") as caught,
    ):
        party.receive()
    assert caught.value.who == "dealer"


def test_an_answer_has_a_deadline(keys):
    """Heartbeats alone do not keep a party waiting for ever."""
    with (
        joined(keys, timeout_s=0.5) as (party, dealer),
        beating([dealer], every_s=0.02),
        pytest.raises(PeerLost, match="dealer sent no message for 0 s"),
    ):
        party.receive()


def test_a_dealer_that_takes_nothing_is_given_up(keys):
    """Sending has a deadline too."""
    with joined(keys, timeout_s=0.5) as (party, _), pytest.raises(PeerLost, match="dealer took nothing for 0 s"):
        party.send(b"x" * (64 << 20))


def test_a_killed_dealer_is_noticed_at_once(keys):
    """kill -9 of the dealer ends a wait long before its deadline, and whoever asks or sends afterwards is told too."""
    with other_process(keys) as (child, link):
        link.send(b"hello")
        assert link.receive() == b"hello"
        child.kill()
        for _ in range(2):
            with pytest.raises(PeerLost, match="dealer closed its connection") as caught:
                link.receive()
            assert caught.value.who == "dealer"
        with pytest.raises(PeerLost, match="dealer"):
            [link.send(b"anybody there?") for _ in range(10_000)]


def test_a_stopped_dealer_is_noticed(keys):
    """A dealer that stands still sends no heartbeat: it is given up after eight seconds of silence."""
    with other_process(keys) as (child, link):
        link.send(b"hello")
        assert link.receive() == b"hello"
        os.kill(child.pid, signal.SIGSTOP)
        (found,) = at_once(link.receive)
        assert isinstance(found, PeerLost)
        assert found.who == "dealer"
        assert f"kept silent for {SILENCE_S} s" in str(found)


@pytest.mark.parametrize("cut", [b"", b"\x05\x00", b"\x05\x00\x00\x00he"])
def test_half_a_message_is_none(ends, cut):
    """The end of the connection, between messages or within one, is a lost dealer and not half a message."""
    party, dealer = ends
    if cut:
        dealer._tls.send(cut)
    dealer.close()
    with pytest.raises(PeerLost, match="dealer closed its connection"):
        party.receive()
