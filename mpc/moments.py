"""Sums over the rows of all owners of a column: what standardising it takes, and filling its gaps with the mean.

Nothing is rounded but the values themselves: sums are integers modulo 2**SUM_BITS. Each pair of parties draws a uniform
integer that one adds and the other subtracts, and only then are sums cut into limbs of 32 bits, which the discloser
opens as words: so limbs tell nothing beside the total. Of two owners each learns the other's sums by subtraction, and
so can all owners but one of the last: a disclosure, named in the program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from mpc.disclosure import Disclosure
from mpc.errors import RangeExceeded
from mpc.fused_program import Fused
from mpc.means_program import by_owners
from mpc.program import Program
from mpc.randomness import SumStream
from mpc.ring import Words
from mpc.runtime import Runtime
from mpc.scales import LIMBS, MEANS, MOMENTS

VALUE_BITS = 40  # values lie between -2**VALUE_BITS and 2**VALUE_BITS
FINE_BITS = 40  # their fractional bits
LIMB_BITS = 32
SUM_BITS = LIMBS * LIMB_BITS  # holds squares of 2**28 rows and a sign: 2 * 80 + 28 + 1 bits
ROOT_BITS = 64  # further bits of a deviation, below any float's


@dataclass(frozen=True)
class Moments:
    """Of the columns that a party shares with others, by place in the joint table. Hidden in print."""

    columns: tuple[int, ...]
    means: NDArray[np.float64] = field(repr=False)
    deviations: NDArray[np.float64] = field(repr=False)  # of the population, as scikit-learn's; 0: constant


def joint_moments(program: Program, block: NDArray[np.float64], runtime: Runtime) -> Moments:
    """Means and deviations of the columns of several owners, over the training rows of all.

    Shapes: block (rows, own columns), not standardised, zero in rows of others -> one number a column of this party's.
    Requires: |values| <= 2**VALUE_BITS.  Error: values are rounded to 2**-FINE_BITS, nothing else is.
    Cost: a commitment, and 2 rounds for each group of owners, 8 * LIMBS bytes a sum to each of them.
    Reveals: the number of rows and two sums a column, to the column's owners.
    Raises: RangeExceeded, before anything is sent.
    """
    held, streams = program.held(runtime.rank), runtime.keys.zero_streams("moments")
    groups = [group for group in program.groups if group.divided]
    for place, column in enumerate(held):
        if any(column in group.columns for group in groups):
            _check_bound(block[:, place])
    found: dict[int, tuple[float, float]] = {}
    if groups:
        runtime.commitments.commit()
    for group in groups:
        sums = [total for column in group.columns for total in _sums(block, held, column)]
        disclosure = Disclosure("moments", group.owners, MOMENTS * len(group.columns))
        opened = _open(disclosure, _refreshed(sums, streams), runtime)
        if opened is not None:
            pairs = zip(opened[::MOMENTS], opened[1::MOMENTS], strict=True)
            found |= {column: _moments(program.rows, *pair) for column, pair in zip(group.columns, pairs, strict=True)}
    columns = tuple(sorted(found))
    means, deviations = (np.array([found[column][place] for column in columns]) for place in (0, 1))
    return Moments(columns, means, deviations)


def joint_means(program: Fused, own: Mapping[int, NDArray[np.float64]], runtime: Runtime) -> dict[int, float]:
    """Means of the program's columns with gaps, at their owners, by the column's place among them.

    `own`: of such columns, this party's values in the training rows that have one, in any order and number. Of no value
    at all the mean is nan.
    Requires: |values| <= 2**VALUE_BITS.  Error: values are rounded to 2**-FINE_BITS, and the mean to a float.
    Cost: a commitment, and 2 rounds for each set of owners, 8 * LIMBS bytes a sum to each of them.
    Reveals: a sum, and of how many values it is, of each column, to the column's owners.
    Raises: RangeExceeded, before anything is sent.
    """
    streams, found = runtime.keys.zero_streams("means"), dict[int, float]()
    for values in own.values():
        _check_bound(values)
    if program.means:
        runtime.commitments.commit()
    for owners, places in by_owners(program.means).items():
        brought = (own.get(place, np.empty(0)) for place in places)
        sums = [each for values in brought for each in (sum(_fixed(values)), len(values))]
        disclosure = Disclosure("means", owners, MEANS * len(places))
        opened = _open(disclosure, _refreshed(sums, streams), runtime)
        if opened is not None:
            found |= {
                place: mean_of(total, count)
                for place, total, count in zip(places, opened[::MEANS], opened[1::MEANS], strict=True)
            }
    return found


def mean_of(total: int, count: int) -> float:
    """Of a sum at scale 2**FINE_BITS, rounded once; nan of no value."""
    return float(Fraction(total, count << FINE_BITS)) if count else float("nan")


def pooled_mean(values: NDArray[np.float64]) -> float:
    """The same of values that are all here."""
    return mean_of(sum(_fixed(values)), len(values))


def _check_bound(values: NDArray[np.float64]) -> None:
    if not np.abs(values).max(initial=0.0) <= 2.0**VALUE_BITS:
        raise RangeExceeded(
            f"a value of a column that is divided by rows exceeds 2**{VALUE_BITS}",
            action="give the column in larger units",
        )


def _sums(block: NDArray[np.float64], held: list[int], column: int) -> tuple[int, int]:
    """A party's part of a column's two sums, at scales 2**FINE_BITS and 2**(2 FINE_BITS)."""
    if column not in held:
        return 0, 0
    whole = _fixed(block[:, held.index(column)])
    return sum(whole), sum(value * value for value in whole)


def _fixed(values: NDArray[np.float64]) -> list[int]:
    """Those that are not zero, at scale 2**FINE_BITS."""
    scaled = np.rint(np.ldexp(values, FINE_BITS))
    return [int(value) for value in scaled[scaled != 0]]


def _refreshed(sums: list[int], streams: tuple[SumStream, SumStream]) -> Words:
    """Sums under a zero sharing modulo 2**SUM_BITS, in limbs. Shapes: -> (sums, LIMBS)."""
    added, subtracted = (_joined(stream.words((len(sums), LIMBS), LIMB_BITS)) for stream in streams)
    fresh = [
        (total + plus - minus) % (1 << SUM_BITS) for total, plus, minus in zip(sums, added, subtracted, strict=True)
    ]
    limbs = [[total >> (LIMB_BITS * limb) & ((1 << LIMB_BITS) - 1) for limb in range(LIMBS)] for total in fresh]
    return np.array(limbs, dtype=np.int64).reshape(len(sums), LIMBS)


def _open(disclosure: Disclosure, limbs: Words, runtime: Runtime) -> list[int] | None:
    """The totals at the owners, None at others."""
    opened = runtime.discloser.open(disclosure, limbs)
    if opened is None:
        return None
    totals = (total % (1 << SUM_BITS) for total in _joined(opened))
    return [total - (total >> (SUM_BITS - 1) << SUM_BITS) for total in totals]


def _joined(limbs: Words) -> list[int]:
    """Integers of their limbs, which may have carried. Shapes: (sums, LIMBS) ->."""
    return [_integer(row) for row in limbs.tolist()]


def _integer(limbs: Iterable[int]) -> int:
    return sum(word << (LIMB_BITS * limb) for limb, word in enumerate(limbs))


def _moments(rows: int, total: int, squares: int) -> tuple[float, float]:
    """Mean and population deviation, each rounded once."""
    variance = (squares * rows - total * total) << (2 * ROOT_BITS)  # times rows ** 2, at twice the scale
    mean = Fraction(total, rows << FINE_BITS)
    return float(mean), float(Fraction(isqrt(max(variance, 0)), rows << (FINE_BITS + ROOT_BITS)))
