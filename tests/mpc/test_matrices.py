"""Products and roundings of shared matrices, with masks at the ring's edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mpc.matrices import shared_product
from mpc.openings import Masked, Slot
from mpc.ring import product, shifted
from mpc.shares import shared
from mpc.shares import words as share_words
from mpc.simulation import Simulation
from mpc.symmetric import packed, packed_size, unpacked
from tests.contracts.played import opened, quiet_program, share_of, words
from tests.mpc.engine import edge_words, joined, kernel, ring, seeds, some, split, worlds

EDGES = (0, 1, -1, (1 << 63) - 1, -(1 << 63), (1 << 62) - 1, 1 << 62, -(1 << 62))
RING = arrays(
    np.int64, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.integers(-(1 << 63), (1 << 63) - 1)
)


def wrapped(number):
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


@given(RING, st.data())
@settings(max_examples=60)
def test_a_ring_product_is_the_integers_product_modulo_the_ring(X, data):
    """Matrix and vector products agree with Python's integers, whatever wraps."""
    Y = data.draw(arrays(np.int64, (X.shape[1], 3), elements=st.integers(-(1 << 63), (1 << 63) - 1)))
    exact = [[wrapped(sum(int(a) * int(b) for a, b in zip(row, col, strict=True))) for col in Y.T] for row in X]
    assert product(X, Y).tolist() == exact
    assert product(X, np.ascontiguousarray(Y[:, 0])).tolist() == [row[0] for row in exact]


def test_a_long_ring_product_wraps_exactly():
    """Blocked products of many terms are exact too: no intermediate leaves the ring."""
    generator = np.random.default_rng(1)
    X, Y = words(generator, (7, 5000)), words(generator, (5000, 6))
    expected = np.array([[np.sum(row * column) for column in Y.T] for row in X])
    assert (product(X, Y) == expected).all()


@pytest.mark.parametrize("width", [1, 2, 7, 31])
def test_a_symmetric_matrix_is_its_upper_half(width):
    """Packing loses nothing of a symmetric matrix and halves its words."""
    matrix = words(np.random.default_rng(width), (width, width))
    matrix = matrix + matrix.T
    assert packed(matrix).shape == (packed_size(width),)
    assert (unpacked(packed(matrix)) == matrix).all()


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("columns", [None, 4])
def test_a_shared_product_is_exact(world, columns):
    """From two opened factors each party gets its share of their product, and nothing is sent."""
    shape = (5,) if columns is None else (5, columns)

    def party(runtime):
        generator = np.random.default_rng(3)
        P, Q, b, c = (words(generator, each) for each in ((6, 5), shape, (6, 5), shape))
        one, other, rests = (share_of(each, generator, runtime.rank, world) for each in (b, c, product(b, c)))
        rounds = runtime.channel.counters.rounds
        found = shared_product(Masked(P - b, one), Masked(Q - c, other), rests)
        assert runtime.channel.counters.rounds == rounds
        return opened(share_words(found)) - product(P, Q)

    for difference in Simulation(quiet_program(world)).run(party):
        assert not difference.any()


@st.composite
def factors(draw):
    """P and Q, at the ring's edges and anywhere, and what hides each: matrices, or stacks of them, or Q a vector."""
    d, e, f, models = (draw(st.integers(1, 4)) for _ in range(4))
    shapes = draw(st.sampled_from([((d, e), (e, f)), ((d, e), (e,)), ((models, d, e), (models, e, f))]))
    return [ring(draw(arrays(object, shape, elements=edge_words))) for shape in (*shapes, *shapes)]


@some
@given(worlds, factors(), seeds)
def test_a_shared_product_is_the_integers(world, drawn, seed):
    """Of any number of parties, shapes, words and masks: the shares' sum is the integers' product modulo 2**64."""
    P, Q, b, c = drawn
    generator = np.random.default_rng(seed)
    one, other, rests = (split(generator, world, each) for each in (b, c, product(b, c)))

    def act(rank):
        return share_words(shared_product(Masked(P - b, one[rank]), Masked(Q - c, other[rank]), rests[rank]))

    shares, channels = kernel(world, act)
    expected = np.matmul(P.astype(object), Q.astype(object))
    assert joined(shares).tolist() == np.vectorize(wrapped, otypes=[object])(expected).tolist()
    assert not any(channel.counters.rounds for channel in channels)


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("shift", [1, 20, 61])
def test_rounding_is_never_rejected_and_right_at_the_edges(world, shift):
    """Whatever the mask, a value below 2**62 is shifted to one of its two neighbours."""
    values = np.array([0, 1, -1, (1 << 62) - 1, 1 - (1 << 62), 12345 << 40, -(98765 << 33)], dtype=np.int64)
    x, masks = (each.reshape(-1) for each in np.meshgrid(values, np.array(EDGES, dtype=np.int64)))
    x, masks = np.tile(x, 2), np.concatenate([masks, words(np.random.default_rng(5), masks.shape)])

    def party(runtime):
        generator = np.random.default_rng(6)
        top = (masks < 0).astype(np.int64)
        parts = [share_of(each, generator, runtime.rank, world) for each in (x, masks, shifted(masks, shift), top)]
        return opened(share_words(Slot().rounded("test", shared(parts[0]), *parts[1:], shift)))

    for result in Simulation(quiet_program(world)).run(party):
        assert set((result - (x >> shift)).tolist()) <= {0, 1}


def test_rounding_is_unbiased():
    """Over many masks the mean of what is rounded is the value itself."""
    count, shift, value = 40_000, 10, 300
    masks = words(np.random.default_rng(7), (count,))

    def party(runtime):
        generator = np.random.default_rng(8)
        x = np.full(count, value, dtype=np.int64)
        top = (masks < 0).astype(np.int64)
        parts = [share_of(each, generator, runtime.rank, 2) for each in (x, masks, shifted(masks, shift), top)]
        return opened(share_words(Slot().rounded("test", shared(parts[0]), *parts[1:], shift)))

    for result in Simulation(quiet_program(2)).run(party):
        assert abs(result.mean() - value / (1 << shift)) < 5 * 0.5 / np.sqrt(count)


def test_a_void_slot_sends_as_much_and_nothing_of_the_value():
    """Whole and rounded openings of a void slot are random words of the same sizes."""
    x = np.arange(1000, dtype=np.int64)
    zero = np.zeros_like(x)

    def party(runtime):
        sent = []
        for void in (False, True):
            before = runtime.channel.counters.bytes_sent
            whole = Slot(void=void).whole("test", shared(x), zero).public
            share_words(Slot(void=void).rounded("test", shared(x), zero, zero, zero, 3))
            sent.append((runtime.channel.counters.bytes_sent - before, whole))
        return sent

    for (real, plain), (drained, drawn) in Simulation(quiet_program(2)).run(party):
        assert real == drained
        assert (plain == 2 * x).all()
        assert np.unique(drawn).size == x.size
        assert not np.isin(drawn, plain).any()
