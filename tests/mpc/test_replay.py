"""A party's part of a run, made again from its seed, its rows and what came in: equal, or the first other frame."""

from __future__ import annotations

import contextlib
import io
import secrets

import pytest

from mpc.commitment import Chained, ChainedLink, Unsigned
from mpc.disclosure import ProgramLedger
from mpc.errors import PrivityError, ReplayDiffers, ReplayEnded, TranscriptsDiffer
from mpc.keys import agree
from mpc.prediction import predict
from mpc.randomness import Entropy, Secret
from mpc.replay import DEALER, Replayed
from mpc.runtime import Runtime
from mpc.simulation import DIGEST, Simulation
from mpc.training import train
from tests.mpc.engine import own, program, table
from tests.mpc.test_prediction import agreed as agreed_prediction
from tests.mpc.test_prediction import made_up


class Kept(Unsigned):
    """What a party signed, stage by stage."""

    def __init__(self):
        self.own = []

    def sign(self, commitment):
        self.own.append(commitment)
        return super().sign(commitment)


class Recorded:
    """A run of which every party's part was recorded."""

    def __init__(self, agreed, act):
        world = agreed.world
        self.agreed, self.act = agreed, act
        self.seeds = [secrets.token_bytes(32) for _ in range(world)]
        self.signed = [Kept() for _ in range(world)]
        tapes = [io.BytesIO() for _ in range(world)]
        simulation = Simulation(agreed, seeds=[Secret(seed) for seed in self.seeds], tapes=tapes)

        def party(runtime):
            runtime.commitments._signer = self.signed[runtime.rank]
            return act(runtime)

        self.results = []
        with contextlib.suppress(PrivityError):  # of peers who noticed what one sent: what was recorded stays
            self.results = simulation.run(party)
        self.rounds = simulation.channels[0].counters.rounds
        self.sent = [channel.counters.bytes_sent for channel in simulation.channels]
        self.reels = [tape.getvalue() for tape in tapes]

    def again(self, rank, *, act=None, seed=None, reel=None, signer=None):
        """One party's part, alone; what it returns, its channel, and the bytes of the reel that are left."""
        left = io.BytesIO(self.reels[rank] if reel is None else reel)
        inner = Replayed(rank, self.agreed.world, left)
        channel = Chained(inner)
        link, entropy = ChainedLink(inner.link(), channel.sent), Entropy(Secret(seed or self.seeds[rank]))
        keys = agree(channel, link, DIGEST, 1, entropy)
        facts = ProgramLedger(self.agreed), self.agreed, DIGEST
        commitments = keys.commitments(channel, entropy, signer or Unsigned())
        with Runtime(channel, link, keys, *facts, commitments=commitments, entropy=entropy) as runtime:
            found = (act or self.act)(runtime)
        return found, inner, left.read()


def training(columns, **changes):
    agreed = program(columns, rows=9, max_iter=5, loss_every=2, label_owner=1, **changes)
    X, y = table(agreed, 1)
    return Recorded(agreed, lambda runtime: train(agreed, *own(agreed, runtime.rank, X, y), runtime))


RUNS = {
    "two": lambda: training([2, 1]),
    "three": lambda: training([1, 0, 2]),
    "newton": lambda: training([2, 1], solver=None),
    "mini-batches": lambda: training([2, 1], solver="sgd", batch_rows=3, learning_rate="0.1"),
}


@pytest.fixture(scope="module", params=RUNS)
def run(request):
    return RUNS[request.param]()


def test_an_honest_part_replays_equal(run):
    """Alone, each party sends the same frames, is told the same model, signs the same chains, and nothing is left."""
    for rank, was in enumerate(run.results):
        signer = Kept()
        fit, channel, left = run.again(rank, signer=signer)
        assert left == b""
        assert signer.own == run.signed[rank].own
        assert (channel.counters.rounds, channel.counters.bytes_sent) == (run.rounds, run.sent[rank])
        for mine, theirs in zip(fit.models, was.models, strict=True):
            assert (mine.coefficients == theirs.coefficients).all()
            assert (mine.intercept, mine.losses) == (theirs.intercept, theirs.losses)


def test_a_prediction_replays_equal():
    """What a party is told of new rows comes again, too."""
    agreed = agreed_prediction([1, 1])
    X, _, shares = made_up(agreed)

    def act(runtime):
        told = []
        block, share = X[:, agreed.held(runtime.rank)], shares[runtime.rank]
        predict(agreed, block, share, runtime, lambda _, probabilities: told.append(probabilities))
        return told

    recorded = Recorded(agreed, act)
    for rank, was in enumerate(recorded.results):
        told, _, left = recorded.again(rank)
        assert left == b""
        assert [each.tolist() for each in told] == [each.tolist() for each in was]


def test_other_rows_are_found_where_they_are_masked(run):
    """A table of which one entry is another: the frame with the masked table is the first that differs."""
    X, y = table(run.agreed, 1)
    rank = next(rank for rank in range(run.agreed.world) if run.agreed.held(rank))
    changed = X.copy()
    changed[0, run.agreed.held(rank)[0]] += 2.0**-12
    with pytest.raises(ReplayDiffers, match="'table'") as caught:
        run.again(rank, act=lambda runtime: train(run.agreed, *own(run.agreed, runtime.rank, changed, y), runtime))
    assert caught.value.round_number <= 4
    assert str(float(changed[0, 0])) not in str(caught.value)


def test_another_seed_is_found_at_once(run):
    """Keys of another seed are other words in the first round."""
    with pytest.raises(ReplayDiffers) as caught:
        run.again(0, seed=secrets.token_bytes(32))
    assert (caught.value.round_number, caught.value.name) == (1, "keys")


class OneOtherWord:
    """A party's channel that sends one word more than its code makes, once, to one peer."""

    def __init__(self, channel, name, peer):
        self._exchange, self._channel, self._name, self._peer = channel.exchange, channel, name, peer
        self.round_number = None

    def __call__(self, name, outgoing, expecting):
        if name == self._name and self.round_number is None:
            self.round_number = self._channel.counters.rounds + 1
            outgoing = {**outgoing, self._peer: outgoing[self._peer] + 1}
        return self._exchange(name, outgoing, expecting)


@pytest.mark.parametrize("name", ["table", "scores", "residuals", "disclosure"])
def test_one_other_word_is_found_by_round_and_name(name):
    """Whatever a modified party sent that its code does not make: its own replay says where, and to whom."""
    agreed = program([1, 1, 1], rows=9, max_iter=5, loss_every=2, label_owner=1)
    X, y = table(agreed, 1)
    liars = []

    def honest(runtime):
        return train(agreed, *own(agreed, runtime.rank, X, y), runtime)

    def act(runtime):
        if runtime.rank == 1:
            liars.append(OneOtherWord(runtime.channel, name, 2))
            runtime.channel.exchange = liars[0]
        return honest(runtime)

    recorded = Recorded(agreed, act)
    with contextlib.suppress(TranscriptsDiffer, ReplayEnded):  # as it ended then: no frame of an honest party differs
        recorded.again(0, act=honest)
    with pytest.raises(ReplayDiffers) as caught:
        recorded.again(1, act=honest)
    assert (caught.value.round_number, caught.value.name, caught.value.peer) == (liars[0].round_number, name, 2)


def test_a_message_to_the_dealer_is_held_to_as_well(run):
    """What was asked of the dealer, and what came, are of the part too."""
    reel = bytearray(run.reels[0])
    at = reel.index(b"to the dealer") + 32 + 8 + 3  # a byte of the first message's digest
    reel[at] ^= 1
    with pytest.raises(ReplayDiffers, match="to the dealer") as caught:
        run.again(0, reel=bytes(reel))
    assert caught.value.peer == DEALER


@pytest.mark.parametrize("part", [0, 1, 1000])
def test_a_recording_that_ends_early_is_said_to(run, part):
    """Cut anywhere, it is no equal run."""
    with pytest.raises(ReplayEnded):
        run.again(0, reel=run.reels[0][:part])


def test_the_tape_has_no_word_that_was_sent(run):
    """Of what a party sent itself the recording holds digests alone: shares and keys are not kept twice."""
    entropy = Entropy(Secret(run.seeds[0]))
    common = entropy.fresh("parties' key")
    assert common not in run.reels[0]
    assert any(common in reel for reel in run.reels[1:])


def test_a_seed_gives_each_secret_once():
    """Equal seeds give equal secrets in order, no two of which are the same; without a seed none come again."""
    first, second = (Entropy(Secret(b"s" * 32)) for _ in range(2))
    drawn = [first.fresh("a"), first.fresh("a"), first.fresh("b", 64)]
    assert drawn == [second.fresh("a"), second.fresh("a"), second.fresh("b", 64)]
    assert len(set(drawn)) == 3
    assert Entropy().fresh("a") != Entropy().fresh("a")
    assert repr(first) == "Entropy(redacted)"
