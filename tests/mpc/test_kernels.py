"""The compiled kernels against Python's integers, bit by bit, for any shape and any words."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc import fourier, kernels, loops
from mpc.ring import top32
from tests.mpc.engine import EDGES, RING, centred, edge_words, ring, seeds, some, uniform, unsigned

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
ROUND = 1 << (fourier.TRIG_BITS - 1)


def words(seed, *shape):
    """Words of the whole ring, some of them at its edges."""
    generator = np.random.default_rng(seed)
    found, edges = uniform(generator, shape), ring(EDGES)
    chosen = generator.random(shape) < 0.2
    found[chosen] = generator.choice(edges, int(chosen.sum()))
    return found


def exact(matrix):
    """As Python's integers, which do not wrap."""
    return matrix.astype(object)


@some
@given(st.data(), shapes, seeds)
def test_a_truncation_is_of_unsigned_words(data, shape, seed):
    """The shifted word less the shifted half, and whether any fell below the window."""
    window = data.draw(st.integers(2, 63))
    shift = data.draw(st.integers(1, window - 1))
    opened = words(seed, *shape)
    found, below = kernels.truncated(opened, window, shift)
    lifted = [(word + (1 << (window - 1))) % RING for word in unsigned(opened)]
    assert found.shape == shape
    assert unsigned(found) == [((word >> shift) - (1 << (window - 1 - shift))) % RING for word in lifted]
    assert below == any(word < 1 << window for word in lifted)


@pytest.mark.parametrize("window", range(2, 64))
def test_the_border_of_a_rejection_is_exact(window):
    """2**k - 1 lies below 2**k; 2**k and the ring's top do not."""
    half = 1 << (window - 1)
    assert kernels.truncated(ring([(1 << window) - 1 - half]), window, 1)[1]
    assert not kernels.truncated(ring([(1 << window) - half, RING - 1 - half]), window, 1)[1]


@some
@given(st.lists(st.tuples(edge_words, edge_words), min_size=1, max_size=6), st.integers(32, 63))
def test_angles_are_the_upper_bits_of_a_difference(pairs, bits):
    """Whatever stands above them, and a difference below zero wraps."""
    z, turn = (ring(column) for column in zip(*pairs, strict=True))
    found = kernels.angles(z[:, None], turn[:, None], bits)
    assert found.view(np.uint32)[:, 0].tolist() == [(a - b) % (1 << bits) >> (bits - 32) for a, b in pairs]
    assert (found[:, 0] == top32(z - turn, bits)).all()


@some
@given(st.integers(1, 9), st.integers(0, 5), st.integers(1, 7), seeds, st.data())
def test_masked_products_are_the_ring_s(m, held, d, seed, data):
    """Both ways through the table, for own columns that stand anywhere in it, an odd number of rows or none."""
    held = min(held, d)
    own = np.array(data.draw(st.permutations(range(d)))[:held], dtype=np.int64)
    X, E, w_delta, w_low, dealt = (
        words(seed + i, *s) for i, s in enumerate([(m, held), (m, d), (d, 1), (d, 1), (m, 1)])
    )
    found = kernels.masked_product(X, E, own, w_delta, w_low, dealt)
    expected = (
        exact(X) @ exact(w_delta)[own] - exact(E) @ exact(w_low) - exact(dealt)
        if held
        else -(exact(E) @ exact(w_low) + exact(dealt))
    )
    assert found.shape == (m, 1)
    assert (found == ring(expected)).all()
    r_delta, r_low, back = words(seed + 7, m, 1), words(seed + 8, m, 1), words(seed + 9, d, 1)
    turned = -(exact(E).T @ exact(r_low)) - exact(back)
    if held:
        turned[own] += exact(X).T @ exact(r_delta)
    assert (kernels.masked_transposed(X, E, own, r_delta, r_low, back) == ring(turned)).all()


def unit(theta):
    """Cosine and sine as the protocol defines them, in Python's integers."""
    cosines, sines = (exact(table) for table in fourier.unit_tables())
    a, b = 1 << fourier.TRIG_BITS, 0
    for level in range(4):
        byte = theta >> (24 - 8 * level) & 0xFF
        a, b = (
            turned((a, b), (cosines[level][byte], sines[level][byte]))
            if level
            else (cosines[level][byte], sines[level][byte])
        )
    return a, b


def turned(one, other):
    (a, b), (c, d) = one, other
    return (a * c - b * d + ROUND) >> fourier.TRIG_BITS, (a * d + b * c + ROUND) >> fourier.TRIG_BITS


@some
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 6), st.booleans(), st.booleans(), seeds)
def test_wave_sums_are_the_protocol_s_integers(rows, models, harmonics, odd, many, seed):
    """Each harmonic's coefficient times the rounded sine, times the mask's share: what Python's integers say.

    Tables of a last strip have more rows than there are angles; a block of the loop ends anywhere.
    """
    generator, rows = np.random.default_rng(seed), rows + 127 * many
    theta = generator.integers(0, 1 << 32, (rows, models))
    theta.flat[: len(EDGES)] = np.array([edge % (1 << 32) for edge in EDGES])[: theta.size]
    lowered = generator.integers(-(1 << 32) + 1, 1 << 32, (harmonics, models if many else 1))
    cosines, sines = words(seed, harmonics, rows + 2, models), words(seed + 1, harmonics, rows + 2, models)
    found = kernels.wave_sums(theta, lowered, cosines, sines, odd=odd)
    for row, model in {(0, 0), (rows - 1, models - 1), (rows // 2, 0)}:
        angle, total = int(theta[row, model]), 0
        here, step = unit(angle), unit(2 * angle % (1 << 32))
        for k in range(harmonics):
            beta = int(lowered[k, model % lowered.shape[1]])
            with_cosine, with_sine = ((beta * each + ROUND) >> fourier.TRIG_BITS for each in (here[odd], here[1 - odd]))
            sign = 1 if odd else -1
            total += with_cosine * int(cosines[k, row, model]) + sign * with_sine * int(sines[k, row, model])
            here = turned(here, step)
        assert centred(found[row, model]) == centred(ring([total]))


def test_loops_hold_the_protocol_s_scale():
    """What is compiled has numbers of its own, lest a kept copy outlive a change elsewhere."""
    assert loops.TRIG_BITS == fourier.TRIG_BITS


def test_nothing_is_compiled_while_a_session_runs():
    """Each loop has its one signature and takes no other."""
    compiled = [each for each in vars(loops).values() if hasattr(each, "signatures")]
    assert len(compiled) >= 6
    assert all(len(each.signatures) == 1 for each in compiled)
    with pytest.raises(TypeError):
        loops.truncated(np.zeros(3, dtype=np.float64), 20, 3, np.zeros(3, dtype=np.int64))


def test_kernels_need_no_place_to_be_kept(tmp_path):
    """Where nothing can be written, or the place is another's, kernels are compiled anew and do the same."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    code = (
        "import numba; numba.config.CACHE_LOCATOR_CLASSES = 'UserProvidedCacheLocator'\n"
        f"numba.config.CACHE_DIR = {str(blocked)!r}\n"
        "import numpy as np; from mpc import kernels\n"
        "print(kernels.truncated(np.array([1 << 40]), 30, 8)[0][0])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str((1 << 32) + (1 << 21) - (1 << 21))
    assert blocked.read_text() == ""
