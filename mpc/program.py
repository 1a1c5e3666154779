"""The frozen program of a session: what every party and the dealer run, derived from a few facts and nothing else.

`derive` is pure and uses integers and decimals alone: each node and the dealer derive the program again before they
sign, so whoever wrote the contract is trusted for nothing. No floating-point number in it ever multiplies a share.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from mpc.errors import ProgramError

DESCENT_ITERATIONS = 300  # of first-order solvers, unless the plan says otherwise
MAX_CELLS = 1 << 28  # rows x columns in one process's memory as int64

LIMITS = (("max_iter", 1, 100_000), ("loss_every", 0, 100_000), ("clip_bits", 0, 8))
MOST_LEARNING_RATE = 10

FRACTION_BITS = 14  # of CrypTen's tensors: products stay far enough below 2**64 for its truncation
DATA_BITS = 13  # fractional bits of a table's entries
ITERATE_BITS = 18  # of weights once opened and truncated
SCORE_BITS = DATA_BITS + ITERATE_BITS
MOMENTUM_BITS = 6
NEWTON_MOMENTUM = 51  # at most, at scale 2**MOMENTUM_BITS: four fifths
TABLE_BITS = 16  # of the dealer's sines and cosines
LOSS_BITS = 34  # of the summed loss before it is truncated
LOSS_LIMIT_BITS = 4  # a mean loss of 16 and more would wrap: such a run is worthless anyway
LOSS_DIGITS = 14  # fractional bits of a disclosed mean loss
DENSITY_BITS = 34  # of p (1 - p) before it is truncated
ROW_BITS = 14  # of p (1 - p) once truncated: what scales the rows of the table
INFORMATION_BITS = 2 * DATA_BITS + ROW_BITS  # of X^T S X before it is rounded


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Block(_Frozen):
    """A party's rectangle of the joint table: all rows, its own columns."""

    owner: Annotated[int, Field(ge=0)]
    columns: Annotated[int, Field(ge=0)]


class Spec(_Frozen):
    """What a program is derived from."""

    engine: Literal["fused", "reference"] = "fused"
    solver: Literal["newton", "nesterov", "sgd"] | None = None  # of the fused engine; None: newton where it fits
    rows: int  # training rows
    blocks: tuple[Block, ...]  # in order of rank, one a party
    label_owner: int
    C: str
    fit_intercept: bool
    max_iter: int | None = None  # None: what the solver needs by its rule
    loss_every: int
    clip_bits: int
    batch_rows: int | None = None  # of sgd alone: rows of one gradient
    learning_rate: str | None = None  # of sgd alone: what the mean gradient of a batch is multiplied by


class Opening(_Frozen):
    """A value that the program discloses: to whom, how often and how many numbers each time, at most."""

    name: str
    recipients: Literal["session"] | tuple[int, ...]
    count: int
    values: int


class Common(_Frozen):
    """What every program takes over from its specification."""

    rows: int
    blocks: tuple[Block, ...]
    label_owner: int
    fit_intercept: bool
    max_iter: int
    loss_every: int
    clip_bits: int

    @property
    def columns(self) -> int:
        """Feature columns of all parties, without the intercept's."""
        return sum(block.columns for block in self.blocks)

    @property
    def world(self) -> int:
        """How many parties there are."""
        return len(self.blocks)

    def _results(self) -> list[Opening]:
        found = [
            Opening(name="coefficients", recipients=(block.owner,), count=1, values=block.columns)
            for block in self.blocks
            if block.columns
        ]
        if self.fit_intercept:
            found.append(Opening(name="intercept", recipients=(self.label_owner,), count=1, values=1))
        return found


class Reference(Common):
    """Full-batch descent with Nesterov's momentum on scikit-learn's objective, by stock CrypTen operations."""

    engine: Literal["reference"] = "reference"
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


class Rung(_Frozen):
    """One step of the range ladder: a period for the scores and the coefficients that go with it (see mpc.fourier)."""

    period: int
    harmonics: int
    sigmoid: tuple[int, ...]
    softplus_constant: int
    softplus: tuple[int, ...]

    @property
    def bound(self) -> int:
        """The greatest |z| that this rung computes rightly."""
        from mpc.fourier import bound

        return bound(self.period)

    @property
    def modulus_bits(self) -> int:
        """Scores at SCORE_BITS matter modulo 2 to this power."""
        return SCORE_BITS + self.period.bit_length() - 1


class CurvedRung(Rung):
    """The same with what gives p (1 - p), for the information matrix."""

    density: tuple[int, ...]
    density_floor: int


class Segment(_Frozen):
    """Iterations between two range guards, and the slots that they may take."""

    iterations: int
    slots: int

    @property
    def spares(self) -> int:
        """Slots that are there for rejected openings."""
        return self.slots - self.iterations


class Fused(Common):
    """Gradients in three rounds (mpc/README.md). Windows are the k of a truncating opening."""

    state_bits: int  # fractional bits of the iterate before truncation
    state_window: int
    residual_unit: int  # what a residual of 1 is before truncation
    residual_window: int
    residual_shift: int
    ridge: int  # what the truncated iterate is multiplied by for the penalty's part of a gradient
    loss_window: int
    loss_shift: int
    copies: int  # of an opening whose rejection must not matter, sent at once
    segments: tuple[Segment, ...]
    ladder: tuple[Rung, ...]

    @property
    def width(self) -> int:
        """Columns with the public constant one, which is last."""
        return self.columns + self.fit_intercept

    @property
    def gradient_rows(self) -> int:
        """Rows that one gradient is taken of."""
        return self.rows

    def reports(self, segment: Segment) -> int:
        """How often a pass through a segment discloses the loss."""
        return segment.iterations // self.loss_every if self.loss_every else 0

    @property
    def state_shift(self) -> int:
        """Surplus bits of the iterate."""
        return self.state_bits - ITERATE_BITS

    def own(self, rank: int) -> list[int]:
        """Places of a party's columns in the joint table; the constant one counts as the lowest rank's."""
        start = sum(block.columns for block in self.blocks[:rank])
        places = list(range(start, start + self.blocks[rank].columns))
        return [*places, self.width - 1] if rank == 0 and self.fit_intercept else places

    @property
    def phases(self) -> int:
        """Passes through segments at most: one each, and one more for each rung climbed."""
        return len(self.segments) + len(self.ladder) - 1

    def disclosures(self) -> tuple[Opening, ...]:
        """Every opening that this program makes; anything else is refused. The dealer learns the guard's bits too."""
        found = self._results()
        found.append(Opening(name="guard", recipients="session", count=self.phases, values=1))
        if self.loss_every:
            again = (len(self.ladder) - 1) * max(map(self.reports, self.segments))
            count = sum(map(self.reports, self.segments)) + again
            if count:
                found.append(Opening(name="loss", recipients="session", count=count, values=1))
        return tuple(found)


class FirstOrder(Fused):
    """Nesterov's descent: the step, 1 / (curvature * rows), is part of the scales, so that the update is local."""

    engine: Literal["fused"] = "fused"
    ridge_every: int  # the penalty is applied every so many iterations: an integer that small steps leave exact


class MiniBatch(Fused):
    """Stochastic descent: each gradient is of the next `batch_rows` rows of a table that was shuffled once.

    The learning rate is part of the scales. Slots are dealt in lots, so that small batches cost little beside rounds.
    """

    engine: Literal["sgd"] = "sgd"
    batch_rows: int
    ridge_every: int  # as in FirstOrder
    lot: int  # slots dealt at once; a segment's are a multiple

    @property
    def gradient_rows(self) -> int:
        return self.batch_rows

    def batch_start(self, phase: int, slot: int) -> int:
        """Where a slot's rows begin; they go round at the table's end. Phases count from 1, slots from 0.

        A void slot's rows are left out: which rows come next does not depend on what was rejected.
        """
        before = (phase - 1) * max(segment.slots for segment in self.segments)
        return (before + slot) * self.batch_rows % self.rows


class Newton(Fused):
    """Lagged Newton steps: gradients are multiplied by a shared inverse of the information matrix.

    Matrices and gradients are sums over the rows divided by 2**mean_bits, a power of two just above the rows.
    """

    engine: Literal["newton"] = "newton"
    ladder: tuple[CurvedRung, ...]
    mean_bits: int
    gradient_window: int
    gradient_shift: int
    density_window: int
    damping: int  # added to the diagonal of X^T S X at scale 2**INFORMATION_BITS, the penalty included
    information_bits: int
    inverse_bits: int
    inverse_window: int
    product_bits: int
    product_window: int
    rounded_steps: bool  # the inverse is rounded before each step, a round more: its window would be too wide
    start: int  # of the inverse's diagonal, at scale 2**(inverse_bits + product_bits + 1): one over a trace's bound
    first_steps: int  # of Newton and Schulz's iteration from there, spare ones included
    refresh_steps: int  # from half of the last inverse
    refresh_every: int  # slots
    refresh_until: int  # the last slot that may have one: momentum does the rest

    @property
    def density_shift(self) -> int:
        """Surplus bits of p (1 - p)."""
        return DENSITY_BITS - ROW_BITS

    @property
    def information_shift(self) -> int:
        """From the sum X^T S X to its mean."""
        return INFORMATION_BITS + self.mean_bits - self.information_bits

    @property
    def inverse_shift(self) -> int:
        """Surplus bits of twice V (2 - H V)."""
        return self.product_bits + 1

    @property
    def product_shift(self) -> int:
        """Surplus bits of H V."""
        return self.information_bits + self.inverse_bits - self.product_bits

    def refreshes(self, slot: int) -> bool:
        """Whether the inverse is made anew in this slot of a segment. Slots count from 1."""
        return 1 < slot <= self.refresh_until and (slot - 1) % self.refresh_every == 0


Program: TypeAlias = Annotated[FirstOrder | MiniBatch | Newton | Reference, Field(discriminator="engine")]


def derive(spec: Spec) -> FirstOrder | MiniBatch | Newton | Reference:
    """The program that follows from these facts. Raises: ProgramError for what can't be computed."""
    from mpc import batch_derivation, derivation, newton_derivation

    _check(spec)
    if spec.engine == "reference":
        return derivation.reference(spec, spec.max_iter or DESCENT_ITERATIONS)
    if spec.solver == "sgd":
        return batch_derivation.mini_batch(spec, spec.max_iter or DESCENT_ITERATIONS)
    if newton_derivation.suits(spec):
        return newton_derivation.newton(spec, spec.max_iter or newton_derivation.iterations(spec))
    return derivation.first_order(spec, spec.max_iter or DESCENT_ITERATIONS)


def _check(spec: Spec) -> None:
    columns = sum(block.columns for block in spec.blocks)
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
    for name, least, most in LIMITS:
        if (found := getattr(spec, name)) is not None and not least <= found <= most:
            raise ProgramError(f"{name}={found} lies outside {least} to {most}", action=f"choose a {name} within")
    _check_batches(spec)
    if not Decimal("0.0001") <= inverse_strength(spec) <= Decimal(100_000):
        raise ProgramError(f"C={spec.C} lies outside 0.0001 to 100000", action="choose a C within")


def _check_batches(spec: Spec) -> None:
    if spec.solver != "sgd" or spec.engine != "fused":
        if spec.batch_rows is not None or spec.learning_rate is not None:
            raise ProgramError("batch_rows and learning_rate are of solver = sgd alone", action="leave them out")
        return
    if spec.batch_rows is None or not 2 <= spec.batch_rows <= spec.rows:
        raise ProgramError(
            f"a batch of {spec.batch_rows} of {spec.rows} rows", action=f"choose batch_rows within 2 to {spec.rows}"
        )
    if not 0 < learning_rate(spec) <= MOST_LEARNING_RATE:
        raise ProgramError(
            f"learning_rate={spec.learning_rate} lies outside 0 to {MOST_LEARNING_RATE}",
            action="choose one within, such as 0.01",
        )


def inverse_strength(spec: Spec) -> Decimal:
    """C as a number. Raises: ProgramError if it is none."""
    return _decimal("C", spec.C)


def learning_rate(spec: Spec) -> Decimal:
    """Raises: ProgramError if it is no number."""
    return _decimal("learning_rate", spec.learning_rate or "")


def _decimal(name: str, text: str) -> Decimal:
    try:
        found = Decimal(text)
    except InvalidOperation as exc:
        raise ProgramError(f"{name}='{text[:32]}' is not a decimal number", action="write one such as 1.0") from exc
    if not found.is_finite():
        raise ProgramError(f"{name}={text} is not finite", action="write one such as 1.0")
    return found
