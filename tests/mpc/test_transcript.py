"""The transcript: equal where all saw the same, different otherwise, keyed against the dealer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mpc.channel import MemoryChannel
from mpc.errors import ProtocolError
from mpc.transcript import Transcript
from tests.contracts.channel_suite import everyone

KEY, DIGEST = b"k" * 32, b"d" * 32
words = npst.arrays(np.int64, npst.array_shapes(max_dims=2, max_side=4))


def chain(*opened, key=KEY, digest=DIGEST):
    transcript = Transcript(key, digest)
    for each in opened:
        transcript.absorb(each)
    return transcript


@given(st.lists(words, max_size=3), st.lists(words, max_size=3))
def test_equal_chains_mean_equal_words(one, other):
    """Two chains agree exactly if the same words were opened in the same order and shapes."""
    same = [(a.shape, a.tolist()) for a in one] == [(a.shape, a.tolist()) for a in other]
    assert (chain(*one).digest() == chain(*other).digest()) == same


def test_the_chain_is_keyed_and_bound_to_the_contract():
    """Without the parties' key, or for another contract, the chain is another."""
    opened = np.arange(3)
    digests = {
        chain(opened).digest(),
        chain(opened, key=b"x" * 32).digest(),
        chain(opened, digest=b"x" * 32).digest(),
    }
    assert len(digests) == 3


def test_openings_and_words_are_counted():
    """The transcript says how much was opened."""
    transcript = chain(np.zeros(3), np.zeros((2, 2)))
    assert (transcript.openings, transcript.words) == (2, 7)


def test_a_party_that_told_different_things_is_found():
    """If one party saw other words, every pair with it notices, and its number is named."""

    def act(channel):
        transcript = chain(np.array([1, 2, 3 + (channel.rank == 2)]))
        with pytest.raises(ProtocolError, match="2" if channel.rank != 2 else "0, 1"):
            transcript.compare(channel)

    everyone(MemoryChannel.mesh(3), act)


def test_equal_transcripts_pass():
    """Parties that saw the same go on."""
    everyone(MemoryChannel.mesh(3), lambda channel: chain(np.arange(4)).compare(channel))
