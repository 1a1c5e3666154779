"""Commutative encryption by many threads is what one thread makes of it."""

from __future__ import annotations

import hashlib

import numpy as np

from mpc.randomness import Entropy, Secret
from parties.psi.curve import CHUNK, ORDER, Cipher

ELEMENTS = [hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(8 * CHUNK)]


def test_threads_compute_what_one_does():
    """All chunks at once, over more threads than cores, and one after the other: the same points, hashed and raised."""
    cipher, parts = Cipher(8, Entropy()), range(0, len(ELEMENTS), CHUNK)
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
    one, other = Cipher(2, Entropy()), Cipher(2, Entropy())
    try:
        there = other.raise_points(one.encrypt(ELEMENTS[:50]), "one")
        back = one.raise_points(other.encrypt(ELEMENTS[25:75]), "other")
        common = {point.tobytes() for point in there} & {point.tobytes() for point in back}
        assert len(common) == 25
        assert [point.tobytes() in common for point in there] == [False] * 25 + [True] * 25
    finally:
        one.close()
        other.close()


class Drawn(Entropy):
    """Gives these numbers, one after the other."""

    def __init__(self, *numbers: int) -> None:
        super().__init__()
        self.left = list(numbers)

    def fresh(self, purpose: str, count: int = 32) -> bytes:
        return self.left.pop(0).to_bytes(count, "big")


def encrypted(entropy: Entropy) -> list[bytes]:
    cipher = Cipher(1, entropy)
    try:
        return [point.tobytes() for point in cipher.encrypt(ELEMENTS[:3])]
    finally:
        cipher.close()


def test_an_exponent_follows_from_the_seed():
    """From one seed the same points come again; from another, and from the system, others."""
    seeds = [bytes([number]) * 32 for number in (1, 1, 2)]
    one, again, other = (encrypted(Entropy(Secret(seed))) for seed in seeds)
    assert one == again
    assert len({*one, *other, *encrypted(Entropy()), *encrypted(Entropy())}) == 12


def test_what_is_no_exponent_is_drawn_again():
    """Zero, the group's order and what is above it are none; the number before the order is the last that is one."""
    entropy = Drawn(0, ORDER, ORDER + 5, ORDER - 1, 7)
    last = encrypted(entropy)
    assert entropy.left == [7]
    # To the power of -1 a point is its mirror image: of a compressed one another sign, and the same coordinate.
    mirrored = encrypted(Drawn(1))
    assert [point[1:] for point in last] == [point[1:] for point in mirrored]
    assert [point[0] for point in last] == [5 - point[0] for point in mirrored]
