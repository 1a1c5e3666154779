"""The programs of the fused engine: scales, windows, slots and the range ladder of each solver."""

from __future__ import annotations

from typing import Literal

from mpc.design import Common, Opening
from mpc.evaluation_program import Evaluation
from mpc.evidence_program import Evidence, weighing, weighing_before
from mpc.means_program import Means, averaging
from mpc.partition import Frozen
from mpc.quantiles_program import Quantiles, ranking
from mpc.scales import DENSITY_BITS, INFORMATION_BITS, ITERATE_BITS, ROW_BITS, SCORE_BITS


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
    noise: int = 0  # deviation of what each party adds to each told weight, at scale 2**ITERATE_BITS (mpc/noise.py)
    evaluation: Evaluation | None = None
    evidence: Evidence | None = None
    quantiles: Quantiles | None = None
    means: Means = ()

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
    def validating_rows(self) -> int:
        """Rows that a cross-validation leaves out, each by the models of its fold."""
        return self.rows - (0 if self.evidence is None else weighing_before(self.evidence, self.rows))

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
        return (*ranking(self.quantiles), *averaging(self.means), *weighing(self, self.evidence), *found)

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
