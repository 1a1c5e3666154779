"""What a value that a party was told amounts to, by the contract that it was told under."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mpc.amounts import figure_of, mean_losses, probabilities, quantile_bounds
from mpc.evidence_program import VALUE_STEPS
from mpc.fused_program import Fused
from mpc.prediction_program import Prediction
from mpc.scales import ITERATE_BITS
from parties.agreement.kinds import AnyContract

QUANTILES = "quantiles"  # told digit by digit
Amount: TypeAlias = float | tuple[float, float] | None  # between two numbers, where not all is told


def amounts(contract: AnyContract, name: str, told: Sequence[NDArray[np.int64]]) -> list[Amount] | None:
    """The numbers that a value stands for; None of one that is whole numbers, as counts and bits are.

    `told`: its words; of quantiles those of each digit in order. A figure of rows that have none is None.
    """
    program, words = contract.program, told[-1]
    if isinstance(program, Prediction) and name == program.disclosed.name:
        return list(probabilities(program, words).tolist())
    return _of_training(program, name, told) if isinstance(program, Fused) else None


def _of_training(program: Fused, name: str, told: Sequence[NDArray[np.int64]]) -> list[Amount] | None:
    words = told[-1]
    found: list[Amount] | None = None
    match name:
        case "coefficients" | "intercept":
            found = [word / (1 << ITERATE_BITS) for word in words.tolist()]
        case "loss" | "cross-validation":
            found = list(mean_losses(program, name, words))
        case "information-value":
            found = [word / VALUE_STEPS for word in words.tolist()]
        case "quantiles":
            bounds = zip(*(each.tolist() for each in quantile_bounds(told)), strict=True)
            found = [low if low == high else (low, high) for low, high in bounds]
        case "auc" | "log-loss" | "brier" if program.evaluation is not None:
            found = [figure_of(program.evaluation, name, word) for word in words.tolist()]
    return found


def in_words(amount: Amount, word: int) -> str:
    """One number of a value for people, beside the word that was opened."""
    if amount is None:
        said = "none: all held-out rows are of one class"
    elif isinstance(amount, tuple):
        said = f"{amount[0]:.6g} to {amount[1]:.6g}"
    else:
        said = f"{amount:.6f}" if abs(amount) < 1 << 20 else f"{amount:.6g}"
    return f"{said}  (opened as {word})"
