"""Periodic functions: within their stated errors of the real ones, and the same bits on every machine.

The vectors are what `vectors()` returns. After a deliberate change of the protocol write them anew:
python -c "from tests.mpc.test_fourier import *; PATH.write_text(json.dumps(vectors(), indent=1) + chr(10))"
"""

import decimal
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.derivation import LADDER
from mpc.fourier import (
    COEFFICIENT_BITS,
    TRIG_BITS,
    bound,
    lowered,
    sigmoid_coefficients,
    sigmoid_error,
    softplus_coefficients,
    unit_tables,
)
from mpc.kernels import wave_sums
from tests.mpc.engine import some

PATH = Path(__file__).parent / "vectors" / "fourier.json"
ANGLES = (0, 1, (1 << 24) - 1, 1 << 24, 1 << 30, (1 << 31) - 1, 1 << 31, 0xDEADBEEF, (1 << 32) - 1)
angles = st.lists(st.one_of(st.sampled_from(ANGLES), st.integers(0, (1 << 32) - 1)), min_size=1, max_size=5)


def digest(*arrays):
    """Of arrays' numbers, written out."""
    return hashlib.sha256(json.dumps([array.tolist() for array in arrays]).encode()).hexdigest()


def turns(theta, harmonics):
    """The kernel's cosines and sines of odd multiples: masks of angle 0 show them one by one."""
    alone = np.eye(harmonics, dtype=np.int64)[:, :, None] << TRIG_BITS  # (K, K, 1): a coefficient of 1
    one, zero = (
        np.ones((harmonics, len(theta), 1), dtype=np.int64),
        np.zeros((harmonics, len(theta), 1), dtype=np.int64),
    )
    return [
        np.stack([wave_sums(np.array(theta)[:, None], each, one, zero, odd=odd)[:, 0] for each in alone])
        for odd in (False, True)
    ]


def vectors():
    """Everything public that multiplies a share, as this machine computes it."""
    theta = np.array(ANGLES, dtype=np.int64)
    cosines, sines = turns(theta, 128)
    one, zero = np.ones((32, len(theta), 1), dtype=np.int64), np.zeros((32, len(theta), 1), dtype=np.int64)
    coefficients = sigmoid_coefficients(128, 32)
    return {
        "rungs": [
            {
                "period": period,
                "sigmoid": [str(beta) for beta in sigmoid_coefficients(period, harmonics)],
                "softplus_constant": str(softplus_coefficients(period, harmonics)[0]),
                "softplus": [str(beta) for beta in softplus_coefficients(period, harmonics)[1]],
            }
            for period, harmonics in LADDER
        ],
        "unit_tables": digest(*unit_tables()),
        "turns": digest(cosines, sines),
        "first_turns": [cosines[:2].tolist(), sines[:2].tolist()],
        "waves": {
            str(shift): digest(wave_sums(theta[:, None], lowered(coefficients, shift), one, zero, odd=True))
            for shift in (8, 22, 40)
        },
    }


def exact_sigmoid(z):
    return 1 / (1 + np.exp(-z))


def series(coefficients, wave, z, period):
    """A series of odd multiples, in floating point."""
    odd = np.arange(1, 2 * len(coefficients), 2)
    return np.array(coefficients) @ wave(2 * np.pi / period * np.outer(odd, z)) / 2.0**COEFFICIENT_BITS


def test_numbers_that_multiply_shares_are_the_vectors():
    """Coefficients, tables, angles and waves are, bit by bit, those that every other machine computes."""
    assert vectors() == json.loads(PATH.read_text())


@pytest.mark.parametrize("rounding", [decimal.ROUND_UP, decimal.ROUND_DOWN, decimal.ROUND_HALF_UP])
def test_a_caller_s_decimal_context_changes_nothing(rounding):
    """Whoever calls with another precision or rounding gets the same integers."""
    unit_tables.cache_clear()
    with decimal.localcontext(decimal.Context(prec=5, rounding=rounding)):
        assert vectors() == json.loads(PATH.read_text())


@pytest.mark.parametrize(("period", "harmonics"), LADDER)
def test_the_sigmoid_is_within_its_stated_error(period, harmonics):
    """On the whole range of a rung, the series is the sigmoid within `sigmoid_error`; the ends are no exception."""
    z = np.linspace(-bound(period), bound(period), 20_001)
    error = np.abs(0.5 + series(sigmoid_coefficients(period, harmonics), np.sin, z, period) - exact_sigmoid(z)).max()
    assert error <= float(sigmoid_error(period, harmonics))
    assert float(sigmoid_error(period, harmonics)) < 5e-4


@pytest.mark.parametrize(("period", "harmonics"), LADDER)
def test_the_softplus_is_the_sigmoid_s_integral(period, harmonics):
    """log(1 + exp(z)) is met within the sigmoid's error times |z|, since the series agree at 0."""
    constant, coefficients = softplus_coefficients(period, harmonics)
    z = np.linspace(-bound(period), bound(period), 20_001)
    found = constant / 2.0**COEFFICIENT_BITS + series(coefficients, np.cos, z, period) + z / 2
    allowed = float(sigmoid_error(period, harmonics)) * np.abs(z) + harmonics * 2.0**-COEFFICIENT_BITS
    assert (np.abs(found - np.logaddexp(0, z)) <= allowed).all()


@some
@given(angles, st.integers(1, 128))
def test_turns_are_sines_and_cosines(theta, harmonics):
    """Of every odd multiple, within the error that `mpc.fourier` states."""
    cosines, sines = turns(theta, harmonics)
    # Multiples are reduced as integers first, so that the oracle has no error of its own.
    multiples = np.outer(np.arange(1, 2 * harmonics, 2), np.array(theta, dtype=object)) % (1 << 32)
    exact = 2 * np.pi / 2.0**32 * multiples.astype(np.float64)
    allowed = 6 * harmonics + 1
    assert np.abs(cosines - np.cos(exact) * 2.0**TRIG_BITS).max() <= allowed
    assert np.abs(sines - np.sin(exact) * 2.0**TRIG_BITS).max() <= allowed
