"""Products with a party's masked table, in this process's memory or on a device: the same words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from mpc import kernels
from mpc.device import Matrix
from mpc.ring import Words, product

HOST = torch.device("cpu")


class Products(Protocol):
    """Own columns X, which stand at `own`, and the masked table E; both are at hand here as well."""

    X: Words
    E: Words
    own: Words
    device: torch.device

    def some(self, rows: slice | Words) -> Products:
        """The same of some rows."""
        ...

    def product(self, delta: Words, low: Words, dealt: Words) -> Words:
        """X delta[own] - E low - dealt. Shapes: (d, e), (d, e), (m, e) -> (m, e)."""
        ...

    def transposed(self, delta: Words, low: Words, dealt: Words) -> Words:
        """X^T delta, added at own columns, - E^T low - dealt. Shapes: (m, e), (m, e), (d, e) -> (d, e)."""
        ...

    def between(self, P: Words, Q: Words) -> Words:
        """P Q, of matrices that are at hand. Shapes: (m, n), (n, e) -> (m, e)."""
        ...


class OnHost:
    """By compiled loops for one column, by torch's blocked product for several."""

    def __init__(self, X: Words, E: Words, own: Words) -> None:
        """Shapes: X (m, own), E (m, d), C-contiguous; own (own,)."""
        self.X, self.E, self.own, self.device = X, E, own, HOST

    def some(self, rows: slice | Words) -> OnHost:
        return OnHost(self.X[rows], self.E[rows], self.own)

    def product(self, delta: Words, low: Words, dealt: Words) -> Words:
        if low.shape[1] == 1:
            return kernels.masked_product(self.X, self.E, self.own, delta, low, dealt)
        return product(self.X, delta[self.own]) - product(self.E, low) - dealt

    def transposed(self, delta: Words, low: Words, dealt: Words) -> Words:
        if low.shape[1] == 1:
            return kernels.masked_transposed(self.X, self.E, self.own, delta, low, dealt)
        found = -product(self.E.T, low) - dealt
        found[self.own] += product(self.X.T, delta)
        return found

    def between(self, P: Words, Q: Words) -> Words:
        return product(P, Q)


class OnDevice:
    """X and E lie on the device too; what multiplies them crosses, and what comes out."""

    def __init__(self, X: Words, E: Words, own: Words, there: tuple[Matrix, Matrix]) -> None:
        self.X, self.E, self.own, self.device = X, E, own, there[0].device
        self._X, self._E = there

    def some(self, rows: slice | Words) -> OnDevice:
        there = self._X.some(rows), self._E.some(rows)
        return OnDevice(self.X[rows], self.E[rows], self.own, there)

    def product(self, delta: Words, low: Words, dealt: Words) -> Words:
        return self._X.times(delta[self.own]) - self._E.times(low) - dealt

    def transposed(self, delta: Words, low: Words, dealt: Words) -> Words:
        found = -self._E.transposed_times(low) - dealt
        found[self.own] += self._X.transposed_times(delta)
        return found

    def between(self, P: Words, Q: Words) -> Words:
        return Matrix(P, self.device).times(Q)


def products(X: Words, E: Words, own: Sequence[int] | Words, device: torch.device) -> Products:
    """Raises: torch's error if the device has no room for them."""
    X, E, columns = np.ascontiguousarray(X), np.ascontiguousarray(E), np.asarray(own, dtype=np.int64)
    if device.type == "cpu":
        return OnHost(X, E, columns)
    return OnDevice(X, E, columns, (Matrix(X, device), Matrix(E, device)))
