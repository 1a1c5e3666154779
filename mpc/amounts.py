"""What opened words amount to, by the scales of the program that opened them; whoever reads one loads no engine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mpc.bins import FIGURE_BITS
from mpc.evaluation_derivation import DIGITS as FIGURE_DIGITS
from mpc.evaluation_program import Evaluation, Figure
from mpc.fused_program import Fused
from mpc.prediction_program import Prediction
from mpc.quantiles_program import DIGIT_BITS, DIGITS
from mpc.ring import Words
from mpc.scales import LOSS_BITS

KEY_BITS = DIGIT_BITS * DIGITS
DROPPED = 64 - KEY_BITS
SHIFT = np.int64(1 << KEY_BITS - 1)  # makes keys of negative numbers positive
Values = NDArray[np.float64]
Keys = NDArray[np.int64]  # from 0 to below 2**KEY_BITS


def mean_losses(program: Fused, name: str, totals: Words) -> tuple[float, ...]:
    """Of `loss` for each model, of `cross-validation` for each C, whose sum goes over left-out rows of every class."""
    rows = program.validating_rows * program.classes if name == "cross-validation" else program.rows
    return tuple(float(total) * 2.0 ** (program.loss_shift - LOSS_BITS) / rows for total in totals)


def figure_of(evaluation: Evaluation, figure: Figure, opened: int) -> float | None:
    """The figure that a disclosed integer stands for; None for an area under no curve."""
    if figure == "auc":
        return opened / (1 << FIGURE_DIGITS) if opened <= 1 << FIGURE_DIGITS else None
    return opened * 2.0 ** (evaluation.figure_shift - FIGURE_BITS) / evaluation.rows


def probabilities(program: Prediction, opened: Words) -> Values:
    """Shapes: the same. What rounding put outside of 0 to 1 is taken back."""
    return np.clip(opened / 2.0**program.digits, 0, 1)


def keys(values: Values) -> Keys:
    """Sign and upper bits of doubles as integers of the same order, rounded down. Shapes: the same."""
    bits = (values + 0.0).view(np.int64)  # + 0.0: there is one zero
    ordered = np.where(bits < 0, -(bits & np.iinfo(np.int64).max), bits)
    return np.asarray((ordered >> DROPPED) + SHIFT, dtype=np.int64)


def of_keys(keys: Keys) -> Values:
    """The least double of each key. Shapes: the same."""
    ordered = keys - SHIFT
    found: Values = np.sign(ordered) * (np.abs(ordered) << DROPPED).view(np.float64)
    return found


def quantile_bounds(digits: Sequence[Words]) -> tuple[Values, Values]:
    """Between which numbers quantiles lie by the digits told of them, first digit first; equal once all are told.

    Shapes: (quantiles,) each digit -> (quantiles,) twice.
    """
    found = np.zeros(len(digits[0]), dtype=np.int64)
    for digit in digits:
        found = (found << DIGIT_BITS) | digit
    left = DIGIT_BITS * (DIGITS - len(digits))
    least, most = (of_keys(each << left) for each in (found, found + 1))
    return least, most if left else least
