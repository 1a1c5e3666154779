"""What a program says of held-out rows: which figures of them are told, and how they are counted."""

from __future__ import annotations

from typing import Literal, TypeAlias

from mpc.curves import CURVES, Curve, counts, marks
from mpc.design import Opening
from mpc.errors import ProgramError
from mpc.partition import Frozen, Partition
from mpc.scales import SCORE_BITS

Figure: TypeAlias = Literal["auc", "log-loss", "brier"]
FIGURES: tuple[Figure, ...] = ("auc", "log-loss", "brier")
Told: TypeAlias = Literal["auc", "log-loss", "brier", "roc", "calibration"]  # all that may be asked for
EVERY_FIGURE: tuple[Told, ...] = (*FIGURES, *CURVES)


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
