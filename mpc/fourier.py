"""Periodic functions of a secret score: coefficients, error bounds and evaluation, the same bits on every machine.

The sigmoid is made periodic by alternating kinks, f(z) = 1/2 + sum_j (-1)^j tanh((z - j L/2) / 2) / 2. It is odd about
1/2 and half-wave symmetric, so only odd sines remain, and the logistic density's transform gives them in closed form:

    beta_k = (4 pi / L) / sinh(2 pi^2 k / L),  k = 1, 3, ..., 2K - 1.

Within |z| <= L/2 - 10 the kinks beside it change f by less than exp(-10). Everything public that multiplies a share is
computed from decimal or integer arithmetic alone: a coefficient that differed in its last bit between two parties would
multiply a random share by an error. Cosine and sine of an angle are the product of those of its four bytes, those of
the next odd multiple their product with those of twice the angle, each rounded to TRIG_BITS: after K multiples they are
off by 6 K in the last place at most (`mpc.loops`).
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.int64]

MARGIN = 10  # of the range to either side that the neighbouring kinks spoil
COEFFICIENT_BITS = 40  # scale of coefficients in a program
TRIG_BITS = 30  # scale of public sines and cosines
TURN_BITS = 32  # angles are 32-bit fractions of a turn
_PI = Decimal("3.14159265358979323846264338327950288419716939937510")
_CONTEXT = Context(prec=40, rounding=ROUND_HALF_EVEN)
_LEVELS = 4  # tables of 256 entries, one a byte of the angle


def sigmoid_coefficients(period: int, harmonics: int) -> tuple[int, ...]:
    """Of the odd sines of sigmoid(z) - 1/2, at scale 2**COEFFICIENT_BITS."""
    return tuple(_scaled(beta) for beta in _betas(period, harmonics))


def softplus_coefficients(period: int, harmonics: int) -> tuple[int, tuple[int, ...]]:
    """The constant and the odd cosines of log(2 cosh(z / 2)), whose derivative is sigmoid(z) - 1/2.

    log(1 + exp(z)) is this plus z / 2.
    """
    with localcontext(_CONTEXT):
        waves = [
            beta * period / (2 * _PI * k) for k, beta in zip(_odd(harmonics), _betas(period, harmonics), strict=True)
        ]
        constant = Decimal(2).ln() + sum(waves)
    return _scaled(constant), tuple(-_scaled(wave) for wave in waves)


def density_coefficients(period: int, harmonics: int) -> tuple[int, ...]:
    """Of the odd cosines of p (1 - p), the sigmoid's derivative, at scale 2**COEFFICIENT_BITS."""
    with localcontext(_CONTEXT):
        return tuple(map(_scaled, _slopes(period, harmonics)))


def density_floor(period: int, harmonics: int) -> int:
    """No less than the cosines left out can take from p (1 - p), at scale 2**COEFFICIENT_BITS: added, it bounds it."""
    with localcontext(_CONTEXT):
        first, second = _slopes(period, harmonics + 2)[-2:]
        return _scaled(first / (1 - second / first))


def bound(period: int) -> int:
    """The greatest |z| that the period is made for."""
    return period // 2 - MARGIN


def sigmoid_error(period: int, harmonics: int) -> Decimal:
    """No more than this for |z| <= bound(period): the sines left out and the neighbouring kinks."""
    with localcontext(_CONTEXT):
        decay = (-4 * _PI * _PI / period).exp()  # from one odd harmonic to the next
        exponent = 2 * _PI * _PI * (2 * harmonics + 1) / period
        first = (8 * _PI / period) * (-exponent).exp() / (1 - (-2 * exponent).exp())  # the first one left out
        return first / (1 - decay) + 2 * (-Decimal(MARGIN)).exp()


def _odd(harmonics: int) -> range:
    return range(1, 2 * harmonics, 2)


@lru_cache(maxsize=64)  # a plan's derivation asks for the same ones dozens of times
def _betas(period: int, harmonics: int) -> tuple[Decimal, ...]:
    with localcontext(_CONTEXT):
        rate = 2 * _PI * _PI / period
        return tuple((8 * _PI / period) / ((rate * k).exp() - (-rate * k).exp()) for k in _odd(harmonics))


def _slopes(period: int, harmonics: int) -> list[Decimal]:
    with localcontext(_CONTEXT):
        betas = _betas(period, harmonics)
        return [beta * 2 * _PI * k / period for k, beta in zip(_odd(harmonics), betas, strict=True)]


def _scaled(value: Decimal) -> int:
    with localcontext(_CONTEXT):
        return int((value * (1 << COEFFICIENT_BITS)).to_integral_value())


@cache
def lowered(coefficients: tuple[int, ...], shift: int, units: tuple[int, ...] = (1,)) -> Words:
    """Coefficients times each unit, their scale lowered by `shift` bits. Shapes: -> (K, units)."""
    exact = [[coefficient * unit for unit in units] for coefficient in coefficients]
    found = [[each << -shift if shift <= 0 else (each + (1 << (shift - 1))) >> shift for each in row] for row in exact]
    return np.array(found, dtype=np.int64)


@cache
def unit_tables() -> tuple[Words, Words]:
    """Cosine and sine of each byte of an angle, by its place: (4, 256) each, scale 2**TRIG_BITS."""
    with localcontext(_CONTEXT):
        angles = [[Decimal(byte) / (1 << 8 * (level + 1)) for byte in range(256)] for level in range(_LEVELS)]
    pairs = np.array([[_cosine_and_sine(angle) for angle in row] for row in angles], dtype=np.int64)
    return np.ascontiguousarray(pairs[..., 0]), np.ascontiguousarray(pairs[..., 1])


def _cosine_and_sine(turn: Decimal) -> tuple[int, int]:
    """Taylor's series in decimals of 40 digits: no library's rounding is in it."""
    with localcontext(_CONTEXT):
        x = 2 * _PI * (turn if turn <= Decimal("0.5") else turn - 1)
        sums, term, power = [Decimal(0), Decimal(0)], Decimal(1), 0
        while abs(term) > Decimal("1e-30"):
            sums[power % 2] += term if power % 4 < 2 else -term
            power += 1
            term = term * x / power
        scale = 1 << TRIG_BITS
        return int((sums[0] * scale).to_integral_value()), int((sums[1] * scale).to_integral_value())
