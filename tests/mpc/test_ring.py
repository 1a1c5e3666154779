"""The ring against Python's integers, at its edges above all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.errors import RangeExceeded
from mpc.ring import decode, dot, encode, product, shifted, signed, top32
from tests.mpc.engine import EDGES, RING, edge_words, ring, seeds, some, uniform, unsigned

BITS = range(1, 64)
many = st.lists(edge_words, min_size=1, max_size=6)


@some
@given(many, st.sampled_from(BITS))
def test_shifts_are_of_unsigned_words(values, shift):
    """A shift to the right brings in zeros, whatever the top bit is."""
    assert unsigned(shifted(ring(values), shift)) == [value >> shift for value in values]


@some
@given(many, st.integers(32, 64))
def test_the_upper_bits_are_taken_modulo_a_power(values, bits):
    """The upper 32 of the low bits, whatever stands above them."""
    found = top32(ring(values), bits).view(np.uint32).tolist()
    assert found == [value % (1 << bits) >> (bits - 32) for value in values]


@given(st.integers(-(1 << 70), 1 << 70))
def test_integers_wrap_into_the_ring(value):
    """Any Python integer becomes the word that is congruent to it."""
    assert unsigned(np.array([signed(value)])) == [value % RING]


@some
@given(seeds, st.integers(0, 5), st.integers(0, 5))
def test_products_wrap(seed, m, d):
    """A product with words of the whole ring is the integers' product modulo 2**64; empty ones are zero."""
    generator = np.random.default_rng(seed)
    X, v = uniform(generator, (m, d)), uniform(generator, (d,))
    expected = [sum(a * b for a, b in zip(row, v.tolist(), strict=True)) % RING for row in X.tolist()]
    assert unsigned(product(X, v)) == expected
    assert unsigned(dot(v, v)) == [sum(a * a for a in v.tolist()) % RING]


@pytest.mark.parametrize("left", EDGES)
@pytest.mark.parametrize("right", EDGES)
def test_products_of_edges_wrap(left, right):
    """The ring's edges multiply as integers do."""
    assert unsigned(dot(ring([left]), ring([right]))) == [left * right % RING]


@some
@given(st.lists(st.floats(-(2.0**49), 2.0**49), max_size=6), st.integers(0, 13))
def test_numbers_survive_rounding(values, bits):
    """What is encoded and decoded differs by half a unit in the last place at most."""
    numbers = np.array(values)
    assert (np.abs(decode(encode(numbers, bits), bits) - numbers) <= 2.0 ** -(bits + 1)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0**50, -(2.0**50)])
def test_what_does_not_fit_is_refused(value):
    """A number that leaves the ring, or is none, is refused and not wrapped."""
    with pytest.raises(RangeExceeded):
        encode(np.array([0.0, value]), 13)
