"""What every Channel promises. An implementation's test derives from ChannelSuite and says how to make a mesh."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import numpy as np
import pytest

from mpc.channel import Channel
from mpc.errors import PeerLost, ProtocolError

DEADLINE_S = 60
BIG = 1 << 18  # words: more than socket buffers hold, so that sending before receiving would deadlock


def everyone(channels, act):
    """Run a function as every party at once; results in order of rank. The first error is raised."""
    with ThreadPoolExecutor(len(channels)) as pool:
        futures = [pool.submit(act, channel) for channel in channels]
        return [future.result(DEADLINE_S) for future in futures]


def others(channel: Channel) -> list[int]:
    return [rank for rank in range(channel.world) if rank != channel.rank]


class ChannelSuite:
    """Derive, and override `mesh`."""

    def mesh(self, world: int) -> AbstractContextManager[list[Channel]]:
        """Connected channels of all parties, in order of rank."""
        raise NotImplementedError

    @pytest.fixture(params=[2, 3, 5])
    def channels(self, request) -> Iterator[list[Channel]]:
        with self.mesh(request.param) as made:
            yield made

    @pytest.fixture
    def pair(self) -> Iterator[list[Channel]]:
        with self.mesh(2) as made:
            yield made

    def test_ranks_are_in_order(self, channels):
        """Each channel knows its rank and how many parties there are."""
        assert [(each.rank, each.world) for each in channels] == [
            (rank, len(channels)) for rank in range(len(channels))
        ]

    def test_everyone_receives_what_the_others_sent(self, channels):
        """Words arrive as they were sent, each at the party that they were meant for."""

        def act(channel):
            sent = {peer: np.array([channel.rank, peer, -1, 2**63 - 1], dtype=np.int64) for peer in others(channel)}
            return channel.exchange("words", sent, dict.fromkeys(others(channel), ("i8", (4,))))

        for rank, received in enumerate(everyone(channels, act)):
            assert sorted(received) == [peer for peer in range(len(channels)) if peer != rank]
            for peer, words in received.items():
                assert words.tolist() == [peer, rank, -1, 2**63 - 1]

    @pytest.mark.parametrize(("dtype", "shape"), [("u1", (3,)), ("i4", (2, 5)), ("i8", ()), ("i8", (0, 4))])
    def test_types_and_shapes_survive(self, pair, dtype, shape):
        """Every wire type and shape, empty ones too, comes out as it went in."""
        sent = np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape)

        def act(channel):
            return channel.exchange("shape", {1 - channel.rank: sent}, {1 - channel.rank: (dtype, shape)})

        for received in everyone(pair, act):
            (array,) = received.values()
            assert array.shape == shape
            assert array.dtype == sent.dtype
            assert (array == sent).all()

    def test_both_directions_go_at_once(self, pair):
        """Rounds larger than any buffer do not deadlock."""

        def act(channel):
            words = np.full(BIG, channel.rank, dtype=np.int64)
            return channel.exchange("big", {1 - channel.rank: words}, {1 - channel.rank: ("i8", (BIG,))})

        first, second = everyone(pair, act)
        assert (first[1] == 1).all()
        assert (second[0] == 0).all()

    def test_one_may_send_and_the_other_receive(self, pair):
        """A round may go one way."""

        def act(channel):
            if channel.rank:
                return channel.exchange("one", {}, {0: ("i8", (1,))})
            return channel.exchange("one", {1: np.array([7])}, {})

        sender, receiver = everyone(pair, act)
        assert sender == {}
        assert receiver[0].tolist() == [7]

    def test_rounds_keep_their_order(self, pair):
        """A party that is a round ahead does not confuse the other."""

        def act(channel):
            seen = []
            for number in range(50):
                got = channel.exchange("n", {1 - channel.rank: np.array([number])}, {1 - channel.rank: ("i8", (1,))})
                seen.append(int(got[1 - channel.rank][0]))
            return seen

        assert everyone(pair, act) == [list(range(50))] * 2

    @pytest.mark.parametrize(
        ("sent", "expected", "found"),
        [
            (("a", "i8", (2,)), ("b", "i8", (2,)), "name"),
            (("a", "i8", (2,)), ("a", "i8", (3,)), "shape"),
            (("a", "i4", (2,)), ("a", "i8", (2,)), "dtype"),
        ],
    )
    def test_an_unexpected_frame_is_refused(self, pair, sent, expected, found):
        """A frame of another name, shape or type than agreed ends the session with the field's name."""
        name, dtype, shape = sent

        def act(channel):
            if channel.rank == 0:
                return channel.exchange(name, {1: np.zeros(shape, dtype)}, {})
            wanted, kind, size = expected
            with pytest.raises(ProtocolError, match=found):
                channel.exchange(wanted, {}, {0: (kind, size)})
            return None

        everyone(pair, act)

    def test_a_peer_that_closes_is_named(self, pair):
        """Who waits for a party that is gone learns its name soon, instead of waiting on."""

        def act(channel):
            if channel.rank == 0:
                channel.close()
                return
            with pytest.raises(PeerLost):
                channel.exchange("gone", {}, {0: ("i8", (1,))})

        everyone(pair, act)

    def test_rounds_and_bytes_are_counted(self, pair):
        """Counters say what went over the wire, in all and by name."""

        def act(channel):
            for _ in range(3):
                channel.exchange("count", {1 - channel.rank: np.zeros(4, np.int64)}, {1 - channel.rank: ("i8", (4,))})
            return channel.counters

        for counters in everyone(pair, act):
            assert counters.rounds == 3
            assert counters.bytes_sent == counters.bytes_received == counters.sent_by_name["count"]
            assert counters.bytes_sent >= 3 * 32
