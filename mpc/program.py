"""The frozen program of a session: what every party and the dealer run, derived from a few facts and nothing else.

`derive` is pure: each node and the dealer derive the program again before they sign, so whoever wrote the contract is
trusted for nothing. No floating-point number in it ever multiplies a share.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mpc.errors import ProgramError

FRACTION_BITS = 14  # of table, scores and residuals: products stay far enough below 2**64 for CrypTen's truncation
FINE_BITS = 6  # more of them for the weights, so that small steps count
WEIGHT_BITS = 12  # significant bits of the integers that multiply a gradient
MAX_CELLS = 1 << 28  # rows x columns in one process's memory as int64


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Block(_Frozen):
    """A party's rectangle of the joint table: all rows, its own columns."""

    owner: Annotated[int, Field(ge=0)]
    columns: Annotated[int, Field(ge=0)]


class Spec(_Frozen):
    """What a program is derived from."""

    rows: int  # training rows
    blocks: tuple[Block, ...]  # in order of rank, one a party
    label_owner: int
    C: str
    fit_intercept: bool
    max_iter: int
    loss_every: int
    clip_bits: int


class Opening(_Frozen):
    """A value that the program discloses: to whom, how often and how many numbers each time, at most."""

    name: str
    recipients: Literal["session"] | tuple[int, ...]
    count: int
    values: int


class Program(_Frozen):
    """Full-batch gradient descent with Nesterov's momentum on scikit-learn's objective, on CrypTen's shares."""

    engine: Literal["reference"]
    rows: int
    blocks: tuple[Block, ...]
    label_owner: int
    fit_intercept: bool
    max_iter: int
    loss_every: int
    clip_bits: int
    fraction_bits: int
    fine_bits: int
    gradient_weight: int  # step / rows, scale 2**(gradient_shift - fine_bits)
    gradient_shift: int
    ridge_weight: int  # step / (C rows), scale 2**ridge_shift: the penalty's part of one step
    ridge_shift: int

    @property
    def columns(self) -> int:
        """Feature columns of all parties, without the intercept's."""
        return sum(block.columns for block in self.blocks)

    def disclosures(self) -> tuple[Opening, ...]:
        """Every opening that this program makes; anything else is refused."""
        found = [
            Opening(name="coefficients", recipients=(block.owner,), count=1, values=block.columns)
            for block in self.blocks
            if block.columns
        ]
        if self.fit_intercept:
            found.append(Opening(name="intercept", recipients=(self.label_owner,), count=1, values=1))
        if self.loss_every:
            count = -(-self.max_iter // self.loss_every)
            found.append(Opening(name="loss", recipients="session", count=count, values=1))
        return tuple(found)


def derive(spec: Spec) -> Program:
    """The program that follows from these facts. Raises: ProgramError for what can't be computed."""
    columns = sum(block.columns for block in spec.blocks)
    _check(spec, columns)
    curvature = (Decimal(columns) * Decimal("1.05") + 1) / 4 + 1 / (Decimal(spec.C) * spec.rows)
    per_row = 1 / (curvature * spec.rows)
    gradient_weight, gradient_shift = _scaled(per_row * (1 << FINE_BITS))
    ridge_weight, ridge_shift = _scaled(per_row / Decimal(spec.C))
    return Program(
        engine="reference",
        rows=spec.rows,
        blocks=spec.blocks,
        label_owner=spec.label_owner,
        fit_intercept=spec.fit_intercept,
        max_iter=spec.max_iter,
        loss_every=spec.loss_every,
        clip_bits=spec.clip_bits,
        fraction_bits=FRACTION_BITS,
        fine_bits=FINE_BITS,
        gradient_weight=gradient_weight,
        gradient_shift=gradient_shift,
        ridge_weight=ridge_weight,
        ridge_shift=ridge_shift,
    )


def _scaled(value: Decimal) -> tuple[int, int]:
    """An integer of WEIGHT_BITS bits and the shift that makes it the value."""
    shift = 0
    while value * (1 << shift) < 1 << (WEIGHT_BITS - 1):
        shift += 1
    return int((value * (1 << shift)).to_integral_value()), shift


def _check(spec: Spec, columns: int) -> None:
    if [block.owner for block in spec.blocks] != list(range(len(spec.blocks))) or len(spec.blocks) < 2:
        raise ProgramError("blocks must be one a party, in order of rank, of two parties at least")
    if not 0 <= spec.label_owner < len(spec.blocks):
        raise ProgramError("the label's owner is none of the parties")
    if columns < 1 or spec.rows < 2:
        raise ProgramError("a table needs a feature column and two training rows at least")
    if spec.rows * (columns + 1) > MAX_CELLS:
        raise ProgramError(
            f"{spec.rows} rows x {columns} columns are more than {MAX_CELLS} cells", action="use fewer rows or columns"
        )
    if not Decimal("0.0001") <= Decimal(spec.C) <= Decimal(100_000):
        raise ProgramError(f"C={spec.C} lies outside 0.0001 to 100000", action="choose a C within")
