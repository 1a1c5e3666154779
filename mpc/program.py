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

Figure: TypeAlias = Literal["auc", "log-loss", "brier"]
FIGURES: tuple[Figure, ...] = ("auc", "log-loss", "brier")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Block(_Frozen):
    """A party's rectangle of the joint table: all rows, its own columns."""

    owner: Annotated[int, Field(ge=0)]
    columns: Annotated[int, Field(ge=0)]


class Spec(_Frozen):
    """What a program is derived from."""

    engine: Literal["fused", "reference"] = "fused"
    solver: Literal["newton", "nesterov"] | None = None  # of the fused engine; None: newton where it can be computed
    rows: int  # training rows
    blocks: tuple[Block, ...]  # in order of rank, one a party
    label_owner: int
    C: str
    fit_intercept: bool
    max_iter: int | None = None  # None: what the solver needs by its rule
    loss_every: int
    clip_bits: int
    held_out_rows: int = 0
    figures: tuple[Figure, ...] = ()  # of the held-out rows, in the order of FIGURES


class Opening(_Frozen):
    """A value that the program discloses: to whom, how often and how many numbers each time, at most."""

    name: str
    recipients: Literal["session"] | tuple[int, ...]
    count: int
    values: int


class _Common(_Frozen):
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


class Reference(_Common):
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


class Evaluation(_Frozen):
    """Figures of held-out rows from shared histograms of their scores (mpc/evaluation.py)."""

    rows: int
    figures: tuple[Figure, ...]
    period: int  # scores are binned modulo this
    bins: int  # of a period
    chunk_rows: int  # whose histograms are dealt in one tuple
    figure_shift: int  # bits that rounding takes off a sum over the rows, scale 2**bins.FIGURE_BITS

    @property
    def bound(self) -> int:
        """Scores beyond it are clamped to it: well within the period, whatever rounding does."""
        return self.period // 2 - 1

    @property
    def modulus_bits(self) -> int:
        """Scores at SCORE_BITS matter modulo 2 to this power."""
        return SCORE_BITS + self.period.bit_length() - 1

    @property
    def chunks(self) -> int:
        return -(-self.rows // self.chunk_rows)

    @property
    def sums(self) -> tuple[Figure, ...]:
        """The figures that are sums over the rows."""
        return tuple(figure for figure in self.figures if figure != "auc")

    def disclosures(self) -> list[Opening]:
        return [Opening(name=figure, recipients="session", count=1, values=1) for figure in self.figures]


class Fused(_Common):
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
    evaluation: Evaluation | None = None

    @property
    def width(self) -> int:
        """Columns with the public constant one, which is last."""
        return self.columns + self.fit_intercept

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
        if self.evaluation is not None:
            found += self.evaluation.disclosures()
        return tuple(found)


class FirstOrder(Fused):
    """Nesterov's descent: the step, 1 / (curvature * rows), is part of the scales, so that the update is local."""

    engine: Literal["fused"] = "fused"
    ridge_every: int  # the penalty is applied every so many iterations: an integer that small steps leave exact


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


Program: TypeAlias = Annotated[FirstOrder | Newton | Reference, Field(discriminator="engine")]


def derive(spec: Spec) -> FirstOrder | Newton | Reference:
    """The program that follows from these facts. Raises: ProgramError for what can't be computed."""
    from mpc import derivation, evaluation_derivation

    _check(spec)
    evaluation = evaluation_derivation.evaluation(spec)
    if spec.engine == "reference":
        return derivation.reference(spec, spec.max_iter or DESCENT_ITERATIONS)
    program = _fused(spec)
    return program if evaluation is None else program.model_copy(update={"evaluation": evaluation})


def _fused(spec: Spec) -> FirstOrder | Newton:
    from mpc import derivation, newton_derivation

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
    if not Decimal("0.0001") <= inverse_strength(spec) <= Decimal(100_000):
        raise ProgramError(f"C={spec.C} lies outside 0.0001 to 100000", action="choose a C within")


def inverse_strength(spec: Spec) -> Decimal:
    """C as a number. Raises: ProgramError if it is none."""
    try:
        found = Decimal(spec.C)
    except InvalidOperation as exc:
        raise ProgramError(f"C='{spec.C[:32]}' is not a decimal number", action="write one such as 1.0") from exc
    if not found.is_finite():
        raise ProgramError(f"C={spec.C} is not finite", action="write one such as 1.0")
    return found
