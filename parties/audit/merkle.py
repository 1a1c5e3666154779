"""The Merkle tree of RFC 6962 (hashing unchanged in RFC 9162): roots, proofs, and their checks.

A leaf *completes* every subtree of which it is the last leaf. Whoever keeps, with each leaf, the hashes that it
completed can look up any complete subtree, and so continue the tree or prove anything in it from O(log n) look-ups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

Subtrees = Callable[[int, int], bytes]  # (last leaf's index, level): the hash of the 2**level leaves that end there


def leaf_hash(content: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _fold(peaks: Sequence[bytes]) -> bytes:
    """The root over complete subtrees, widest first."""
    if not peaks:
        return EMPTY_ROOT
    *rest, root = peaks
    for peak in reversed(rest):
        root = node_hash(peak, root)
    return root


def _peak_ends(size: int) -> Iterable[tuple[int, int]]:
    """Last leaf and level of each complete subtree of the first `size` leaves, widest first."""
    end = 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            end += 1 << level
            yield end - 1, level


class Frontier:
    """The right edge of a growing tree: all that is needed to append and to know the root."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        self.size = size
        self._peaks = list(peaks)

    @classmethod
    def at(cls, size: int, subtrees: Subtrees) -> Frontier:
        """The frontier of the first `size` leaves."""
        return cls(size, [subtrees(last, level) for last, level in _peak_ends(size)])

    def append(self, leaf: bytes) -> list[bytes]:
        """Add a leaf's hash; returns the hashes of the subtrees that it completes, its own first."""
        completed = [leaf]
        while self.size >> (len(completed) - 1) & 1:
            completed.append(node_hash(self._peaks.pop(), completed[-1]))
        self._peaks.append(completed[-1])
        self.size += 1
        return completed

    def root(self) -> bytes:
        return _fold(self._peaks)

    def copy(self) -> Frontier:
        return Frontier(self.size, self._peaks)


def inclusion_proof(index: int, size: int, subtrees: Subtrees) -> list[bytes]:
    """Shows that leaf `index` is in the tree of the first `size` leaves; hashes from leaf to root.

    Raises: ValueError unless 0 <= index < size.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    proof, start, stop = [], 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            proof.append(_range_root(middle, stop, subtrees))
            stop = middle
        else:
            proof.append(_range_root(start, middle, subtrees))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, subtrees: Subtrees) -> list[bytes]:
    """Shows that the tree of `new` leaves begins with the tree of `old` leaves; empty if they are the same.

    Raises: ValueError unless 0 < old <= new.
    """
    if not 0 < old <= new:
        raise ValueError(f"a tree of {new} leaves does not grow out of one of {old}")
    proof, start, stop = [], 0, new
    while old != stop:
        middle = start + _split(stop - start)
        if old <= middle:
            proof.append(_range_root(middle, stop, subtrees))
            stop = middle
        else:
            proof.append(_range_root(start, middle, subtrees))
            start = middle
    if start:  # else the old root itself is what the verifier begins with
        proof.append(_range_root(start, stop, subtrees))
    return proof[::-1]


def includes(root: bytes, size: int, leaf: bytes, index: int, proof: Sequence[bytes]) -> bool:
    """Whether the proof leads from the leaf's hash at this index to the root of a tree of this size."""
    if not 0 <= index < size:
        return False
    node, last, at = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False  # longer than the tree is high
        if node & 1 or node == last:
            at = node_hash(sibling, at)
            while not node & 1 and node:  # levels on which the right edge has no sibling
                node, last = node >> 1, last >> 1
        else:
            at = node_hash(at, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and at == root


def extends(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the tree of `new` leaves begins with that of `old` leaves."""
    if old == new:
        return not proof and old_root == new_root
    if not 0 < old < new:
        return False
    path = list(proof)
    if old & (old - 1) == 0:  # a complete subtree: its hash is known and left out of the proof
        path.insert(0, old_root)
    if not path:
        return False
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    at_old = at_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            at_old, at_new = node_hash(sibling, at_old), node_hash(sibling, at_new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            at_new = node_hash(at_new, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and at_old == old_root and at_new == new_root


def _split(width: int) -> int:
    """The greatest power of two below `width`."""
    return 1 << (width - 1).bit_length() - 1


def _range_root(start: int, stop: int, subtrees: Subtrees) -> bytes:
    """The root over leaves start to stop; `start` is a multiple of a power of two that spans them."""
    return _fold([subtrees(start + last, level) for last, level in _peak_ends(stop - start)])
