"""Quantiles of a column that several parties have rows of: told to these, and nothing else of the order of values.

A double, read as an integer, keeps its order; of its first 24 bits six at a time are found. Each owner counts its own
values below 63 marks: a sharing of the joint counts, of which comparisons say whether the quantile reaches each mark,
and only how many it reaches is opened. That is the next digit, and follows from the quantile (mpc/PARTITIONS.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from mpc.amounts import KEY_BITS, Keys, Values, of_keys
from mpc.amounts import keys as keys_of
from mpc.counting import reached
from mpc.disclosure import Disclosure
from mpc.fused_program import Fused
from mpc.quantiles_program import DIGIT_BITS, DIGITS, MARKS, Ranked, by_owners
from mpc.ring import Words
from mpc.runtime import Runtime


def joint_quantiles(program: Fused, own: Mapping[int, Values], runtime: Runtime) -> dict[int, tuple[float, ...]]:
    """What is told of the program's columns, at their owners, by the column's place among them.

    `own`: of such columns, this party's finite values in the training rows, in any order and number. A quantile q of p
    values is the one that floor(q p) others stand before, rounded down to KEY_BITS of a double: 13 binary digits. Of no
    value at all it is not finite.
    Cost: a commitment; DIGITS times comparisons of `compared_words`, and a disclosure to each set of owners.
    Reveals: the quantiles, to the columns' owners.
    """
    asked = program.quantiles
    if asked is None:
        return {}
    keys = {place: np.sort(keys_of(values)) for place, values in own.items()}
    found = {place: np.zeros(len(asked.columns[place].quantiles), dtype=np.int64) for place in keys}
    runtime.commitments.commit()
    for digit in range(DIGITS):
        apart = [
            _apart(column, keys[place], found[place], digit)
            if place in keys
            else np.zeros((len(column.quantiles), MARKS), dtype=np.int64)
            for place, column in enumerate(asked.columns)
        ]
        shares = np.split(reached(np.concatenate(apart)), np.cumsum([len(each) for each in apart])[:-1])
        for owners, places in by_owners(asked).items():
            share = np.concatenate([shares[place] for place in places])
            opened = runtime.discloser.open(Disclosure("quantiles", owners, share.size), share)
            start = 0
            for place in places if opened is not None else ():
                told = np.asarray(opened)[start : (start := start + len(found[place]))]
                found[place] = (found[place] << DIGIT_BITS) | told
    return {place: tuple(of_keys(each).tolist()) for place, each in found.items()}


def quantiles_of(values: Values, fractions: Sequence[Fraction]) -> tuple[float, ...]:
    """The same of values that are all here, of which there must be some."""
    keys = np.sort(keys_of(values))
    places = [int(each * len(keys)) for each in fractions]
    return tuple(of_keys(keys[places]).tolist())


def _apart(column: Ranked, keys: Keys, told: Keys, digit: int) -> Words:
    """A share of part * values - whole * values below each mark, which is negative where a quantile lies below.

    Shapes: keys (values,), told (quantiles,) -> (quantiles, MARKS).
    """
    left = KEY_BITS - DIGIT_BITS * (digit + 1)
    marks = ((told[:, None] << DIGIT_BITS) | np.arange(1, MARKS + 1)) << left
    below = np.searchsorted(keys, marks, side="left").astype(np.int64)
    parts, wholes = np.array(column.quantiles, dtype=np.int64).T
    found: Words = parts[:, None] * len(keys) - wholes[:, None] * below
    return found
