"""Streams and secrets."""

import copy
import pickle  # noqa: TID251 - a secret must refuse it

import numpy as np
import pytest

from mpc.errors import MaskReuse
from mpc.randomness import Secret, Stream, Streams, SumStream


def test_the_stream_is_chacha20():
    """The keystream is that of RFC 8439, appendix A.1, test vector 1."""
    words = Stream(Secret(bytes(32))).words((8,))
    assert words.tobytes().hex().startswith("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7")


def test_a_stream_moves_forward():
    """No two draws of a stream give the same words."""
    stream = Stream(Secret(bytes(32)))
    assert not np.intersect1d(stream.words((1000,)), stream.words((1000,))).size


def test_slots_are_apart():
    """Slots of one key share no words, and equal slots are equal."""
    key = Secret(b"k" * 32)
    assert (Stream(key, 5).words((9,)) == Stream(key, 5).words((9,))).all()
    assert not np.intersect1d(Stream(key, 5).words((1000,)), Stream(key, 6).words((1000,))).size


def test_a_slot_is_opened_once():
    """A second use of a slot's randomness is refused."""
    streams = Streams(Secret(bytes(32)))
    streams.open(3)
    with pytest.raises(MaskReuse, match="slot 3"):
        streams.open(3)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3)])
def test_shapes_may_be_empty(shape):
    """Words come in any shape, empty ones too."""
    assert Stream(Secret(bytes(32))).words(shape).shape == shape


def test_all_words_of_the_ring_are_drawn():
    """Whole words are uniform: each of the 64 bits is set about half of the time."""
    words = Stream(Secret(b"u" * 32)).words((4096,)).view(np.uint64)
    share = [(words >> np.uint64(bit) & np.uint64(1)).mean() for bit in range(64)]
    assert max(abs(each - 0.5) for each in share) < 0.05  # 6 deviations


def test_bits_are_bounded():
    """A draw of k bits stays below 2**k and reaches its top."""
    words = Stream(Secret(bytes(32))).words((1000,), 3)
    assert set(words.tolist()) == set(range(8))


def test_a_sum_of_streams_adds_or_mixes():
    """Sums are of all streams, arithmetic or by exclusive or."""
    keys = [Secret(bytes([i]) * 32) for i in range(3)]
    parts = [Stream(key).words((5,)) for key in keys]
    assert (SumStream([Stream(key) for key in keys]).words((5,)) == sum(parts)).all()
    assert (SumStream([Stream(key) for key in keys]).words((5,), xor=True) == parts[0] ^ parts[1] ^ parts[2]).all()
    assert (SumStream([]).words((5,)) == 0).all()


def test_labels_give_unrelated_keys():
    """Keys derived for two purposes differ, and neither is the root."""
    root = Secret(b"r" * 32)
    derived = {root.reveal(), root.derive("a").reveal(), root.derive("b").reveal()}
    assert len(derived) == 3


def test_a_secret_is_kept():
    """A secret is not printed, compared, hashed, pickled or copied into another process."""
    secret = Secret(b"hush" * 8)
    assert "hush" not in f"{secret!r} {secret}"
    for act in (
        lambda: secret == Secret(b"hush" * 8),
        lambda: hash(secret),
        lambda: pickle.dumps(secret),
        lambda: copy.deepcopy(secret),
    ):
        with pytest.raises(TypeError):
            act()
