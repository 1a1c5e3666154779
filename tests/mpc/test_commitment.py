"""What a party sent is bound: its chains are those of its peers, and one that says otherwise is found."""

from __future__ import annotations

import numpy as np
import pytest

from mpc.channel import MemoryChannel, MemoryLink
from mpc.commitment import SIGNATURE_BYTES, Chained, ChainedLink, Commitment, Sent, Unsigned, size
from mpc.errors import CommitmentsDiffer, EngineError, ProtocolError
from mpc.keys import agree, agree_as_dealer
from mpc.simulation import DIGEST, Simulation
from mpc.training import train
from tests.contracts.channel_suite import everyone
from tests.mpc.engine import own, program, table, taken

WORDS = np.arange(6, dtype=np.int64)
KEY = b"k" * 32


def chain(*frames, rank=0, key=KEY):
    """The chain from one party to another of these frames."""
    sent = Sent(rank, 2)
    sent.begin(key)
    for name, array in frames:
        sent.frames(name, {1 - rank: array})
    return sent.to_peers()[1 - rank]


def test_a_chain_is_of_names_shapes_words_and_order():
    """Any other word, name, shape, type, order, direction or key makes another chain."""
    first, second = ("open", WORDS), ("open", WORDS + 1)
    chains = [
        chain(first, second),
        chain(second, first),
        chain(first),
        chain(first, second, second),
        chain(first, ("mask", WORDS + 1)),
        chain(("open", WORDS.reshape(2, 3)), second),
        chain(("open", WORDS.astype(np.int32)), second),
        chain(first, second, rank=1),
        chain(first, second, key=b"l" * 32),
    ]
    assert len(set(chains)) == len(chains)
    assert chain(first, second) == chains[0]


def test_what_comes_before_the_key_is_bound_too():
    """The frames of the key agreement wait for the key that they lead to."""
    sent = Sent(0, 2)
    sent.frames("keys", {1: WORDS})
    with pytest.raises(EngineError, match="before keys are agreed"):
        sent.to_peers()
    sent.begin(KEY)
    sent.frames("open", {1: WORDS})
    assert sent.to_peers()[1] == chain(("keys", WORDS), ("open", WORDS))


@pytest.mark.parametrize("world", [2, 3, 5])
def test_a_commitment_comes_back(world):
    """Encoding has a fixed length, and decoding gives the same."""
    for rank in range(world):
        digests = iter(bytes([number]) * 32 for number in range(world + 2))
        made = Commitment(7, {peer: next(digests) for peer in range(world) if peer != rank}, *digests)
        assert len(made.encode()) == size(world) - SIGNATURE_BYTES
        assert Commitment.decode(made.encode(), rank, world) == made


class Witness(Unsigned):
    """Keeps what it is shown."""

    def __init__(self):
        self.own, self.seen, self.dealer_keys = [], [], []

    def sign(self, commitment):
        self.own.append(commitment)
        return super().sign(commitment)

    def check(self, rank, commitment, signature, *, equal):
        self.seen.append((rank, commitment, equal))

    def check_dealer(self, dealer_key, signature):
        self.dealer_keys.append(dealer_key)


@pytest.fixture(scope="module", params=[[2, 1], [1, 0, 2]], ids=len)
def run(request):
    """A training, and what each party signed and saw."""
    agreed = program(request.param, rows=9, max_iter=5, loss_every=2, label_owner=1)
    witnesses = [Witness() for _ in request.param]
    X, y = table(agreed, 1)

    def party(runtime):
        runtime.commitments._signer = witnesses[runtime.rank]
        train(agreed, *own(agreed, runtime.rank, X, y), runtime)

    Simulation(agreed).run(party)
    return agreed, witnesses


def test_every_stage_is_signed_and_seen_by_every_peer(run):
    """Before the first disclosure, at each segment's end and at the end; what a peer saw is what was signed."""
    agreed, witnesses = run
    stages = list(range(1, len(agreed.segments) + 3))
    for rank, witness in enumerate(witnesses):
        assert [made.stage for made in witness.own] == stages
        for peer, other in enumerate(witnesses):
            if peer != rank:
                assert [(made, equal) for whose, made, equal in other.seen if whose == rank] == [
                    (made, True) for made in witness.own
                ]


def test_chains_grow_and_blocks_stay(run):
    """Each stage binds more words; the rows and the key with the dealer are bound once and for all."""
    _, witnesses = run
    for witness in witnesses:
        assert len({made.dealer for made in witness.own}) > 1
        assert len({made.block for made in witness.own}) == 1
        assert len({tuple(made.sent.values()) for made in witness.own}) == len(witness.own)
        assert witness.dealer_keys == [witness.own[0].dealer_key]
    assert len({witness.own[0].block for witness in witnesses}) == len(witnesses)


def test_a_party_that_signs_other_words_than_it_sent_is_found(run):
    """Its peers compare with what came, and end before anything is disclosed."""
    agreed, _ = run
    X, y = table(agreed, 1)
    told = []

    def party(runtime):
        if runtime.rank == 1:
            runtime.channel.sent.frames("open", {0: WORDS})  # as if it had sent what it did not
        if runtime.rank == 0:
            with pytest.raises(CommitmentsDiffer) as caught:
                train(agreed, *own(agreed, runtime.rank, X, y), runtime)
            told.append(caught.value.parties)
            raise caught.value
        train(agreed, *own(agreed, runtime.rank, X, y), runtime)

    simulation = Simulation(agreed)
    with pytest.raises(CommitmentsDiffer):
        simulation.run(party)
    assert told == [(1,)]
    assert all("disclosure" not in channel.counters.sent_by_name for channel in simulation.channels)


def test_a_block_is_salted(run):
    """The same rows have another digest in every run: nobody can test a guess of them."""
    agreed, witnesses = run
    X, y = table(agreed, 1)
    digests = set()

    def party(runtime):
        taken(agreed, runtime)
        runtime.commitments.block("training", *own(agreed, runtime.rank, X, y), 13)
        digests.add((runtime.rank, runtime.commitments._block.digest()))

    Simulation(agreed).run(party)
    assert not digests & {(rank, witness.own[0].block) for rank, witness in enumerate(witnesses)}


def test_the_dealer_signs_the_key_that_each_party_has():
    """Dealer and party have the same digest of their key, and a signature on it came with the key; others' differ."""
    asked = {}

    def sign(rank, digest):
        asked[rank] = digest
        return bytes([rank]) * SIGNATURE_BYTES

    channels, pairs = MemoryChannel.mesh(2), [MemoryLink.pair() for _ in range(2)]

    def act(who):
        if who == 2:
            return agree_as_dealer([dealer for _, dealer in pairs], DIGEST, 1, sign)
        channel = Chained(channels[who])
        return agree(channel, ChainedLink(pairs[who][0], channel.sent), DIGEST, 1)

    *parties, _ = everyone(range(3), act)
    assert [keys.dealt.digest for keys in parties] == [asked[0], asked[1]]
    assert asked[0] != asked[1]
    assert [keys.dealer_signature for keys in parties] == [bytes([rank]) * SIGNATURE_BYTES for rank in (0, 1)]


def assert_ends_undisclosed(run, rank, signer, says):
    """Where one party has this signer, its error ends the run, and no party sent a disclosure."""
    agreed, _ = run
    X, y = table(agreed, 1)

    def party(runtime):
        if runtime.rank == rank:
            runtime.commitments._signer = signer
        train(agreed, *own(agreed, runtime.rank, X, y), runtime)

    simulation = Simulation(agreed)
    with pytest.raises(ProtocolError, match=says):
        simulation.run(party)
    assert all("disclosure" not in channel.counters.sent_by_name for channel in simulation.channels)


def test_a_signature_that_does_not_hold_ends_the_run(run):
    """Whoever checks signatures says no before anything is disclosed."""

    class Refusing(Unsigned):
        def check(self, rank, commitment, signature, *, equal):
            raise ProtocolError("not signed")

    assert_ends_undisclosed(run, 0, Refusing(), "not signed")


def test_a_key_that_the_dealer_did_not_sign_ends_the_run(run):
    """A party that does not find the dealer's signature says no before it signs or is told anything."""
    signed = []

    class Doubtful(Unsigned):
        def check_dealer(self, dealer_key, signature):
            raise ProtocolError("the dealer did not sign")

        def sign(self, commitment):
            signed.append(commitment)
            return super().sign(commitment)

    assert_ends_undisclosed(run, 1, Doubtful(), "the dealer did not sign")
    assert not signed
