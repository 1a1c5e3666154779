"""The compiled loops, for arrays of any shape: each kernel is one call where NumPy would need a dozen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpc import loops
from mpc.fourier import unit_tables
from mpc.ring import Words

Floats = NDArray[np.float64]


def truncated(opened: Words, window: int, shift: int) -> tuple[Words, bool]:
    """C = opened + 2**(window - 1) without its low bits, less that half; and whether any c is below 2**window.

    Shapes: any -> the same. Requires: 1 <= shift < window < 64. Words are unsigned.
    """
    found = np.empty(opened.shape, np.int64)
    return found, loops.truncated(opened.reshape(-1), window, shift, found.reshape(-1))


def angles(z: Words, turn: Words, bits: int) -> NDArray[np.int32]:
    """The upper 32 of the low `bits` bits of z - turn. Shapes: any, the same -> the same."""
    found = np.empty(z.shape, np.int32)
    loops.angles(z.reshape(-1), turn.reshape(-1), bits, found.reshape(-1))
    return found


def masked_product(X: Words, E: Words, own: Words, delta: Words, low: Words, dealt: Words) -> Words:
    """X delta[own] - E low - dealt. Shapes: X (m, own), E (m, d), delta and low (d, 1), dealt (m, 1) -> (m, 1)."""
    found = np.empty(dealt.shape, np.int64)
    loops.masked_product(X, E, own, delta.reshape(-1), low.reshape(-1), dealt.reshape(-1), found.reshape(-1))
    return found


def masked_transposed(X: Words, E: Words, own: Words, delta: Words, low: Words, dealt: Words) -> Words:
    """X^T delta, added at own columns, - E^T low - dealt. Shapes: delta and low (m, 1), dealt (d, 1) -> (d, 1)."""
    found = np.empty(dealt.shape, np.int64)
    loops.masked_transposed(X, E, own, delta.reshape(-1), low.reshape(-1), dealt.reshape(-1), found.reshape(-1))
    return found


def wave_sums(theta: Words, coefficients: Words, cosines: Words, sines: Words, *, odd: bool) -> Words:
    """Sum over k = 1, 3, ... of coefficient * sin k(theta + phi) if odd, else of cosines, for shared cos and sin k phi.

    Shapes: theta (m, models) in 0 .. 2**32 - 1, coefficients (K, models or 1), below 2**32; cosines and sines of masks
    (K, m or more rows, models) -> (m, models).
    Public factors are those of `mpc.fourier`, rounded: the same bits on every machine.
    """
    found, harmonics = np.empty(theta.shape, np.int64), len(coefficients)
    dealt = cosines.reshape(harmonics, -1), sines.reshape(harmonics, -1)
    loops.wave_sums(theta.reshape(-1), coefficients, *dealt, *unit_tables(), odd, found.reshape(-1))
    return found


def mask_tables(angle: Floats, harmonics: int, bits: int) -> tuple[Words, Words]:
    """Cosines and sines of an angle's odd multiples, rounded to scale 2**bits; the dealer's.

    Shapes: (many, n) -> (many, K, n) each. Floating point does: one machine computes them. Error: 1e-6 and rounding.
    """
    many, n = angle.shape
    cosines, sines = np.empty((2, many, harmonics, n), np.int64)
    loops.mask_tables(np.cos(angle), np.sin(angle), bits, cosines, sines)
    return cosines, sines
