"""Logistic regression as scikit-learn's users know it, by the engine with all its parties as threads of one process.

For trying things out: what a secure training finds, how near it is to the one on the pooled table, and what it costs.
**Nothing is hidden here from whoever runs it**: one process has everybody's columns. Between organisations a session of
their nodes does the same, by the same program (docs/quickstart.md).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from mpc.convergence_derivation import MOST_TOL, least_tol
from mpc.errors import ProgramError
from mpc.fused_program import FirstOrder, Newton
from mpc.partition import labels_of, vertical
from mpc.program import Program, derive
from mpc.simulation import Simulation
from mpc.specification import MOST_CLASSES, Spec
from mpc.training import Fit, train

CLIP_BITS = 5  # columns are clipped to 2**5 deviations around their mean, as a plan's preparation does
MOST_PARTIES = 16
SOLVERS = ("auto", "newton", "nesterov", "sgd")

Floats = NDArray[np.float64]


class SecureLogisticRegression(ClassifierMixin, BaseEstimator):
    """Logistic regression with an L2 penalty, trained by parties that each hold some of the columns.

    Parameters are those of scikit-learn's `LogisticRegression`, where they have its names. Each column is standardised
    by its party first (without an intercept it is divided by its root mean square, and not centred), and the penalty is
    that of the standardised ones: the model is `make_pipeline(StandardScaler(), LogisticRegression(C))`, told in the
    units of `X`. The intercept bears no penalty. Of several classes each has its model against the rest; all of these
    are trained in the same rounds.

    Args:
        parties: how many divide the columns among them, as evenly as they go, or how many columns each has. The last
            one has the labels, and may have no column.
        C: inverse strength of the penalty, 0.0001 to 100000.
        tol: the mean gradient's greatest entry, above which a `ConvergenceWarning` is given; what rounding does not let
            be told from zero counts as zero, and 0 asks for nothing. Not of "sgd".
        fit_intercept: whether there is one.
        solver: "newton", "nesterov", "sgd", or "auto": newton up to 256 columns and 100 iterations.
        max_iter: exactly so many iterations run, for whoever stops on data tells of it; None: what the solver needs.
        batch_size, learning_rate: of "sgd", which needs both.

    Attributes:
        coef_, intercept_, classes_, n_iter_, n_features_in_: as scikit-learn's.
        rounds_: messages that each party waited for, one after the other.
        bytes_: what each party sent to the others, and last what the dealer sent.
    """

    def __init__(
        self,
        parties: int | Sequence[int] = 2,
        *,
        C: float = 1.0,
        tol: float = 1e-4,
        fit_intercept: bool = True,
        solver: str = "auto",
        max_iter: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
    ) -> None:
        self.parties = parties
        self.C = C
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train. Shapes: X (rows, columns), y (rows,) of any labels.

        Raises: ValueError for what can't be trained on; RangeExceeded for columns that tell the classes apart so well
        that scores leave every range.
        """
        table, labels = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if not 2 <= len(self.classes_) <= MOST_CLASSES:
            found = "one class" if len(self.classes_) == 1 else f"{len(self.classes_)} classes"
            raise ValueError(f"y has {found}; a model tells 2 to {MOST_CLASSES} apart")
        columns = _divided(self.parties, table.shape[1])
        program = self._program(len(table), columns)
        centre, unit = _standard(table, centred=bool(self.fit_intercept))
        standardised = ((table - centre) / unit).clip(-(1 << CLIP_BITS), 1 << CLIP_BITS)
        fits, dealt = _simulated(program, standardised, numbers.astype(np.int64))
        coefficients, intercept = _gathered(program, fits)
        self.coef_ = coefficients / unit
        self.intercept_ = intercept - self.coef_ @ centre
        self.n_iter_ = np.full(len(self.coef_), program.max_iter, dtype=np.int32)
        self.rounds_ = fits[0].rounds
        self.bytes_ = np.array([*(each.bytes_sent for each in fits), dealt])
        if fits[0].models[0].converged is False:
            warnings.warn(
                f"after {program.max_iter} iterations the gradient is not below tol={self.tol}; raise max_iter",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def decision_function(self, X: ArrayLike) -> Floats:
        """Scores. Shapes: X (rows, columns) -> (rows,) of two classes, (rows, classes) of more."""
        check_is_fitted(self)
        table = validate_data(self, X, dtype=np.float64, reset=False)
        scores: Floats = table @ self.coef_.T + self.intercept_
        return scores.ravel() if len(self.classes_) == 2 else scores

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Probabilities; of several classes each model's, brought to a sum of 1. Shapes: -> (rows, classes)."""
        p: Floats = expit(self.decision_function(X))
        if p.ndim == 1:
            return np.column_stack([1 - p, p])
        p /= np.maximum(p.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        return p

    def predict_log_proba(self, X: ArrayLike) -> Floats:
        """Their logarithms."""
        return np.log(self.predict_proba(X))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class of each row that has the greatest score. Shapes: -> (rows,)."""
        scores = self.decision_function(X)
        found: NDArray[Any] = self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True  # masks are fresh in each run, and rounding with them
        return tags

    def _program(self, rows: int, columns: Sequence[int]) -> Program:
        """Raises: ValueError for what the engine can't compute."""
        if self.solver not in SOLVERS:
            raise ValueError(f"solver='{self.solver}'; choose {', '.join(SOLVERS)}")
        classes = len(self.classes_)
        facts: dict[str, Any] = {
            "rows": rows,
            "blocks": vertical(rows, columns),
            "labels": labels_of(rows, len(columns) - 1),
            "C": _decimal("C", self.C),
            "classes": classes if classes > 2 else 1,
            "fit_intercept": bool(self.fit_intercept),
            "solver": None if self.solver == "auto" else self.solver,
            "max_iter": self.max_iter,
            "loss_every": 0,
            "batch_rows": self.batch_size,
            "learning_rate": None if self.learning_rate is None else _decimal("learning_rate", self.learning_rate),
            "clip_bits": CLIP_BITS,
        }
        asked, spec = Decimal(_decimal("tol", self.tol)), Spec(**facts)
        try:
            program = derive(spec)
            if not asked or not isinstance(program, FirstOrder | Newton):
                return program
            tol = min(max(asked, least_tol(spec, program)), MOST_TOL)
            return derive(spec.model_copy(update={"tol": f"{tol:f}"}))
        except ProgramError as exc:
            raise ValueError(str(exc)) from exc


def _standard(X: Floats, *, centred: bool) -> tuple[Floats, Floats]:
    """What is taken off each column, and by what it is then divided; one that does not vary has no weight."""
    centre: Floats = X.mean(axis=0) if centred else np.zeros(X.shape[1])
    unit: Floats = np.sqrt(((X - centre) ** 2).mean(axis=0))
    unit[unit <= 10 * np.finfo(np.float64).eps * np.abs(centre)] = np.inf
    return centre, unit


def _decimal(name: str, value: float) -> str:
    """A number as the engine takes it. Raises: ValueError if it is none, or below zero."""
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{name}={value} is not a number above 0")
    return f"{Decimal(repr(number)):f}"


def _divided(parties: int | Sequence[int], columns: int) -> list[int]:
    """Columns of each party. Raises: ValueError for parties that can't be."""
    if isinstance(parties, int | np.integer):
        if not 2 <= parties <= MOST_PARTIES:
            raise ValueError(f"parties={parties}; choose 2 to {MOST_PARTIES}")
        found = [len(part) for part in np.array_split(np.arange(columns), int(parties))]
    else:
        found = [int(each) for each in parties]
    if not 2 <= len(found) <= MOST_PARTIES or min(found) < 0 or sum(found) != columns:
        raise ValueError(f"parties={parties}: write how many of the {columns} columns each of 2 to {MOST_PARTIES} has")
    return found


def _simulated(program: Program, X: Floats, numbers: NDArray[np.int64]) -> tuple[list[Fit], int]:
    """Train as all parties. Returns what each was told, and the bytes that the dealer sent."""
    simulation, owner = Simulation(program), program.label_owners[0]
    fits = simulation.run(
        lambda runtime: train(
            program,
            np.ascontiguousarray(X[:, program.held(runtime.rank)]),
            numbers if runtime.rank == owner else None,
            runtime,
        )
    )
    return fits, simulation.dealing.bytes_sent if simulation.dealing else 0


def _gathered(program: Program, fits: Sequence[Fit]) -> tuple[Floats, Floats]:
    """All parties' parts of the models. Shapes: -> (models, columns), (models,)."""
    coefficients = np.zeros((program.results, program.columns))
    for rank, fit in enumerate(fits):
        for place, model in enumerate(fit.models):
            coefficients[place, program.held(rank)] = model.coefficients
    told = [model.intercept for model in fits[program.label_owners[0]].models]
    return coefficients, np.array([each or 0.0 for each in told])
