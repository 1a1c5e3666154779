"""The frozen program of a session: what every party and the dealer run, derived from a few facts and nothing else.

`derive` is pure and uses integers and decimals alone: each node and the dealer derive the program again before they
sign, so whoever wrote the contract is trusted for nothing. No floating-point number in it ever multiplies a share.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic import Field

from mpc.curves import CURVES, USUAL_CELL, Curve, counts, marks
from mpc.errors import ProgramError
from mpc.partition import Frozen, Partition, check

DESCENT_ITERATIONS = 300  # of first-order solvers, unless the plan says otherwise
MAX_CELLS = 1 << 28  # rows x columns in one process's memory as int64
MOST_STRENGTHS = 16  # of a grid
MOST_CLASSES = 20
MOST_FOLDS = 20
MOST_MODELS = 128  # of a run, with those that only a cross-validation needs

LIMITS = (("max_iter", 1, 100_000), ("loss_every", 0, 100_000), ("clip_bits", 0, 8))
MOST_LEARNING_RATE = 10

FRACTION_BITS = 14  # of CrypTen's tensors: products stay far enough below 2**64 for its truncation
DATA_BITS = 13  # fractional bits of a table's entries
ITERATE_BITS = 18  # of weights once opened and truncated
SCORE_BITS = DATA_BITS + ITERATE_BITS
GUARD_SCORES = 1 << 17  # whose range is guarded at once: CrypTen's comparison takes memory of many times a word
MOMENTUM_BITS = 6
NEWTON_MOMENTUM = 51  # at most, at scale 2**MOMENTUM_BITS: four fifths
TABLE_BITS = 16  # of the dealer's sines and cosines
LOSS_BITS = 34  # of the summed loss before it is truncated
LOSS_LIMIT_BITS = 4  # a mean loss of 16 and more would wrap: such a run is worthless anyway
LOSS_DIGITS = 14  # fractional bits of a disclosed mean loss
DENSITY_BITS = 34  # of p (1 - p) before it is truncated
ROW_BITS = 14  # of p (1 - p) once truncated: what scales the rows of the table
MOMENTS = 2  # figures that are disclosed of a column of several owners: the sums of its values and of their squares
LIMBS = 6  # words that such a sum is opened in
INFORMATION_BITS = 2 * DATA_BITS + ROW_BITS  # of X^T S X before it is rounded

Figure: TypeAlias = Literal["auc", "log-loss", "brier"]
FIGURES: tuple[Figure, ...] = ("auc", "log-loss", "brier")
Told: TypeAlias = Literal["auc", "log-loss", "brier", "roc", "calibration"]  # all that may be asked for
EVERY_FIGURE: tuple[Told, ...] = (*FIGURES, *CURVES)


Stage: TypeAlias = Literal[  # of a session, in this order; each has those that its kind needs
    "matching", "preparation", "masking", "training", "evaluation", "results", "prediction"
]


class Trained(NamedTuple):
    """What sets a model of a run apart from the others."""

    C: str
    label: int  # the column of labels: the class that it tells from the rest
    fold: int | None  # whose rows it is not trained on, but judged by; None: it is trained on all


class Spec(Partition):
    """What a program is derived from."""

    engine: Literal["fused", "reference"] = "fused"
    solver: Literal["newton", "nesterov", "sgd"] | None = None  # of the fused engine; None: newton where it fits
    C: str | tuple[str, ...]  # of one model, or of a grid of models
    classes: int = 1  # each of which a model tells from the rest; one model tells two classes apart
    folds: int = 0  # of the cross-validation that chooses among the grid's C; 0: all of them are told
    fit_intercept: bool
    max_iter: int | None = None  # None: what the solver needs by its rule
    loss_every: int
    clip_bits: int
    batch_rows: int | None = None  # of sgd alone: rows of one gradient
    learning_rate: str | None = None  # of sgd alone: what the mean gradient of a batch is multiplied by
    tol: str = "0"  # below which the greatest entry of the mean gradient is to end; 0: not asked; auto: as can be told
    held_out: Partition | None = None  # rows kept out of training, in the same columns
    figures: tuple[Told, ...] = ()  # of the held-out rows, in the order of EVERY_FIGURE
    smallest_cell: int = USUAL_CELL  # rows that a step of a table stands for, at least

    @property
    def grid(self) -> tuple[str, ...]:
        """The values of C."""
        return (self.C,) if isinstance(self.C, str) else self.C

    @property
    def trained(self) -> tuple[Trained, ...]:
        """Every model of the run: those that may be told, then those that leave out a fold."""
        folds = (None, *range(self.folds))
        found = [Trained(C, label, fold) for fold in folds for C in self.grid for label in range(self.classes)]
        return tuple(found)

    @property
    def results(self) -> int:
        """How many models are told."""
        return self.classes if self.folds else len(self.trained)


Recipients: TypeAlias = Literal["session"] | tuple[int, ...]


class Opening(Frozen):
    """A value that the program discloses: to whom, how often and how many numbers each time, at most."""

    name: str
    recipients: Recipients
    count: int
    values: int


class Design(Partition):
    """The joint table with its public constant column, which is last, if there is one."""

    fit_intercept: bool

    classes: int = 1  # columns of labels, each a class against the rest; or the one that tells two classes apart

    @property
    def results(self) -> int:
        """Models whose coefficients are disclosed, or whose scores are told."""
        return self.classes

    @property
    def width(self) -> int:
        """Columns with the constant one."""
        return self.columns + self.fit_intercept

    def own(self, rank: int) -> list[int]:
        """Columns of which a party owns entries; the constant one counts as the lowest rank's."""
        held = self.held(rank)
        return [*held, self.width - 1] if rank == 0 and self.fit_intercept else held


class Common(Design):
    """What every program takes over from its specification."""

    max_iter: int
    loss_every: int
    clip_bits: int
    folds: int = 0

    def _results(self) -> list[Opening]:
        """Moments of columns that several parties hold rows of; a column's coefficients go to its owners."""
        groups = self.groups
        found = [
            Opening(name="moments", recipients=group.owners, count=1, values=MOMENTS * len(group.columns))
            for group in groups
            if group.divided
        ]
        found += [
            Opening(name="coefficients", recipients=group.owners, count=1, values=len(group.columns) * self.results)
            for group in groups
        ]
        if self.fit_intercept:
            found.append(Opening(name="intercept", recipients=self.label_owners, count=1, values=self.results))
        return found


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


class Rung(Frozen):
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


class Segment(Frozen):
    """Iterations between two range guards, and the slots that they may take."""

    iterations: int
    slots: int

    @property
    def spares(self) -> int:
        """Slots that are there for rejected openings."""
        return self.slots - self.iterations


class Evaluation(Frozen):
    """Figures of held-out rows from shared histograms of their scores (mpc/evaluation.py)."""

    partition: Partition  # of the held-out rows, in the columns of the training rows
    figures: tuple[Told, ...]
    period: int  # scores are binned modulo this
    bins: int  # of a period
    chunk_rows: int  # whose histograms are dealt in one tuple
    figure_shift: int  # bits that rounding takes off a sum over the rows, scale 2**bins.FIGURE_BITS
    models: int  # whose figures are told
    smallest_cell: int | None = None  # of tables, if any are told

    @property
    def rows(self) -> int:
        return self.partition.rows

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
        return tuple(figure for figure in self.numbers if figure != "auc")

    @property
    def numbers(self) -> tuple[Figure, ...]:
        """The figures that are one number each."""
        return tuple(figure for figure in FIGURES if figure in self.figures)

    @property
    def curves(self) -> tuple[Curve, ...]:
        """The figures that are tables of counts."""
        return tuple(curve for curve in CURVES if curve in self.figures)

    @property
    def cell(self) -> int:
        """Raises: ProgramError if no table is told."""
        if self.smallest_cell is None:
            raise ProgramError("this program tells no tables")
        return self.smallest_cell

    @property
    def compared_words(self) -> int:
        """Counts of tables times the marks that they are held against."""
        if not self.curves:
            return 0
        return self.models * sum(2 * counts(curve) for curve in self.curves) * len(marks(self.rows, self.cell))

    def disclosures(self) -> list[Opening]:
        """A number each, but of a table counts of both classes."""
        sizes: dict[Told, int] = dict.fromkeys(self.numbers, 1)
        sizes |= {curve: 2 * counts(curve) for curve in self.curves}
        return [
            Opening(name=figure, recipients="session", count=1, values=size * self.models)
            for figure, size in sizes.items()
        ]


class Model(Frozen):
    """What a model of a run has of its own (mpc/MODELS.md): what it is trained for, and integers that follow from C."""

    C: str
    label: int  # see Trained
    fold: int | None
    residual_unit: int  # what a residual of 1 is before truncation
    ridge: int  # what the truncated iterate is multiplied by for the penalty's part of a gradient


class DescentModel(Model):
    """The same of a first-order method."""

    ridge_every: int  # the penalty is applied every so many iterations: an integer that small steps leave exact


class NewtonModel(Model):
    """The same of Newton's method."""

    damping: int  # added to the diagonal of X^T S X at scale 2**INFORMATION_BITS, the penalty included
    intercept_damping: int  # the same of the intercept, which bears no penalty
    start: int  # of the inverse's diagonal, at scale 2**(inverse_bits + product_bits + 1): one over a trace's bound


class Convergence(Frozen):
    """Whether the last gradients that were taken are small, told as one bit (mpc/convergence.py)."""

    tol: str  # of a mean gradient's greatest entry
    bounds: tuple[int, ...]  # of each model, the same of `every` times the gradient's sum over the rows, in its scale
    every: tuple[int, ...]  # of each model, iterations from one penalty to the next, whose integer is of as many


class Fused(Common):
    """Gradients in three rounds (mpc/README.md). Windows are the k of a truncating opening."""

    models: tuple[Model, ...]

    state_bits: int  # fractional bits of the iterate before truncation
    state_window: int
    residual_window: int
    residual_shift: int
    loss_window: int
    loss_shift: int
    copies: int  # of an opening whose rejection must not matter, sent at once
    strip_rows: int  # rows whose tables are dealt and used at once, so that memory stays bounded
    segments: tuple[Segment, ...]
    ladder: tuple[Rung, ...]
    convergence: Convergence | None = None
    evaluation: Evaluation | None = None

    @property
    def results(self) -> int:
        return self.classes if self.folds else len(self.models)

    @property
    def grid(self) -> tuple[str, ...]:
        """The values of C."""
        return tuple(dict.fromkeys(model.C for model in self.models))

    @property
    def reported(self) -> int:
        """Losses of one report: of each model on all rows, and the cross-validated one of each C."""
        return len(self.grid) * (self.classes + (self.folds > 0))

    @property
    def residual_units(self) -> tuple[int, ...]:
        """Of each model."""
        return tuple([model.residual_unit for model in self.models])

    @property
    def gradient_rows(self) -> int:
        """Rows that one gradient is taken of."""
        return self.rows

    @property
    def strips(self) -> int:
        """How many strips the rows are; the last one is filled up with zeros."""
        return -(-self.rows // self.strip_rows)

    def strip(self, number: int) -> slice:
        """A strip's rows."""
        return slice(number * self.strip_rows, min((number + 1) * self.strip_rows, self.rows))

    def may_report(self, slot: int) -> bool:
        """Whether this slot of a segment can be of an iteration whose loss is reported. Slots count from 1."""
        return self.loss_every > 0

    def reports(self, segment: Segment) -> int:
        """How often a pass through a segment discloses the loss."""
        return segment.iterations // self.loss_every if self.loss_every else 0

    @property
    def state_shift(self) -> int:
        """Surplus bits of the iterate."""
        return self.state_bits - ITERATE_BITS

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
                found += self._losses(count)
        if self.convergence is not None:
            found.append(Opening(name="converged", recipients="session", count=1, values=1))
        if self.evaluation is not None:
            found += self.evaluation.disclosures()
        return tuple(found)

    def discloses(self, name: str) -> bool:
        """Whether anything of this name is opened."""
        return any(each.name == name for each in self.disclosures())

    def _losses(self, count: int) -> list[Opening]:
        told = len(self.grid)
        found = [Opening(name="loss", recipients="session", count=count, values=told * self.classes)]
        if self.folds:
            found.append(Opening(name="cross-validation", recipients="session", count=count, values=told))
        return found


class FirstOrder(Fused):
    """Nesterov's descent: the step, 1 / (curvature * rows), is part of the scales, so that the update is local."""

    engine: Literal["fused"] = "fused"
    models: tuple[DescentModel, ...]


class MiniBatch(Fused):
    """Stochastic descent: each gradient is of the next `batch_rows` rows of a table that was shuffled once.

    The learning rate is part of the scales. Slots are dealt in lots, so that small batches cost little beside rounds.
    """

    engine: Literal["sgd"] = "sgd"
    models: tuple[DescentModel, ...]
    batch_rows: int
    lot: int  # slots dealt at once; a segment's are a multiple

    def reports(self, segment: Segment) -> int:
        """The loss of the whole table, which a batch does not tell, is there when the guard looks at it."""
        return 1 if self.loss_every else 0

    @property
    def gradient_rows(self) -> int:
        return self.batch_rows

    def batch_start(self, phase: int, slot: int) -> int:
        """Where a slot's rows begin; they go round at the table's end. Phases count from 1, slots from 0.

        A void slot's rows are left out: which rows come next does not depend on what was rejected.
        """
        before = (phase - 1) * max([segment.slots for segment in self.segments])
        return (before + slot) * self.batch_rows % self.rows


class Newton(Fused):
    """Lagged Newton steps: gradients are multiplied by a shared inverse of the information matrix.

    Matrices and gradients are sums over the rows divided by 2**mean_bits, a power of two just above the rows.
    """

    engine: Literal["newton"] = "newton"
    models: tuple[NewtonModel, ...]
    ladder: tuple[CurvedRung, ...]
    mean_bits: int
    gradient_window: int
    gradient_shift: int
    density_window: int
    information_bits: int
    inverse_bits: int
    inverse_window: int
    product_bits: int
    product_window: int
    rounded_steps: bool  # the inverse is rounded before each step, a round more: its window would be too wide
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

    def may_report(self, slot: int) -> bool:
        return 0 < self.loss_every <= slot

    def refreshes(self, slot: int) -> bool:
        """Whether the inverse is made anew in this slot of a segment. Slots count from 1."""
        return 1 < slot <= self.refresh_until and (slot - 1) % self.refresh_every == 0


Program: TypeAlias = Annotated[FirstOrder | MiniBatch | Newton | Reference, Field(discriminator="engine")]


def derive(spec: Spec) -> FirstOrder | MiniBatch | Newton | Reference:
    """The program that follows from these facts. Raises: ProgramError for what can't be computed."""
    from mpc import convergence_derivation, derivation, evaluation_derivation

    _check(spec)
    evaluation = evaluation_derivation.evaluation(spec)
    if spec.engine == "reference":
        return derivation.reference(spec, spec.max_iter or DESCENT_ITERATIONS)
    program = _fused(spec)
    if program.folds and not program.discloses("cross-validation"):
        raise ProgramError(
            f"a report every {program.loss_every} of {program.max_iter} iterations is none, and tells no validation",
            action="ask for loss reports more often, or for more iterations",
        )
    convergence = convergence_derivation.convergence(spec, program)
    return program.model_copy(update={"convergence": convergence, "evaluation": evaluation})


def _fused(spec: Spec) -> FirstOrder | MiniBatch | Newton:
    from mpc import batch_derivation, derivation, newton_derivation

    if spec.solver == "sgd":
        return batch_derivation.mini_batch(spec, spec.max_iter or DESCENT_ITERATIONS)
    if newton_derivation.suits(spec):
        return newton_derivation.newton(spec, spec.max_iter or newton_derivation.iterations(spec))
    return derivation.first_order(spec, spec.max_iter or DESCENT_ITERATIONS)


def _check(spec: Spec) -> None:
    if spec.columns < 1 or spec.rows < 2:
        raise ProgramError("a table needs a feature column and two training rows at least")
    if spec.rows * (spec.columns + 1) > MAX_CELLS:
        raise ProgramError(
            f"{spec.rows} rows x {spec.columns} columns are more than {MAX_CELLS} cells",
            action="use fewer rows or columns",
        )
    check(spec)
    for name, least, most in LIMITS:
        if (found := getattr(spec, name)) is not None and not least <= found <= most:
            raise ProgramError(f"{name}={found} lies outside {least} to {most}", action=f"choose a {name} within")
    _check_batches(spec)
    _check_grid(spec)


def _check_grid(spec: Spec) -> None:
    """Raises: ProgramError for values of C that can't be, or that are too many."""
    values = [_decimal("C", C) for C in spec.grid]
    for C, value in zip(spec.grid, values, strict=True):
        if not Decimal("0.0001") <= value <= Decimal(100_000):
            raise ProgramError(f"C={C} lies outside 0.0001 to 100000", action="choose a C within")
    if not 1 <= len(set(values)) == len(spec.grid) <= MOST_STRENGTHS:
        raise ProgramError(
            f"a grid of {len(spec.grid)} values of C", action=f"write 1 to {MOST_STRENGTHS} different ones"
        )
    if spec.classes == 2 or not 1 <= spec.classes <= MOST_CLASSES:
        raise ProgramError(
            f"{spec.classes} classes", action=f"name 3 to {MOST_CLASSES}, or of two the one that counts as positive"
        )
    _check_folds(spec)
    count = len(spec.trained)
    if count > MOST_MODELS or spec.rows * count > MAX_CELLS:
        raise ProgramError(
            f"{count} models of {spec.rows} rows are more than {MOST_MODELS} models or {MAX_CELLS} scores",
            action="use fewer values of C, folds, classes or rows",
        )
    if spec.engine == "reference" and count > 1:
        raise ProgramError("the reference engine trains one model", action="choose one C")


def _check_folds(spec: Spec) -> None:
    """Raises: ProgramError for a cross-validation that can't be."""
    if not spec.folds:
        return
    if not 2 <= spec.folds <= min(MOST_FOLDS, spec.rows // 2):
        raise ProgramError(f"{spec.folds} folds of {spec.rows} rows", action=f"choose 2 to {MOST_FOLDS} folds")
    if spec.solver == "sgd":
        raise ProgramError("mini-batches have no folds", action="choose solver = newton or nesterov")
    if not spec.loss_every:
        raise ProgramError("a cross-validation is told with the losses", action="ask for a loss report at least")


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


def strengths(spec: Spec) -> tuple[Decimal, ...]:
    """C of each model as a number. Raises: ProgramError if it is none."""
    return tuple(_decimal("C", each.C) for each in spec.trained)


def learning_rate(spec: Spec) -> Decimal:
    """Raises: ProgramError if it is no number."""
    return _decimal("learning_rate", spec.learning_rate or "")


def tolerance(spec: Spec) -> Decimal:
    """Raises: ProgramError if it is no number."""
    return _decimal("tol", spec.tol)


def _decimal(name: str, text: str) -> Decimal:
    try:
        found = Decimal(text)
    except InvalidOperation as exc:
        raise ProgramError(f"{name}='{text[:32]}' is not a decimal number", action="write one such as 1.0") from exc
    if not found.is_finite():
        raise ProgramError(f"{name}={text} is not finite", action="write one such as 1.0")
    return found
