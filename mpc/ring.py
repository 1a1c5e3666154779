"""Z_2^64 in int64 words, and fixed-point numbers in it. Only this module knows the modulus.

Opened words and masks are unsigned: shifts and comparisons go through unsigned views, because an arithmetic shift of a
word above 2**63 is wrong with small probability and in silence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpc.errors import RangeExceeded

WORD_BITS = 64
_SMALL = 1 << 16  # entries of a matrix
Words = NDArray[np.int64]


def encode(values: NDArray[np.float64], bits: int) -> Words:
    """Round to scale 2**bits. Raises: RangeExceeded for a value that is not finite or leaves the ring."""
    scaled = np.ldexp(values, bits)
    np.rint(scaled, out=scaled)
    most = 2.0 ** (WORD_BITS - 1)
    if scaled.size and not (scaled.min() > -most and scaled.max() < most):  # neither holds for what is no number
        raise RangeExceeded(f"a value does not fit the ring at {bits} fractional bits", action="clip the column")
    return scaled.astype(np.int64)


def decode(words: Words, bits: int) -> NDArray[np.float64]:
    """The numbers that words at scale 2**bits stand for."""
    return np.ldexp(words.astype(np.float64), -bits)


def shifted(words: Words, shift: int) -> Words:
    """Logical shift to the right: the words are unsigned."""
    return (words.view(np.uint64) >> np.uint64(shift)).view(np.int64)


def top32(words: Words, bits: int) -> NDArray[np.int32]:
    """The upper 32 of the low `bits` bits: a word modulo 2**bits without its lowest bits."""
    cleared = words.view(np.uint64) << np.uint64(WORD_BITS - bits)
    return (cleared >> np.uint64(WORD_BITS - 32)).astype(np.uint32).view(np.int32)


def signed(value: int) -> np.int64:
    """A public integer as a ring word."""
    reduced = value % (1 << WORD_BITS)
    return np.int64(reduced - (1 << WORD_BITS) if reduced >> (WORD_BITS - 1) else reduced)


def product(X: Words, v: Words) -> Words:
    """X v modulo 2**64. Shapes: X (m, d), v (d,) -> (m,), or v (d, e) -> (m, e), or stacks of both.

    Integer products wrap, as the ring does. Between matrices torch's blocked product is ten times as fast as NumPy's,
    and it takes transposed ones as they lie; NumPy's calls cost less, which counts where a matrix is small.
    """
    if X.ndim > 2:
        return np.stack([product(one, other) for one, other in zip(X, v, strict=True)])
    if v.ndim > 1 and v.shape[1] == 1:
        return product(X, v[:, 0])[:, None]
    if v.ndim == 1 and X.size < _SMALL:
        return np.asarray(X @ v if X.flags.c_contiguous else v @ X.T, dtype=np.int64)
    import torch

    found: Words = torch.from_numpy(X).matmul(torch.from_numpy(v)).numpy()
    return found


def dot(v: Words, w: Words) -> Words:
    """Inner products modulo 2**64. Shapes: v (d,), w (d,) -> (1,), or w (d, e) -> (e,)."""
    return product(v[None, :], w).reshape(-1)
