"""The gateway carries what participants say to each other, under the sender's name, also to those who come later."""

from __future__ import annotations

import grpc

from gateway.relay import MAX_BYTES, MAX_WAITING, Relay
from parties.messages import Cosigned, Offer, Rejected, Welcome

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


class Known:
    """Rows in which everybody is a member."""

    def member(self, name):
        return name


class Numbered(Offer):
    """A message with a slot of its own each time."""

    @property
    def slot(self):
        return (self.envelope["payload"],)


class Told:
    """A line that keeps what is sent."""

    def __init__(self):
        self.messages = []

    def send(self, message):
        self.messages.append(message.envelope["payload"])

    def close(self):
        """Nothing to end."""


def test_what_waits_is_bounded():
    """From one sender to one receiver so many messages wait, and the oldest go first."""
    lines = {}
    relay = Relay(lines)
    for number in range(MAX_WAITING + 3):
        message = Numbered(peer="b", public_key=KEY, envelope={"payload": str(number)})
        relay.pass_on(Known(), "a", message)
    lines["b"] = Told()
    relay.deliver("b")
    assert lines["b"].messages == [str(number) for number in range(3, MAX_WAITING + 3)]
