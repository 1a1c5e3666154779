"""Symmetric matrices by their upper halves: each word is opened, masked and dealt once."""

from __future__ import annotations

from math import isqrt

import numpy as np

from mpc.ring import Words


def packed_size(width: int) -> int:
    """Words of a symmetric matrix."""
    return width * (width + 1) // 2


def packed(matrix: Words) -> Words:
    """The upper half in a row. Shapes: (..., d, d) -> (..., d (d + 1) / 2)."""
    rows, columns = np.triu_indices(matrix.shape[-1])
    return np.ascontiguousarray(matrix[..., rows, columns])


def unpacked(words: Words) -> Words:
    """The symmetric matrix of an upper half. Shapes: (..., d (d + 1) / 2) -> (..., d, d)."""
    width = (isqrt(8 * words.shape[-1] + 1) - 1) // 2
    rows, columns = np.triu_indices(width)
    found = np.empty((*words.shape[:-1], width, width), dtype=np.int64)
    found[..., rows, columns] = found[..., columns, rows] = words
    return found
