"""How an iterate moves: Nesterov's descent, and Newton steps with a lagged inverse. All of it is local."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from mpc.errors import EngineError
from mpc.fused_program import DescentModel, FirstOrder, Fused, MiniBatch, Newton
from mpc.matrices import shared_product
from mpc.openings import Masked, Truncated
from mpc.ring import Words
from mpc.scales import ITERATE_BITS, MOMENTUM_BITS, NEWTON_MOMENTUM
from mpc.shares import shared, words
from mpc.shim import ArithmeticSharedTensor


@dataclass(frozen=True, repr=False)
class _Iterate:
    """A look-ahead a_t at scale 2**state_bits, from which steps s_t are taken.

    With x_(t+1) = a_t - s_t and a_(t+1) = x_(t+1) + mu_t (x_(t+1) - x_t),
    a_(t+1) = a_t - (1 + mu_t) s_t + mu_t s_(t-1) + mu_t (a_t - a_(t-1)); the last difference is taken of the
    truncated iterates, so that everything is an integer multiple of a share and no round is spent.
    """

    program: Fused
    iteration: int
    ahead: Words  # a_t of each model: (width, models)
    step: Words  # s_(t-1), scale 2**(state_bits - MOMENTUM_BITS)
    truncated: Words  # a_(t-1), scale 2**ITERATE_BITS

    @classmethod
    def start(cls, program: Fused) -> Self:
        """At weights of zero."""
        zero = np.zeros((program.width, len(program.models)), dtype=np.int64)
        return cls(program, 0, zero, zero, zero)

    def iterate(self) -> ArithmeticSharedTensor:
        """Where the next gradient is to be taken; after the last step, the result."""
        return shared(self.ahead)

    def gradient(self, of_data: ArithmeticSharedTensor, truncated: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        """The whole gradient, a sum over the rows. `of_data` is X^T r for a truncated r."""
        return shared(_penalised(self.program, of_data, words(truncated), [each.ridge for each in self.program.models]))

    def _moved(self, step: Words, truncated: Words, momentum: int) -> Self:
        program = self.program
        momentum = 0 if self.iteration + 1 == program.max_iter else momentum
        lift = program.state_bits - ITERATE_BITS - MOMENTUM_BITS
        moved = (truncated - self.truncated) * np.int64(momentum << lift)
        ahead = self.ahead - step * np.int64((1 << MOMENTUM_BITS) + momentum) + self.step * np.int64(momentum) + moved
        return replace(self, iteration=self.iteration + 1, ahead=ahead, step=step, truncated=truncated)


def _penalised(program: Fused, gradient: ArithmeticSharedTensor, here: Words, ridges: list[int]) -> Words:
    """The data's part of each model's gradient and the penalty's, which leaves the intercept alone."""
    found = words(gradient).copy()
    if any(ridges):
        found[: program.columns] += here[: program.columns] * np.array(ridges, dtype=np.int64)
    return found


def _due(models: Iterable[DescentModel], steps: int) -> list[int]:
    """Penalties that are applied after so many steps."""
    return [0 if steps % model.ridge_every else model.ridge for model in models]


@dataclass(frozen=True, repr=False)
class Nesterov(_Iterate):
    """Nesterov's method with momentum t / (t + 3). The step's length is in the gradient's scale."""

    program: FirstOrder

    def stepped(self, gradient: ArithmeticSharedTensor, truncated: ArithmeticSharedTensor) -> Nesterov:
        """After one step. `gradient` is of the data's part: X^T r for a truncated r, `truncated` the iterate itself."""
        program, t, here = self.program, self.iteration, words(truncated)
        step = _penalised(program, gradient, here, _due(program.models, t))
        return self._moved(step, here, (t << MOMENTUM_BITS) // (t + 3))


@dataclass(frozen=True, repr=False)
class Stochastic(_Iterate):
    """Plain descent on one batch after the other. The learning rate is in the gradient's scale."""

    program: MiniBatch

    def stepped(self, gradient: ArithmeticSharedTensor, truncated: ArithmeticSharedTensor) -> Stochastic:
        """After one step. `gradient` is X^T r of a batch for a truncated r, `truncated` the iterate itself."""
        done, step = self.iteration + 1, words(gradient)
        # The penalty's part of that many steps is taken at once, with the last of them.
        if any(due := _due(self.program.models, done)):
            step = _penalised(self.program, gradient, words(truncated), due)
        return Stochastic(self.program, done, self.ahead - step, self.step, self.truncated)  # faster than to replace


@dataclass(frozen=True, repr=False)
class Inverse:
    """Each inverse V of an information matrix: shares of its upper half, and the whole opened under a mask."""

    packed: Words  # scale 2**inverse_bits
    opened: Masked  # (models, d, d)


@dataclass(frozen=True, repr=False)
class LaggedNewton(_Iterate):
    """Steps V g with the last inverse, and momentum that ramps up to make up for its age."""

    program: Newton
    inverse: Inverse | None = None
    age: int = 0  # iterations since the inverse was made

    def refreshed(self, inverse: Inverse) -> LaggedNewton:
        return replace(self, inverse=inverse, age=0)

    def stepped(self, gradient: Truncated, rests: Words, truncated: ArithmeticSharedTensor) -> LaggedNewton:
        """After the step V g. `rests` is a share of the product of what hides them."""
        if self.inverse is None:
            raise EngineError("a Newton step came before any inverse")
        g = gradient.masked()
        step = shared_product(self.inverse.opened, Masked(_stacked(g.public), _stacked(g.rest)), rests)
        momentum = min((self.age << MOMENTUM_BITS) // (self.age + 3), NEWTON_MOMENTUM)
        return replace(self._moved(words(step)[:, :, 0].T, words(truncated), momentum), age=self.age + 1)


def _stacked(vectors: Words) -> Words:
    """As a factor of a stack of matrices. Shapes: (d, e) -> (e, d, 1)."""
    return vectors.T[:, :, None]
