"""What every Link promises. An implementation's test derives from LinkSuite and says how to make a pair."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from threading import Barrier, Thread

import pytest

from mpc.channel import Link
from mpc.errors import PeerLost

DEADLINE_S = 60
MANY = 10_000  # messages: more than any buffer holds


class LinkSuite:
    """Derive, and override `pair`."""

    def pair(self) -> AbstractContextManager[tuple[Link, Link]]:
        """A party's end and the dealer's."""
        raise NotImplementedError

    @pytest.fixture
    def ends(self) -> Iterator[tuple[Link, Link]]:
        with self.pair() as made:
            yield made

    @pytest.fixture(params=["the party's", "the dealer's"])
    def both(self, ends, request) -> tuple[Link, Link]:
        """An end and the other one, each way round."""
        return ends if request.param == "the party's" else ends[::-1]

    def test_messages_are_whole_and_in_order(self, both):
        """Messages come out as they went in, empty ones too."""
        near, far = both
        sent = [b"", b"x", bytes(range(256)), b"y" * 100_000, b""]
        sending = Thread(target=lambda: [near.send(message) for message in sent])
        sending.start()
        assert [far.receive() for _ in sent] == sent
        sending.join(DEADLINE_S)

    def test_what_was_sent_before_the_end_arrives(self, both):
        """An end that closes loses nothing of what it said; after that it is gone, whoever asks how often."""
        near, far = both
        sent = [bytes([number]) * 1000 for number in range(20)]
        for message in sent:
            near.send(message)
        near.close()
        assert [far.receive() for _ in sent] == sent
        for _ in range(2):
            with pytest.raises(PeerLost):
                far.receive()

    def test_nobody_can_send_to_an_end_that_is_gone(self, both):
        """Whoever goes on sending learns of it."""
        near, far = both
        near.close()
        with pytest.raises(PeerLost):
            [far.send(b"x" * 1000) for _ in range(MANY)]

    def test_a_closed_end_is_of_no_more_use(self, both):
        """Closing ends both ways at the end that closes, and may be done twice."""
        near, _ = both
        near.close()
        near.close()
        with pytest.raises(PeerLost):
            near.send(b"x")
        with pytest.raises(PeerLost):
            near.receive()

    @pytest.mark.parametrize("closing", ["near", "far"])
    def test_closing_wakes_whoever_waits(self, both, closing):
        """A thread that waits for a message learns at once that the session is over, whichever end closed."""
        near, far = both
        found: list[object] = []
        waiting = Barrier(2)

        def wait() -> None:
            waiting.wait(DEADLINE_S)
            try:
                found.append(near.receive())
            except PeerLost as exc:
                found.append(exc)

        thread = Thread(target=wait)
        thread.start()
        waiting.wait(DEADLINE_S)
        (near if closing == "near" else far).close()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
        assert isinstance(found[0], PeerLost)
