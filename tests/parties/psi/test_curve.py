"""Commutative encryption by many threads is what one thread makes of it."""

from __future__ import annotations

import hashlib

import numpy as np

from parties.psi.curve import CHUNK, Cipher

ELEMENTS = [hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(8 * CHUNK)]


def test_threads_compute_what_one_does():
    """All chunks at once, over more threads than cores, and one after the other: the same points, hashed and raised."""
    cipher, parts = Cipher(8), range(0, len(ELEMENTS), CHUNK)
    try:
        points = cipher.encrypt(ELEMENTS)
        assert np.array_equal(points, np.concatenate([cipher.encrypt(ELEMENTS[at : at + CHUNK]) for at in parts]))
        raised = cipher.raise_points(points, "a")
        one_by_one = [cipher.raise_points(points[at : at + CHUNK], "a") for at in parts]
        assert np.array_equal(raised, np.concatenate(one_by_one))
    finally:
        cipher.close()


def test_encryption_commutes():
    """Whoever raises first, equal elements are equal points, and others are not."""
    one, other = Cipher(2), Cipher(2)
    try:
        there = other.raise_points(one.encrypt(ELEMENTS[:50]), "one")
        back = one.raise_points(other.encrypt(ELEMENTS[25:75]), "other")
        common = {point.tobytes() for point in there} & {point.tobytes() for point in back}
        assert len(common) == 25
        assert [point.tobytes() in common for point in there] == [False] * 25 + [True] * 25
    finally:
        one.close()
        other.close()
