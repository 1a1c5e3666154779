"""Key agreement: the same keys at those who should have them, and at nobody else."""

import secrets
from itertools import combinations, permutations

import numpy as np
import pytest

from mpc.channel import MemoryChannel, MemoryLink
from mpc.errors import ProtocolError
from mpc.keys import SessionKeys, agree, agree_as_dealer
from mpc.randomness import KEY_BYTES, Secret
from tests.contracts.channel_suite import everyone

DIGEST = bytes(range(32))
SECRET = Secret(bytes(KEY_BYTES))


def agreed(world, digest=DIGEST, epoch=1):
    """Keys of all parties, and the dealer's streams."""
    channels = MemoryChannel.mesh(world)
    pairs = [MemoryLink.pair() for _ in range(world)]

    def act(who):
        if who == world:
            return agree_as_dealer([dealer for _, dealer in pairs], digest, epoch)
        return agree(channels[who], pairs[who][0], digest, epoch)

    *parties, dealer = everyone(range(world + 1), act)
    return parties, dealer


@pytest.mark.parametrize("world", [2, 3, 5])
def test_parties_share_a_key(world):
    """All parties derive the same keys of the session, one for each purpose."""
    parties, _ = agreed(world)
    assert len({keys.parties_key("ids") for keys in parties}) == 1
    assert parties[0].parties_key("ids") != parties[0].parties_key("transcript")


@pytest.mark.parametrize("world", [2, 3, 5])
def test_the_dealer_shares_streams_with_each_party_alone(world):
    """Dealer and party expand the same words; two parties' words differ."""
    parties, dealer = agreed(world)
    for lane in ("tuples", "slots", "table"):
        theirs = [getattr(keys.dealt, lane).open(0).words((4,)).tolist() for keys in parties]
        assert theirs == [getattr(streams, lane).open(0).words((4,)).tolist() for streams in dealer]
        assert len({tuple(words) for words in theirs}) == world


@pytest.mark.parametrize("world", [2, 3, 5])
def test_zero_sharings_sum_to_zero_and_hide_each_share(world):
    """Pairwise streams cancel over all parties, arithmetic and by bits, and over no smaller set of them."""
    parties, _ = agreed(world)
    streams = [keys.zero_streams("test") for keys in parties]
    shares = [before.words((50,)) - after.words((50,)) for before, after in streams]
    assert (sum(shares) == 0).all()
    assert all((sum(shares[:count]) != 0).any() for count in range(1, world))
    bits = [before.words((50,), xor=True) ^ after.words((50,), xor=True) for before, after in streams]
    assert (np.bitwise_xor.reduce(bits) == 0).all()


@pytest.mark.parametrize("world", [4, 5])
def test_a_pair_s_key_masks_exactly_these_two(world):
    """A zero sharing is between every pair: another key of one changes the shares of its two parties and no other's."""
    parties, _ = agreed(world)
    keys = [held._pairs for held in parties]

    def sharing(pairs):
        held = [SessionKeys(rank, SECRET, own, SECRET, b"") for rank, own in enumerate(pairs)]
        shares = [each.refreshed("test", np.zeros(20, dtype=np.int64)) for each in held]
        assert not sum(shares).any()
        return shares

    first = sharing(keys)
    for pair in combinations(range(world), 2):
        other = [dict(own) for own in keys]
        for rank, peer in permutations(pair):
            other[rank][peer] = Secret(b"another".ljust(KEY_BYTES))
        changed = [rank for rank, share in enumerate(sharing(other)) if (share != first[rank]).any()]
        assert changed == list(pair)


def test_every_agreement_is_new():
    """Two sessions of the same contract and epoch share no key."""
    (first, _), _ = agreed(2)
    (second, _), _ = agreed(2)
    assert first.parties_key("ids") != second.parties_key("ids")
    assert first.dealt.tuples.open(0).words((1,)) != second.dealt.tuples.open(0).words((1,))


def test_keys_are_not_printed():
    """Keys are redacted where somebody prints them."""
    (keys, _), (streams, _) = agreed(2)
    assert repr(keys) == "SessionKeys(redacted)"
    assert repr(streams) == "DealtStreams(redacted)"
    assert keys.parties_key("ids").hex() not in repr(vars(keys))


@pytest.mark.parametrize("length", [0, 31, 32 + 1183, 32 + 1185])
def test_the_dealer_refuses_a_malformed_key_message(length):
    """A key message of another length is refused, with the party's number."""
    party, dealer = MemoryLink.pair()
    party.send(secrets.token_bytes(length))
    with pytest.raises(ProtocolError, match="party 0"):
        agree_as_dealer([dealer], DIGEST, 1)


def test_a_party_refuses_a_malformed_answer():
    """The dealer's answer of another length is refused."""
    channels = MemoryChannel.mesh(2)
    pairs = [MemoryLink.pair() for _ in range(2)]

    def act(rank):
        pairs[rank][1].send(b"short")
        with pytest.raises(ProtocolError, match="dealer"):
            agree(channels[rank], pairs[rank][0], DIGEST, 1)

    everyone(range(2), act)


@pytest.mark.parametrize("changed", [{"digest": b"\1" * 32}, {"epoch": 2}])
def test_keys_are_bound_to_contract_and_epoch(changed):
    """Sides that mean another contract or epoch do not arrive at the same streams."""
    pairs = [MemoryLink.pair() for _ in range(2)]
    channels = MemoryChannel.mesh(2)

    def act(who):
        if who == 2:
            return agree_as_dealer([dealer for _, dealer in pairs], DIGEST, 1)
        return agree(channels[who], pairs[who][0], **{"digest": DIGEST, "epoch": 1, **changed})

    first, _, dealer = everyone(range(3), act)
    assert first.dealt.tuples.open(0).words((4,)).tolist() != dealer[0].tuples.open(0).words((4,)).tolist()
