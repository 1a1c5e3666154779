"""The few facts that a training's program is derived from, and what of them can't be."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Literal, NamedTuple

from mpc.curves import USUAL_CELL
from mpc.errors import ProgramError
from mpc.evaluation_program import Told
from mpc.evidence_program import Evidence, check_evidence, fold_period
from mpc.means_program import Means, check_means
from mpc.partition import Partition, check
from mpc.quantiles_program import Quantiles, check_quantiles

MAX_CELLS = 1 << 28  # rows x columns in one process's memory as int64
MOST_STRENGTHS = 16  # of a grid
MOST_CLASSES = 20
MOST_FOLDS = 20
MOST_MODELS = 128  # of a run, with those that only a cross-validation needs

LIMITS = (("max_iter", 1, 100_000), ("loss_every", 0, 100_000), ("clip_bits", 0, 8))
MOST_LEARNING_RATE = 10
LEAST_NOISE, MOST_NOISE = Decimal("0.0001"), Decimal(1)  # less is lost in rounding, more leaves no model


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
    noise: str = "0"  # standard deviation of what each party adds to each told weight, in standardised units
    held_out: Partition | None = None  # rows kept out of training, in the same columns
    figures: tuple[Told, ...] = ()  # of the held-out rows, in the order of EVERY_FIGURE
    smallest_cell: int = USUAL_CELL  # rows that a step of a table stands for, at least
    evidence: Evidence | None = None  # of columns that are weighed by the label before they are trained on
    quantiles: Quantiles | None = None  # of raw columns that several parties have rows of
    means: Means = ()  # of raw columns with gaps, likewise

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


def check_specification(spec: Spec) -> None:
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
    _check_noise(spec)
    check_evidence(spec, spec.evidence, spec.classes, spec.folds)
    check_quantiles(spec, spec.quantiles)
    check_means(spec, spec.means)
    if spec.engine == "reference" and (spec.evidence is not None or spec.quantiles is not None or spec.means):
        raise ProgramError(
            "the reference engine weighs no columns, ranks none and averages none", action="encode them in another way"
        )


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
    rows_of_each = spec.rows // fold_period(spec.folds, spec.evidence)
    if not (2 <= spec.folds <= MOST_FOLDS and rows_of_each >= 2):
        raise ProgramError(f"{spec.folds} folds of {spec.rows} rows", action=f"choose 2 to {MOST_FOLDS} folds")
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


def _check_noise(spec: Spec) -> None:
    found = noise(spec)
    if found and not LEAST_NOISE <= found <= MOST_NOISE:
        raise ProgramError(
            f"noise={spec.noise} lies outside {LEAST_NOISE} to {MOST_NOISE}", action="choose one within, or 0 for none"
        )
    if found and spec.engine == "reference":
        raise ProgramError("the reference engine adds no noise", action="leave noise out")


def strengths(spec: Spec) -> tuple[Decimal, ...]:
    """C of each model as a number. Raises: ProgramError if it is none."""
    return tuple(_decimal("C", each.C) for each in spec.trained)


def learning_rate(spec: Spec) -> Decimal:
    """Raises: ProgramError if it is no number."""
    return _decimal("learning_rate", spec.learning_rate or "")


def noise(spec: Spec) -> Decimal:
    """Raises: ProgramError if it is no number."""
    return _decimal("noise", spec.noise)


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
