"""Products on a device: bit by bit those of the CPU, by limbs and by entries, whatever the shape."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mpc import device, ring
from mpc.device import Matrix, product, resolved
from mpc.errors import EngineError
from mpc.products import HOST, OnDevice, products
from tests.mpc.engine import seeds, some
from tests.mpc.test_kernels import words

FOUND = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not FOUND, reason="this machine has no CUDA device")
sizes = st.integers(1, 9)


def everywhere(there):
    """The table's products at this process's side and on a device."""

    def made(m, held, d, seed):
        chosen = np.random.default_rng(seed).permutation(d)[:held].astype(np.int64)
        X, E = words(seed, m, len(chosen)), words(seed + 1, m, d)
        placed = Matrix(X, there), Matrix(E, there)
        return products(X, E, chosen, HOST), OnDevice(X, E, chosen, placed)

    return made


def same(made, m, held, d, e, seed):
    """Whether both give the same words, of all rows and of some."""
    here, there = made(m, min(held, d), d, seed)
    for rows in (slice(None), slice(m // 3, m), np.arange(m - 1, -1, -2, dtype=np.int64)):
        one, other = here.some(rows), there.some(rows)
        count = len(one.E)
        into = words(seed + 2, d, e), words(seed + 3, d, e), words(seed + 4, count, e)
        back = words(seed + 5, count, e), words(seed + 6, count, e), words(seed + 7, d, e)
        assert (one.product(*into) == other.product(*into)).all()
        assert (one.transposed(*back) == other.transposed(*back)).all()
    assert (here.between(here.E.T, here.E) == there.between(here.E.T, here.E)).all()


@some
@given(sizes, st.integers(0, 9), sizes, st.integers(1, 4), seeds)
def test_a_device_s_products_are_the_host_s(m, held, d, e, seed):
    """The code that runs on a GPU gives the same words where it runs on the CPU."""
    same(everywhere(HOST), m, held, d, e, seed)


@some
@given(sizes, sizes, st.integers(1, 4), seeds)
def test_limbs_are_exact(m, n, e, seed):
    """Products of words of all 64 bits wrap as the ring does: nothing is lost in floating point."""
    X, Y = words(seed, m, n), words(seed + 1, n, e)
    found = product(torch.from_numpy(X), torch.from_numpy(Y)).numpy()
    assert (found == ring.product(X, Y)).all()


@pytest.mark.parametrize("e", [1, 2])
def test_limbs_are_exact_where_sums_are_longest(e):
    """The largest words, in as many terms as are added up at once and a few more."""
    X, Y = np.full((3, device.MOST_TERMS + 5), -1, dtype=np.int64), np.full((device.MOST_TERMS + 5, e), -1)
    found = product(torch.from_numpy(X), torch.from_numpy(Y)).numpy()
    assert (found == device.MOST_TERMS + 5).all()
    assert device.MOST_TERMS * ((1 << device.LIMB_BITS) - 1) ** 2 < 1 << device.EXACT_BITS


def test_a_wide_matrix_goes_in_pieces():
    """Pieces cover it once, whatever their size."""
    X, Y = words(1, 37, 23), words(2, 23, 2)
    for at_once in (1, 7, 64, 10_000):
        assert (product(torch.from_numpy(X), torch.from_numpy(Y), at_once).numpy() == ring.product(X, Y)).all()


def test_settings_are_resolved():
    """What a setting stands for here; a GPU that is asked for and missing is a clear error."""
    assert resolved("cpu").type == "cpu"
    assert resolved("auto").type == ("cuda" if FOUND else "cpu")
    if not FOUND:
        with pytest.raises(EngineError, match=r'asks for CUDA.*device = "auto"') as caught:
            resolved("cuda")
        assert "torch" not in caught.value.outward


@pytest.mark.gpu
@needs_gpu
@some
@given(st.integers(1, 300), st.integers(0, 40), st.integers(1, 60), st.integers(1, 4), seeds)
def test_a_gpu_s_products_are_the_host_s(m, held, d, e, seed):
    """The same words come from the GPU."""
    same(everywhere(torch.device("cuda")), m, held, d, e, seed)
