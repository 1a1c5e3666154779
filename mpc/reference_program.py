"""The program of the reference engine."""

from __future__ import annotations

from typing import Literal

from mpc.design import Common, Opening


class Reference(Common):
    """Full-batch descent with Nesterov's momentum on scikit-learn's objective, by stock CrypTen operations."""

    engine: Literal["reference"] = "reference"
    C: str
    fraction_bits: int
    fine_bits: int
    gradient_weight: int  # step / rows, scale 2**(gradient_shift - fine_bits)
    gradient_shift: int
    ridge_weight: int  # step / (C rows), scale 2**ridge_shift: the penalty's part of one step
    ridge_shift: int

    def disclosures(self) -> tuple[Opening, ...]:
        """Every opening that this program makes; anything else is refused."""
        found = self._results()
        if self.loss_every:
            count = -(-self.max_iter // self.loss_every)
            found.append(Opening(name="loss", recipients="session", count=count, values=1))
        return tuple(found)
