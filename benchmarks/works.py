"""The works: which table, how it is trained on, who else can do the same, and what Privity must reach.

Tables are made up from fixed seeds, but for breast cancer, which is scikit-learn's; columns are standardised and
clipped to +-2**CLIP_BITS. Gradient descent takes batches of consecutive rows and goes round the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CLIP_BITS = 5
SEED = 20_261_127
PRIVITY, CRYPTEN, SEMI2K, ABY3, NUMPY = SYSTEMS = ("privity", "crypten", "spu-semi2k", "spu-aby3", "numpy")
LEARNING_RATE = "0.1"
Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Data:
    """A pooled table, standardised, and rows that nobody trains on."""

    X: Floats = field(repr=False)
    y: Labels = field(repr=False)
    unseen_rows: Floats = field(repr=False)
    unseen_labels: Labels = field(repr=False)


@dataclass(frozen=True)
class Goal:
    """What Privity must reach, each if it is not None."""

    times: tuple[tuple[str, float], ...] = ()  # at least so many times a peer's iterations a second
    iterations_per_second: float | None = None
    iterations: int | None = None  # to the optimum
    seconds: float | None = None  # of training
    auc: float | None = None  # difference from scikit-learn's
    peak_mb: float | None = None  # memory of each party's process

    def __str__(self) -> str:
        parts = [f">= {factor:g} x {system}" for system, factor in self.times]
        parts += [f">= {self.iterations_per_second:g} iterations/s"] if self.iterations_per_second else []
        parts += [f"<= {self.iterations} iterations"] if self.iterations else []
        parts += [f"<= {self.seconds:g} s"] if self.seconds else []
        parts += [f"AUC within {self.auc:g}"] if self.auc else []
        parts += [f"each party's peak <= {self.peak_mb:g} MB"] if self.peak_mb else []
        return ", ".join(parts) or "completes"


@dataclass(frozen=True)
class Work:
    """One line of the table of works."""

    name: str
    parties: int
    rows: int
    columns: int
    goal: Goal
    iterations: dict[str, int]  # of each system that can do it; 0: as many as its own rule says
    batch_rows: int | None = None  # None: Newton's method to the optimum, each iteration on all rows
    C: str = "1"
    delay_ms: float = 0  # one way between two parties
    repeats: int = 3  # in turn with the other systems; the median counts
    table: Callable[[Work], Data] = field(default=lambda work: made_up(work.rows, work.columns), repr=False)

    @property
    def descends(self) -> bool:
        """Whether it is gradient descent in mini-batches, for its speed alone."""
        return self.batch_rows is not None

    @property
    def blocks(self) -> tuple[int, ...]:
        """How many columns each party holds."""
        each, more = divmod(self.columns, self.parties)
        return tuple(each + (rank < more) for rank in range(self.parties))

    def data(self) -> Data:
        return self.table(self)


def made_up(rows: int, columns: int) -> Data:
    """Correlated normal columns, labels by a logistic model of them; a quarter as many rows, 5000 at most, held out."""
    source = np.random.default_rng((SEED, rows, columns))
    held = min(rows // 4, 5000)
    X = source.standard_normal((rows + held, columns), dtype=np.float32).astype(np.float64)
    X[:, 1:] += 0.5 * X[:, :-1]
    weights = source.standard_normal(columns) * 2 / np.sqrt(columns)
    y = (source.random(rows + held) < 1 / (1 + np.exp(-(X @ weights) + 0.5))).astype(np.int64)
    return standardised(X, y, held)


def cancer(_: Work) -> Data:
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    return standardised(X, y.astype(np.int64), 0)


def standardised(X: Floats, y: Labels, held: int) -> Data:
    """The last rows are held out; the others' mean and deviation apply to all."""
    rows, most = len(X) - held, 1 << CLIP_BITS
    X -= X[:rows].mean(axis=0)
    X /= X[:rows].std(axis=0)
    np.clip(X, -most, most, out=X)
    return Data(X[:rows], y[:rows], X[rows:], y[rows:])


def tables_mb(rows: int, columns: int, parties: int) -> float:
    """What `E`, with its constant column, and the least party's own columns `X` take as words of 8 bytes."""
    return 8e-6 * rows * (columns + 1 + columns // parties)


def _descent(parties: int, columns: int, batch_rows: int, rows: int, goal: Goal, iterations: dict[str, int]) -> Work:
    name = f"gd-{columns}x{batch_rows}-{parties}p"
    return Work(name, parties, rows, columns, goal, iterations, batch_rows)


_SMALL = {PRIVITY: 3000, CRYPTEN: 15, SEMI2K: 40, ABY3: 40, NUMPY: 20_000}
_LARGE = {PRIVITY: 800, CRYPTEN: 10, SEMI2K: 15, ABY3: 15, NUMPY: 1000}
_SPU = ((SEMI2K, 40), (ABY3, 40))
_TABLE = {PRIVITY: 0, NUMPY: 0}
WORKS = {
    work.name: work
    for work in (
        _descent(2, 100, 128, 12_800, Goal(((CRYPTEN, 150), *_SPU)), _SMALL),
        _descent(2, 1000, 1024, 8192, Goal(((CRYPTEN, 30), (SEMI2K, 10), (ABY3, 10))), _LARGE),
        _descent(3, 100, 128, 12_800, Goal(((CRYPTEN, 150), *_SPU)), _SMALL),
        Work(
            "gd-100x128-2p-10ms",
            2,
            12_800,
            100,
            Goal(iterations_per_second=28),
            {PRIVITY: 1500, SEMI2K: 10, ABY3: 10},
            batch_rows=128,
            delay_ms=10,
            repeats=1,
        ),
        Work("cancer-2p", 2, 569, 30, Goal(iterations=15, seconds=2), _TABLE, table=cancer),
        Work("table-7000x54-2p", 2, 7000, 54, Goal(seconds=10, auc=0.001), _TABLE),
        Work("table-100000x100-2p", 2, 100_000, 100, Goal(seconds=300), _TABLE, repeats=1),
        Work(
            "table-1000000x40-2p",
            2,
            1_000_000,
            40,
            Goal(peak_mb=3 * tables_mb(1_000_000, 40, parties=2)),
            _TABLE,
            repeats=1,
        ),
    )
}
