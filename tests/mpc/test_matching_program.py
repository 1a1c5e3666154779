"""A matching's dealer has nothing to deal, and gives nothing to whoever asks."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from mpc.channel import MemoryChannel, MemoryLink
from mpc.dealing import Epoch, serve
from mpc.errors import PeerLost, ProtocolError
from mpc.keys import DEALER_KEYS_BYTES, agree
from mpc.lanes import EVALUATION, GOODBYE
from mpc.matching_program import derive_matching, step
from mpc.requests import Request

DIGEST = bytes(32)
PROGRAM = derive_matching([5, 7])


def dealt(messages: list[bytes]):
    """What the dealer did for two parties that agree on keys; the first then says these messages."""
    channels, links = MemoryChannel.mesh(2), [MemoryLink.pair() for _ in range(2)]
    keys: dict[int, bytes] = {}

    def party(rank: int, said: list[bytes]) -> None:
        keys[rank] = agree(channels[rank], links[rank][0], DIGEST, 1).parties_key("match")
        with suppress(PeerLost):  # the dealer may have ended for both
            for message in said:
                links[rank][0].send(message)

    threads = [threading.Thread(target=party, args=(rank, said)) for rank, said in enumerate((messages, [GOODBYE]))]
    for thread in threads:
        thread.start()
    try:
        return serve(PROGRAM, Epoch([dealer for _, dealer in links], DIGEST, 1, ("a", "b")))
    finally:
        for thread in threads:
            thread.join(30)
        assert keys[0] == keys[1]


def test_goodbye_ends_it():
    """Keys are agreed on, of which the parties' own is none of the dealer's, and no tuple is made."""
    found = dealt([GOODBYE])
    assert (found.tuples, found.bytes_sent) == (0, 2 * DEALER_KEYS_BYTES)


@pytest.mark.parametrize("message", [Request("triple", ((1,), (1,)), "mul").encode(0), EVALUATION, b"", b"rung\x00"])
def test_whatever_is_asked_for_is_refused(message):
    """The program lists no request: the first one ends the session, by name."""
    with pytest.raises(ProtocolError, match=r"^a "):
        dealt([message])


def test_shards_are_of_many_records():
    """However long the lists are, a shard has 65,536 records of the shortest at least, or all of them."""
    for sizes in ((10, 10**7), (65_536, 65_536), (10**6, 10**6), (10**7, 3 * 10**6)):
        program = derive_matching(sizes)
        assert min(sizes) / program.shards >= min(65_536, *sizes)
        assert all(room * program.shards >= size for room, size in zip(program.rooms, sizes, strict=True))


def test_an_estimate_compares_a_sample():
    """Half of a short list, some 16,384 records of a long one, with room for the chance of what is in it."""
    for sizes, one_in in (((50, 90), 2), ((10**4, 10**7), 2), ((10**6, 10**6), 61), ((10**7, 10**7), 610)):
        program = derive_matching(sizes, estimate=True)
        assert (program.one_in, program.shards) == (one_in, 1)
        assert all(room * one_in >= size for room, size in zip(program.rooms, sizes, strict=True))
        deviation = (min(sizes) * (one_in - 1)) ** 0.5
        assert deviation < 2 * program.round_to  # the sample's chance, against what is told of it
        assert all(program.estimated(sampled) % program.round_to == 0 for sampled in range(50))
    assert not derive_matching((50, 90)).is_estimate


def test_steps_are_a_twentieth_of_the_list():
    """Rounded up to 1, 2 or 5 times a power of ten, and 10 at least."""
    found = [step(size) for size in (1, 200, 201, 400, 401, 1000, 1001, 569, 10**6, 10**6 + 1)]
    assert found == [10, 10, 20, 20, 50, 50, 100, 50, 50_000, 100_000]
