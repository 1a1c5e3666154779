"""The gateway carries what participants say to each other, under the sender's name, also to those who come later."""

from __future__ import annotations

from contextlib import closing

import grpc

from gateway.coordination.relay import MAX_BYTES, MAX_WAITING, keep, kept
from gateway.storage.store import Store
from parties.keys.tls import utc_now
from parties.service.messages import Cosigned, Offer, Rejected, SignedTranscript, Welcome

KEY = "ab" * 32


def offer(to: str, text: str = "") -> Offer:
    return Offer(peer=to, public_key=KEY, envelope={"payload": text})


def test_who_is_connected_hears_at_once(consortium):
    """A message comes under the name of the stream that it was sent on, whatever is in it."""
    consortium.a.say(offer("clinic-b", "one"))
    assert consortium.b.hear(Offer) == offer("clinic-a", "one")
    consortium.b.say(Cosigned(peer="clinic-a", public_key=KEY, note="note"))
    assert consortium.a.hear(Cosigned).peer == "clinic-b"


def test_who_is_away_hears_the_newest_later(gateway, consortium):
    """Of one kind from one sender the newest waits, until the receiver is back."""
    gateway.invited("clinic-c")
    for text in ("one", "two"):
        consortium.a.say(offer("clinic-c", text)).settled()
    consortium.b.say(offer("clinic-c", "three")).settled()
    late = gateway.daemons[-1].dial()
    late.hear(Welcome)
    assert [late.hear(Offer), late.hear(Offer)] == [offer("clinic-a", "two"), offer("clinic-b", "three")]
    late.settled()


def test_nobody_is_no_receiver(consortium):
    """What is for a name that was never invited, or for the sender itself, goes nowhere; the stream goes on."""
    consortium.a.say(offer("stranger")).say(offer("clinic-a")).settled()


def test_a_message_too_long_ends_the_stream(consortium):
    """Nobody fills the gateway's memory, or a partner's stream, with what waits."""
    consortium.a.say(offer("clinic-b", "x" * MAX_BYTES))
    assert consortium.a.hear(Rejected).fault.what == f"clinic-a sent a 'offer' message of more than {MAX_BYTES} bytes"
    assert consortium.a.incoming.get(timeout=30) in {None, grpc.StatusCode.CANCELLED}


def test_what_waits_is_bounded_and_newest(tmp_path):
    """From one sender to one receiver so many messages wait, the oldest go first; of one slot the newest alone."""
    with closing(Store.open(tmp_path)) as store, store.transaction() as rows:
        for name in ("clinic-a", "clinic-b", "clinic-c"):
            rows.invite(name, "party", "authority", utc_now())
        sent = [transcript("clinic-a", number) for number in range(MAX_WAITING + 3)]
        for message in [*sent, sent[10]]:
            keep(rows, "clinic-b", message)
        keep(rows, "clinic-b", transcript("clinic-c", 0))
        assert kept(rows, "clinic-b") == [*sent[3:10], *sent[11:], sent[10], transcript("clinic-c", 0)]
        assert kept(rows, "clinic-b") == []


def transcript(sender: str, number: int) -> SignedTranscript:
    """A message with a slot of its own for each session."""
    return SignedTranscript(peer=sender, public_key=KEY, session=f"{number:064x}", envelope={})
