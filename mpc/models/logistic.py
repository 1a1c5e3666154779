"""Logistic regression: residuals and log-loss as functions of an opened angle.

With z = theta + phi as angles, theta public and the dealer's cos(k phi), sin(k phi) shared,
sin k(theta + phi) = sin k theta cos k phi + cos k theta sin k phi is linear in the shares; cosines likewise.
"""

from __future__ import annotations

import numpy as np

from mpc.errors import EngineError
from mpc.fourier import COEFFICIENT_BITS, lowered
from mpc.fused_program import CurvedRung, Fused, Rung
from mpc.kernels import wave_sums
from mpc.layouts import Arrays
from mpc.ring import Words, signed
from mpc.scales import DENSITY_BITS, LOSS_BITS, SCORE_BITS, TABLE_BITS
from mpc.shares import shared, words
from mpc.shim import ArithmeticSharedTensor
from mpc.validation import label_columns


class Angles:
    """The opened angles of one slot's scores, and the dealer's tables for their masks."""

    def __init__(self, rung: Rung, theta: Words, tables: Arrays) -> None:
        """Shapes: theta (m, models), tables (K, m, models), or more rows of a last strip."""
        self._rung, self._theta = rung, theta
        self._dealt = tables["cosines"], tables["sines"]

    def residuals(self, program: Fused, rank: int, labels: Words | None) -> Words:
        """Shares of sigmoid(z) - y. Shapes: labels (m, classes) -> (m, models), scale `program.residual_units`.

        No round.  Error: fourier.sigmoid_error(period, K), and K * 2**-TABLE_BITS at most from the tables.
        """
        units = program.residual_units
        share = self.sigmoid(units, rank)
        if labels is not None:
            share -= (labels if program.classes == 1 else labels[:, label_columns(program)]) * np.array(units)
        return share

    def sigmoid(self, units: tuple[int, ...], rank: int) -> Words:
        """Shares of the scores' sigmoids; `units` are what 1 is, of each model. Shapes: -> (m, models). No round.

        Error: as of `residuals`.
        """
        share = self._odd(lowered(self._rung.sigmoid, COEFFICIENT_BITS + TABLE_BITS, units))
        return share + np.array([unit // 2 for unit in units]) if rank == 0 else share

    def density(self, rank: int) -> Words:
        """Shares of the variance p (1 - p), and the floor that keeps it an upper bound.

        Shapes: -> (m, models), scale 2**DENSITY_BITS. No round.
        Error: below the floor, and K * 2**-TABLE_BITS at most from the tables.
        Raises: EngineError if the program is not of a solver that asks for it.
        """
        if not isinstance(self._rung, CurvedRung):
            raise EngineError("this program has no coefficients of p (1 - p)")
        share = self._even(lowered(self._rung.density, COEFFICIENT_BITS + TABLE_BITS - DENSITY_BITS))
        if rank == 0:
            share += np.int64(self._rung.density_floor >> (COEFFICIENT_BITS - DENSITY_BITS))
        return share

    def loss(self, rank: int, z: ArithmeticSharedTensor, counted: Words | None = None) -> Words:
        """Shares of sum log(1 + exp(z)), scale 2**LOSS_BITS. Shapes: z (m, models), scale 2**SCORE_BITS -> (models,).

        `counted` is 1 for the rows that count for a model, 0 for others, like z; without it all do. No round.
        """
        shift, scores = COEFFICIENT_BITS + TABLE_BITS - LOSS_BITS, words(z)
        each = scores * np.int64(1 << (LOSS_BITS - SCORE_BITS - 1)) + self._even(lowered(self._rung.softplus, shift))
        rows = np.full(scores.shape[1], len(scores)) if counted is None else counted.sum(axis=0)
        share = each.sum(axis=0) if counted is None else (each * counted).sum(axis=0)
        if rank == 0:
            constants = [self._rung.softplus_constant * int(count) for count in rows]
            share += np.array([signed(constant >> (COEFFICIENT_BITS - LOSS_BITS)) for constant in constants])
        return np.asarray(share)

    def _odd(self, coefficients: Words) -> Words:
        return wave_sums(self._theta, coefficients, *self._dealt, odd=True)

    def _even(self, coefficients: Words) -> Words:
        return wave_sums(self._theta, coefficients, *self._dealt, odd=False)


class LabelTotals:
    """P = X^T Y, opened under a mask b_P that fills the ring: epsilon = P - b_P is public among the parties."""

    def __init__(self, epsilon: Words, mask: Words) -> None:
        """Shapes: (d, models) each: of each model's labels, in the rows that judge it."""
        self._epsilon, self._mask = epsilon, mask

    def dot(self, rank: int, delta: Words, low: Words, mask_low: Words) -> Words:
        """Shares of each P . w for w = delta - low. Shapes: (d, models) -> (models,). No round.

        `mask_low` is a share of each b_P . low. The opened delta is that of w and of nothing else.
        """
        share: Words = (self._mask * delta - self._epsilon * low).sum(axis=0) - mask_low
        return share + (self._epsilon * delta).sum(axis=0) if rank == 0 else share


def total_loss(softplus: Words, label_scores: Words) -> ArithmeticSharedTensor:
    """Of all rows, log(1 + exp(z)) - y z of each model, scale 2**LOSS_BITS. Both shares are of the same slot."""
    return shared(softplus - label_scores * np.int64(1 << (LOSS_BITS - SCORE_BITS)))
