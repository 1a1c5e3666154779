"""The dealer: it serves a program's schedule and nothing else, and every doubt ends the epoch for all."""

import json
import re
import threading

import numpy as np
import pytest

from mpc.agenda import Agenda
from mpc.channel import MemoryChannel, MemoryLink
from mpc.dealing import Epoch, serve
from mpc.errors import MaskReuse, PeerLost, PrivityError, ProtocolError
from mpc.keys import agree
from mpc.lanes import ANNOUNCEMENT, CREDIT, GOODBYE, MESSAGE_BYTES, WINDOW, receive_words, send_words
from mpc.layouts import corrected, items, layout, opening_items, tuple_number
from mpc.requests import Listed, comparison, listed
from mpc.simulation import Simulation
from mpc.training import train
from tests.contracts.channel_suite import everyone
from tests.mpc.engine import own, program, table, uniform
from tests.mpc.test_keys import DIGEST


class Dealt:
    """A dealer for parties that a test plays by hand, message by message."""

    def __init__(self, agreed):
        self.agreed, self.error, self.dealing, self.asked = agreed, None, None, 0
        self._pairs = [MemoryLink.pair() for _ in range(agreed.world)]
        self.links = [party for party, _ in self._pairs]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        channels = MemoryChannel.mesh(agreed.world, session=DIGEST)
        self.keys = everyone(channels, lambda channel: agree(channel, self.links[channel.rank], DIGEST, 1))

    def _serve(self):
        try:
            self.dealing = serve(self.agreed, Epoch([dealer for _, dealer in self._pairs], DIGEST, 1))
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

    def ask(self, requests):
        """Make these requests, each as the party that it is of, and take the answers."""
        for request in requests:
            link = self.links[corrected(self.asked, self.agreed.world)]
            link.send(request.encode(self.asked))
            assert len(link.receive()) == 8 * (1 + request.words)
            self.asked += 1

    def say(self, message):
        for link in self.links:
            link.send(message)

    def announce(self, rung):
        """The guard of the phase before, and that another phase begins."""
        self.ask(listed(self.agreed).phase)
        self.say(announcement(rung))


@pytest.fixture(params=[2, 3])
def dealt(request):
    """A dealer that has sent the first phase of a program of two segments, and is to answer for its guard."""
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
        dealt.announce(rung)
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
        dealt.announce(rung)
        dealt.take_all(phase=phase, segment=segment, rung=rung)
    try:
        dealt.announce(rungs[-1])
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
    dealt.ask(listed(dealt.agreed).phase)
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


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "square", "sizes": [[1, 24]]}, "another kind, other shapes"),
        ({"kind": "table"}, "another kind where binary"),
        ({"kind": []}, "another kind where binary"),
        ({"op": "mul"}, "another operation where"),
        ({"op": "__class__"}, "another operation where"),
        ({"sizes": [[1, 24], [1, 25]]}, "other shapes where binary of \\(1, 24\\) and \\(1, 24\\)"),
        ({"sizes": [[1, 24]]}, "other shapes where"),
        ({"sizes": [[-1], [-1]]}, "other shapes where"),
        ({"sizes": [[1 << 40], [1 << 40]]}, "other shapes where"),
        ({"sizes": None}, "other shapes where"),
        ({"number": 1}, "another number where"),
        ({"number": -2}, "another number where"),
        ({"number": 1 << 64}, "another number where"),
        ({"number": "x"}, "another number where"),
        ({"more": 1}, "something that is no request"),
        ({"kind": "x" * 2000}, "something that is no request"),
    ],
    ids=str,
)
def test_another_request_ends_the_epoch(dealt, changes, says):
    """Another kind, operation, shape or number than the program lists next is refused, with an error that says in what
    it differs, and not with the dealer's death.
    """
    due = json.loads(listed(dealt.agreed).phase[0].encode(0))
    dealt.links[0].send(json.dumps({**due, **changes}).encode())
    error = dealt.ended()
    assert isinstance(error, ProtocolError)
    assert re.search(f"party 0 asked for .*{says}", str(error)), error
    for link in dealt.links:
        with pytest.raises(PeerLost):
            link.receive()


def test_the_same_in_other_words_is_refused(dealt):
    """A request has one form: nothing can be hidden in blanks or in the order of its keys."""
    due = json.loads(listed(dealt.agreed).phase[0].encode(0))
    dealt.links[0].send(json.dumps(due, indent=1).encode())
    assert "other words where" in str(dealt.ended())


def test_a_request_out_of_order_ends_the_epoch(dealt):
    """A party that leaves one of its requests out, or takes its peer's, is refused."""
    guard, world = listed(dealt.agreed).phase, dealt.agreed.world
    later = next(number for number in range(1, len(guard)) if corrected(number, world) == 0)
    dealt.links[0].send(guard[later].encode(later))
    error = dealt.ended()
    assert isinstance(error, ProtocolError)
    assert "party 0 asked for another number" in str(error)


def test_one_more_request_ends_the_epoch(dealt):
    """After its last request of a guard a party gets nothing more."""
    guard, world = listed(dealt.agreed).phase, dealt.agreed.world
    dealt.ask(guard)
    dealt.links[0].send(guard[-1].encode(len(guard) + (corrected(len(guard), world) != 0)))
    error = dealt.ended()
    assert isinstance(error, ProtocolError)
    assert "party 0 asked for more correlated randomness than the program lists" in str(error)


def test_a_request_left_out_ends_the_epoch(dealt):
    """A party that goes on to the next phase without its guard is refused."""
    dealt.links[0].send(announcement(0))
    error = dealt.ended()
    assert isinstance(error, ProtocolError)
    assert "party 0 went on where binary of (1, 24) and (1, 24) is request 0" in str(error)


def test_a_tuple_is_dealt_once(dealt):
    """A request that comes again, or another under its number, is refused: no mask serves twice."""
    guard = listed(dealt.agreed).phase
    dealt.ask(guard[:1])
    dealt.links[0].send(guard[0].encode(0))
    error = dealt.ended()
    assert isinstance(error, MaskReuse)
    assert "asked for request 0 twice" in str(error)


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


class OutstandingLink:
    """A party's link to the dealer that counts the requests whose answers are still to come."""

    def __init__(self, link):
        self._link, self.now, self.seen = link, 0, []

    def send(self, message):
        if message.startswith(b"{"):
            self.now += 1
            self.seen.append(self.now)
        self._link.send(message)

    def receive(self):
        message = self._link.receive()
        self.now = max(0, self.now - 1)  # nothing is dealt ahead while requests are out
        return message

    def close(self):
        self._link.close()


@pytest.mark.parametrize("world", [2, 3])
def test_requests_are_on_their_way_before_their_turn(world):
    """As many as the window has; a list's last ones end it, before anything else is begun."""
    agreed = program([1] * world, max_iter=30, loss_every=0)
    X, y = table(agreed, 1)
    links = {}

    def party(runtime):
        link = runtime.provider._dealer = links[runtime.rank] = OutstandingLink(runtime.provider._dealer)
        train(agreed, *own(agreed, runtime.rank, X, y), runtime)
        assert link.now == 0

    Simulation(agreed).run(party)
    for link in links.values():
        assert max(link.seen) == WINDOW
        assert link.seen.count(1) == len(agreed.segments)  # so often nothing was on its way


def test_nothing_is_asked_for_before_it_is_told_that_it_begins():
    """Ahead means within a list: the first phase's waits until it is dealt, training's until that is over."""
    agreed = program([1, 1], max_iter=3, loss_every=0, tol="0.1")
    one, other = comparison(2, (3,)), comparison(2, (5,))
    agenda = Agenda(agreed, Listed(start=one, phase=other, training=one))
    for stage in (one, other, one):
        for number, request in enumerate(stage):
            _, due = agenda.take()
            assert due == request
            assert [each for _, each in agenda.ahead(100)] == list(stage[number + 1 :])
    with pytest.raises(ProtocolError, match="more correlated randomness than the program lists"):
        agenda.take()


class AlteredLink:
    """A party's link to the dealer on which the first answer to a request is changed on its way."""

    def __init__(self, link, change):
        self._link, self._change, self._asked = link, change, False

    def send(self, message):
        self._asked = self._asked or message.startswith(b"{")
        self._link.send(message)

    def receive(self):
        message = self._link.receive()
        if self._asked and self._change is not None:
            message, self._change = self._change(message), None
        return message


ALTERED = {
    "another number": lambda reply: bytes([reply[0] ^ 1]) + reply[1:],
    "a number beyond all": lambda reply: reply[:7] + bytes([reply[7] ^ 0x80]) + reply[8:],
    "a word less": lambda reply: reply[:-8],
    "a byte more": lambda reply: reply + b"\0",
    "a word more": lambda reply: reply + bytes(8),
    "the number alone": lambda reply: reply[:8],
    "nothing": lambda _: b"",
}


@pytest.mark.parametrize("change", ALTERED.values(), ids=ALTERED)
@pytest.mark.parametrize("rank", [0, 1])
def test_a_party_refuses_an_answer_to_another_request(change, rank):
    """An answer with another number or length ends the run with a clear error, before anything is disclosed."""
    agreed = program([1, 1], max_iter=3, loss_every=0)
    X, y = table(agreed, 1)

    def party(runtime):
        if runtime.rank == rank:
            runtime.provider._dealer = AlteredLink(runtime.provider._dealer, change)
        train(agreed, *own(agreed, runtime.rank, X, y), runtime)

    simulation = Simulation(agreed)
    with pytest.raises(ProtocolError, match=r"answer to request \d+ is not the one asked for") as caught:
        simulation.run(party)
    assert "dealer's operator" in caught.value.action
    assert all("disclosure" not in channel.counters.sent_by_name for channel in simulation.channels)
