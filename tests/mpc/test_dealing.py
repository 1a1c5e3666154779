"""The dealer: it serves a program's schedule and nothing else, and every doubt ends the epoch for all."""

import json
import threading

import numpy as np
import pytest

from mpc.channel import MemoryChannel, MemoryLink
from mpc.correlations import Request
from mpc.dealing import serve
from mpc.errors import MaskReuse, PeerLost, PrivityError, ProtocolError
from mpc.keys import agree
from mpc.lanes import ANNOUNCEMENT, CREDIT, GOODBYE, MESSAGE_BYTES, WINDOW, receive_words, send_words
from mpc.layouts import corrected, items, layout, opening_items, tuple_number
from tests.contracts.channel_suite import everyone
from tests.mpc.engine import program, uniform
from tests.mpc.test_keys import DIGEST


class Dealt:
    """A dealer for parties that a test plays by hand, message by message."""

    def __init__(self, agreed):
        self.agreed, self.error, self.dealing = agreed, None, None
        self._pairs = [MemoryLink.pair() for _ in range(agreed.world)]
        self.links = [party for party, _ in self._pairs]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        channels = MemoryChannel.mesh(agreed.world, session=DIGEST)
        self.keys = everyone(channels, lambda channel: agree(channel, self.links[channel.rank], DIGEST, 1))

    def _serve(self):
        try:
            self.dealing = serve(self.agreed, [dealer for _, dealer in self._pairs], DIGEST, 1)
        except PrivityError as error:
            self.error = error

    def ended(self):
        """Wait for the dealer's end. Returns the error that it ended with, or None."""
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.error

    def take(self, rank, phase=1, segment=0, rung=0):
        """Take all corrections of a phase, and what precedes the first one, as a party does."""
        kinds = items(self.agreed, self.agreed.segments[segment])
        listed = [(phase, kinds)] if phase > 1 else [(0, opening_items(self.agreed)), (1, kinds)]
        for number, each in listed:
            for place, kind in enumerate(each):
                if corrected(tuple_number(number, place), self.agreed.world) == rank:
                    receive_words(self.links[rank], layout(self.agreed, self.agreed.ladder[rung], kind).words)
                    self.links[rank].send(CREDIT)

    def take_all(self, **phase):
        for rank in range(self.agreed.world):
            self.take(rank, **phase)

    def say(self, message):
        for link in self.links:
            link.send(message)


@pytest.fixture(params=[2, 3])
def dealt(request):
    """A dealer that has sent the first phase of a program of two segments."""
    found = Dealt(program([1] * request.param, max_iter=40, loss_every=20))
    found.take_all()
    return found


def announcement(rung):
    return ANNOUNCEMENT + bytes([rung])


def test_a_session_ends_with_goodbyes(dealt):
    """When all parties have said goodbye the dealer is done, and has counted what it sent."""
    dealt.say(GOODBYE)
    assert dealt.ended() is None
    assert dealt.dealing.tuples == len(opening_items(dealt.agreed)) + len(items(dealt.agreed, dealt.agreed.segments[0]))


@pytest.mark.parametrize("rungs", [[0], [1], [1, 1], [1, 2, 2], [0, 1]], ids=str)
def test_phases_follow_what_parties_announce(dealt, rungs):
    """The same rung goes on to the next segment, the next one repeats a segment: the dealer serves either."""
    segment, last = 0, 0
    for phase, rung in enumerate(rungs, start=2):
        segment, last = segment + (rung == last), rung
        dealt.say(announcement(rung))
        dealt.take_all(phase=phase, segment=segment, rung=rung)
    dealt.say(GOODBYE)
    assert dealt.ended() is None


@pytest.mark.parametrize("rungs", [[2], [3], [255], [1, 0], [0, 2], [0, 0], [1, 2, 3], [0, 0, 0]], ids=str)
def test_a_rung_out_of_order_ends_the_epoch(dealt, rungs):
    """A rung that skips, returns or leads beyond the program is refused, and all links are closed."""
    segment, last = 0, 0
    for phase, rung in enumerate(rungs[:-1], start=2):
        segment, last = segment + (rung == last), rung
        if segment >= len(dealt.agreed.segments):
            break
        dealt.say(announcement(rung))
        dealt.take_all(phase=phase, segment=segment, rung=rung)
    try:
        dealt.say(announcement(rungs[-1]))
    except PeerLost:
        assert rungs  # the dealer was faster: it closed the links at the first party's word
    assert isinstance(dealt.ended(), ProtocolError)
    for link in dealt.links:
        with pytest.raises(PeerLost):
            receive_until_closed(link)


def receive_until_closed(link):
    for _ in range(1000):
        link.receive()


def test_parties_that_announce_different_rungs_end_the_epoch(dealt):
    """The dealer does not serve one phase to one party and another to its peer: their masks would not match."""
    dealt.links[0].send(announcement(0))
    dealt.take(0, phase=2, segment=1)
    dealt.links[1].send(announcement(1))
    error = dealt.ended()
    assert isinstance(error, ProtocolError)
    assert "different rungs" in str(error)


@pytest.mark.parametrize(
    "message",
    [b"", b"rung", b"rung\0\0", b"hello", CREDIT, b"[" * 100_000, b"\xff" * 40, b"[]", b"{}", b"null", b"7"],
    ids=repr,
)
def test_noise_ends_the_epoch(dealt, message):
    """A message that is neither request, announcement nor goodbye ends the epoch at every party."""
    dealt.links[0].send(message)
    assert isinstance(dealt.ended(), ProtocolError)
    for link in dealt.links:
        with pytest.raises(PeerLost):
            link.receive()


REQUEST = {"number": 0, "kind": "square", "sizes": [[2]], "op": ""}


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "table"},
        {"kind": "triple", "sizes": [[2], [2]], "op": "conv2d"},
        {"kind": "triple", "sizes": [[2], [2]], "op": "__class__"},
        {"op": "mul"},
        {"sizes": [[2], [2]]},
        {"sizes": [[-1]]},
        {"sizes": [[1 << 40]]},
        {"sizes": [[1, 1, 1, 1, 1]]},
        {"number": -2},
        {"number": 1 << 64},
        {"kind": "triple", "sizes": [[600, 1], [1, 600]], "op": "mul"},
        {"kind": "triple", "sizes": [[600, 1], [1, 600]], "op": "matmul"},
        {"number": "x"},
        {"number": 1},
        {"sizes": None},
        {"sizes": 7},
        {"sizes": [["a"]]},
        {"kind": "triple", "sizes": [[2], [3]], "op": "mul"},
        {"kind": "triple", "sizes": [[2, 3], [2, 3]], "op": "matmul"},
        {"kind": "binary", "sizes": [[2], [3]]},
        {"kind": []},
    ],
    ids=str,
)
def test_a_bad_request_ends_the_epoch(dealt, changes):
    """Unknown kinds and operations, other numbers of shapes, shapes that do not fit or are larger than the program, and
    tuples that are another party's to correct: each is refused by the dealer, with an error and not with its death.
    """
    dealt.links[0].send(json.dumps({**REQUEST, **changes}).encode())
    assert isinstance(dealt.ended(), ProtocolError)


def test_a_tuple_is_dealt_once(dealt):
    """A request that comes again with the number of one that was answered is refused: no mask serves twice."""
    request = Request(0, "square", ((2,),)).encode()
    dealt.links[0].send(request)
    assert len(dealt.links[0].receive()) == 8 + 16
    dealt.links[0].send(request)
    error = dealt.ended()
    assert isinstance(error, MaskReuse)
    assert "asked for tuple 0 twice" in str(error)


def test_a_number_is_dealt_once_whatever_it_is_for(dealt):
    """Another kind or shape under a number that was served is refused as well."""
    dealt.links[0].send(Request(0, "square", ((2,),)).encode())
    dealt.links[0].receive()
    dealt.links[0].send(Request(0, "triple", ((3,), (3,)), "mul").encode())
    assert isinstance(dealt.ended(), MaskReuse)


def test_one_broken_link_ends_the_epoch_for_all(dealt):
    """If one party goes away, every other's link is closed: what they hold is no longer of use."""
    dealt.links[-1].close()
    assert isinstance(dealt.ended(), PeerLost)
    for link in dealt.links:
        with pytest.raises(PeerLost):
            link.receive()


def test_the_dealer_is_a_window_ahead_and_no_more():
    """Without credits a party gets no more than a window's tuples: what the dealer holds for it is bounded."""
    dealt = Dealt(program([1, 1], max_iter=29, loss_every=0))
    agreed = dealt.agreed
    kinds = items(agreed, agreed.segments[0])
    mine = [kind for place, kind in enumerate(kinds) if corrected(tuple_number(1, place), agreed.world) == 0]
    for kind in mine[:WINDOW]:
        receive_words(dealt.links[0], layout(agreed, agreed.ladder[0], kind).words)
    dealt.links[0].send(b"no credit")
    error = dealt.ended()
    assert isinstance(error, ProtocolError)
    assert "had a tuple to take" in str(error)
    with pytest.raises(PeerLost):
        dealt.links[0].receive()  # nothing more had been sent


@pytest.mark.parametrize("count", [0, 1, MESSAGE_BYTES // 8, MESSAGE_BYTES // 8 + 1, 300_000])
def test_long_corrections_travel_in_messages_of_a_megabyte(count):
    """Words arrive as they were sent, in messages none of which is longer than a megabyte."""
    sizes = []
    party, dealer = MemoryLink.pair(dealer_tap=lambda message: sizes.append(len(message)))
    words = uniform(np.random.default_rng(count), (count,))
    assert send_words(dealer, words) == 8 * count
    assert (receive_words(party, count) == words).all()
    assert max(sizes, default=0) <= MESSAGE_BYTES


@pytest.mark.parametrize("length", [0, 7, 15, 17, 24])
def test_a_correction_of_another_length_is_refused(length):
    """A party does not go on with fewer or more words than are due."""
    party, dealer = MemoryLink.pair()
    dealer.send(bytes(length))
    with pytest.raises(ProtocolError, match="16 were due"):
        receive_words(party, 2)
