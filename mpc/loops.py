"""What every slot computes, compiled: loops over ring words that read what they are given once.

Words are int64 and wrap; arrays are contiguous, and what is called `found` is filled. Nothing here looks at a value to
decide what to do next: time depends on sizes alone. `mpc.kernels` is how they are called.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpc.compiled import (
    FILLED,
    FILLED_HALVES,
    FILLED_STACK,
    FLAG,
    GIVEN,
    GIVEN_FLOATS,
    GIVEN_ROWS,
    NOTHING,
    PAIR,
    WORD,
    compiled,
)

Words = NDArray[np.int64]
Halves = NDArray[np.int32]
Floats = NDArray[np.float64]

TRIG_BITS = 30  # as in mpc.fourier: what is compiled holds the numbers of its own file alone
_HALF = 1 << (TRIG_BITS - 1)
_LEVELS = 4  # of unit tables
_TURN = (1 << 32) - 1
_BLOCK = 256  # entries whose sines are at hand at once


@compiled(FLAG, GIVEN, WORD, WORD, FILLED)
def truncated(opened: Words, window: int, shift: int, found: Words) -> bool:
    """(n,) -> (n,)."""
    below, half, limit = 0, np.int64(1) << (window - 1), np.uint64(1) << np.uint64(window)
    lowered = np.int64(1) << (window - 1 - shift)
    for i in range(opened.size):
        centred = np.uint64(opened[i] + half)
        below += int(centred < limit)
        found[i] = np.int64(centred >> np.uint64(shift)) - lowered
    return below > 0


@compiled(NOTHING, GIVEN, GIVEN, WORD, FILLED_HALVES)
def angles(z: Words, turn: Words, bits: int, found: Halves) -> None:
    """(n,), (n,) -> (n,)."""
    for i in range(z.size):
        found[i] = np.int32(np.uint64(z[i] - turn[i]) << np.uint64(64 - bits) >> np.uint64(32))


@compiled(NOTHING, GIVEN_ROWS, GIVEN_ROWS, GIVEN, GIVEN, GIVEN, GIVEN, FILLED)
def masked_product(X: Words, E: Words, own: Words, delta: Words, low: Words, dealt: Words, found: Words) -> None:
    """X (m, own), E (m, d), own (own,), delta and low (d,), dealt (m,) -> (m,)."""
    held = np.empty(len(own), np.int64)
    for j in range(len(own)):
        held[j] = delta[own[j]]
    for i in range(len(E)):
        total = -dealt[i]
        for j in range(X.shape[1]):
            total += X[i, j] * held[j]
        for j in range(E.shape[1]):
            total -= E[i, j] * low[j]
        found[i] = total


@compiled(NOTHING, GIVEN_ROWS, GIVEN, FILLED)
def _add_transposed(M: Words, v: Words, found: Words) -> None:
    """Two rows at a time, so that what is added up is fetched half as often."""
    last = len(M) - 1
    for i in range(0, last, 2):
        one, other = v[i], v[i + 1]
        for j in range(M.shape[1]):
            found[j] += M[i, j] * one + M[i + 1, j] * other
    if last % 2 == 0:
        for j in range(M.shape[1]):
            found[j] += M[last, j] * v[last]


@compiled(NOTHING, GIVEN_ROWS, GIVEN_ROWS, GIVEN, GIVEN, GIVEN, GIVEN, FILLED)
def masked_transposed(X: Words, E: Words, own: Words, delta: Words, low: Words, dealt: Words, found: Words) -> None:
    """X (m, own), E (m, d), own (own,), delta and low (m,), dealt (d,) -> (d,)."""
    held = np.zeros(len(own), np.int64)
    found[:] = 0
    _add_transposed(E, low, found)
    _add_transposed(X, delta, held)
    for j in range(len(found)):
        found[j] = -found[j] - dealt[j]
    for j in range(len(own)):
        found[own[j]] += held[j]


@compiled(PAIR, WORD, GIVEN_ROWS, GIVEN_ROWS)
def _unit(theta: int, cosines: Words, sines: Words) -> tuple[int, int]:
    """Cosine and sine of one angle, from those of its bytes."""
    a, b = cosines[0, theta >> 24], sines[0, theta >> 24]
    for level in range(1, _LEVELS):
        byte = (theta >> (24 - 8 * level)) & 0xFF
        c, d = cosines[level, byte], sines[level, byte]
        a, b = (a * c - b * d + _HALF) >> TRIG_BITS, (a * d + b * c + _HALF) >> TRIG_BITS
    return a, b


@compiled(NOTHING, GIVEN, GIVEN_ROWS, GIVEN_ROWS, GIVEN_ROWS, GIVEN_ROWS, GIVEN_ROWS, FLAG, FILLED)
def wave_sums(
    theta: Words,
    coefficients: Words,
    mask_cosines: Words,
    mask_sines: Words,
    unit_cosines: Words,
    unit_sines: Words,
    odd: bool,
    found: Words,
) -> None:
    """Angles theta (n,), coefficients (K, models), masks' tables (K, n or more), unit tables (4, 256) -> (n,)."""
    harmonics, models = coefficients.shape
    cosine, sine = np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.int64)
    step_cosine, step_sine = np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.int64)
    beta = np.empty(_BLOCK, np.int64)
    for start in range(0, theta.size, _BLOCK):
        size = min(_BLOCK, theta.size - start)
        total = found[start : start + size]
        for i in range(size):
            angle, total[i] = theta[start + i], 0
            cosine[i], sine[i] = _unit(angle, unit_cosines, unit_sines)
            step_cosine[i], step_sine[i] = _unit(2 * angle & _TURN, unit_cosines, unit_sines)
        for k in range(harmonics):
            for i in range(size):
                beta[i] = coefficients[k, 0 if models == 1 else (start + i) % models]
            dealt_cosine, dealt_sine = mask_cosines[k, start : start + size], mask_sines[k, start : start + size]
            if odd:
                for i in range(size):
                    with_cosine = (beta[i] * sine[i] + _HALF) >> TRIG_BITS
                    with_sine = (beta[i] * cosine[i] + _HALF) >> TRIG_BITS
                    total[i] += with_cosine * dealt_cosine[i] + with_sine * dealt_sine[i]
            else:
                for i in range(size):
                    with_cosine = (beta[i] * cosine[i] + _HALF) >> TRIG_BITS
                    with_sine = (beta[i] * sine[i] + _HALF) >> TRIG_BITS
                    total[i] += with_cosine * dealt_cosine[i] - with_sine * dealt_sine[i]
            for i in range(size):  # on to the next odd multiple
                a, b = cosine[i], sine[i]
                cosine[i] = (a * step_cosine[i] - b * step_sine[i] + _HALF) >> TRIG_BITS
                sine[i] = (a * step_sine[i] + b * step_cosine[i] + _HALF) >> TRIG_BITS


@compiled(NOTHING, GIVEN_FLOATS, GIVEN_FLOATS, WORD, FILLED_STACK, FILLED_STACK)
def mask_tables(cosines: Floats, sines: Floats, bits: int, found_cosines: Words, found_sines: Words) -> None:
    """(many, n) each -> (many, K, n) each."""
    scale = float(1 << bits)
    for place in range(len(cosines)):
        cosine, sine = cosines[place].copy(), sines[place].copy()
        for k in range(found_cosines.shape[1]):
            for i in range(cosine.size):
                a, b, c, d = cosine[i], sine[i], cosines[place, i], sines[place, i]
                found_cosines[place, k, i] = np.int64(np.rint(a * scale))
                found_sines[place, k, i] = np.int64(np.rint(b * scale))
                double_cosine, double_sine = c * c - d * d, 2 * c * d
                cosine[i] = a * double_cosine - b * double_sine
                sine[i] = a * double_sine + b * double_cosine
