"""Where products with the table are computed: on the CPU, or on a GPU by CUDA. The words are the same.

CUDA has no matrix product of 64-bit integers. Where one factor is a column, the entries' products are added up, which
wraps by itself. Otherwise words are cut into limbs of 16 bits, whose products are added up in floating point: sums
below 2**53 are exact, and those that matter modulo 2**64 are shifted to their places and added. Both run on any device
that torch knows, and are tested bit by bit on the CPU. No GPU has run them yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch

from mpc.errors import EngineError
from mpc.ring import WORD_BITS, Words

Wanted = Literal["auto", "cpu", "cuda"]
LIMB_BITS = 16
LIMBS = WORD_BITS // LIMB_BITS
EXACT_BITS = 53  # of a float64
MOST_TERMS = 1 << (EXACT_BITS - 2 * LIMB_BITS)
STRIP_WORDS = 1 << 24  # of a matrix that are taken at once: what is between takes several times their memory


def resolved(wanted: Wanted) -> torch.device:
    """The device that a setting stands for. Raises: EngineError if it asks for CUDA and torch finds none."""
    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        built = "finds no device of it" if torch.version.cuda else "is built without it"
        raise EngineError(
            f"the setting device asks for CUDA, and torch {torch.__version__} {built}",
            action='install a driver and a torch for CUDA, or set device = "auto" in settings.toml',
            outward="this party's machine has not the device that its settings ask for",
        )
    return torch.device("cuda" if found and wanted != "cpu" else "cpu")


class Matrix:
    """Ring words that lie on a device; vectors come and go."""

    def __init__(self, words: Words | torch.Tensor, device: torch.device) -> None:
        """Shapes: (m, n)."""
        self._words = (words if isinstance(words, torch.Tensor) else torch.from_numpy(words)).to(device)
        self.device = device

    def some(self, rows: slice | Words) -> Matrix:
        """Some rows; a view of them, where they are side by side."""
        chosen = rows if isinstance(rows, slice) else torch.from_numpy(rows).to(self._words.device)
        return Matrix(self._words[chosen], self._words.device)

    def times(self, v: Words) -> Words:
        """Shapes: (n, e) -> (m, e)."""
        return _words(product(self._words, self._there(v)))

    def transposed_times(self, v: Words) -> Words:
        """Shapes: (m, e) -> (n, e)."""
        return _words(product(self._words.T, self._there(v)))

    def _there(self, v: Words) -> torch.Tensor:
        return torch.from_numpy(v).to(self._words.device)


def _words(tensor: torch.Tensor) -> Words:
    found: Words = tensor.cpu().numpy()
    return found


def product(X: torch.Tensor, Y: torch.Tensor, at_once: int = STRIP_WORDS) -> torch.Tensor:
    """X Y modulo 2**64, on whichever device they are. Shapes: (m, n), (n, e) -> (m, e), int64."""
    by = _by_limbs if Y.shape[1] > 1 else _by_entries
    found = torch.zeros((X.shape[0], Y.shape[1]), dtype=torch.int64, device=X.device)
    for rows, terms in _pieces(X.shape[0], X.shape[1], at_once):
        found[rows] += by(X[rows, terms], Y[terms])
    return found


def _pieces(m: int, n: int, at_once: int) -> Iterator[tuple[slice, slice]]:
    """A matrix in pieces of so many words, and of no more columns than can be added up exactly."""
    terms = max(1, min(n, MOST_TERMS, at_once))
    rows = max(1, at_once // terms)
    for top in range(0, m, rows):
        for left in range(0, n, terms):
            yield slice(top, top + rows), slice(left, left + terms)


def _by_entries(X: torch.Tensor, Y: torch.Tensor) -> torch.Tensor:
    return (X * Y[:, 0]).sum(dim=1, keepdim=True)


def _by_limbs(X: torch.Tensor, Y: torch.Tensor) -> torch.Tensor:
    found = torch.zeros((X.shape[0], Y.shape[1]), dtype=torch.int64, device=X.device)
    limbs = [_limb(Y, place) for place in range(LIMBS)]
    for place in range(LIMBS):
        limb = _limb(X, place)
        for other in range(LIMBS - place):  # higher ones leave the ring
            found += (limb @ limbs[other]).to(torch.int64) << (LIMB_BITS * (place + other))
    return found


def _limb(X: torch.Tensor, place: int) -> torch.Tensor:
    return ((X >> (LIMB_BITS * place)) & ((1 << LIMB_BITS) - 1)).to(torch.float64)
