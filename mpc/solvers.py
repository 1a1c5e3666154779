"""First-order solvers on shares. Lagged Newton will stand beside Nesterov here."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mpc.program import ITERATE_BITS, MOMENTUM_BITS, Fused
from mpc.ring import Words
from mpc.shares import shared, words
from mpc.shim import ArithmeticSharedTensor


@dataclass(frozen=True, repr=False)
class Nesterov:
    """Nesterov's method with momentum t / (t + 3), on a look-ahead a_t at scale 2**state_bits.

    With x_(t+1) = a_t - s g_t and a_(t+1) = x_(t+1) + mu_t (x_(t+1) - x_t),
    a_(t+1) = a_t - (1 + mu_t) s g_t + mu_t s g_(t-1) + mu_t (a_t - a_(t-1)); the last difference is taken of the
    truncated iterates, so that everything is an integer multiple of a share and no round is spent.
    """

    program: Fused
    iteration: int
    ahead: Words  # a_t
    step: Words  # s g_(t-1), scale 2**(state_bits - MOMENTUM_BITS)
    truncated: Words  # a_(t-1), scale 2**ITERATE_BITS

    @classmethod
    def start(cls, program: Fused) -> Nesterov:
        zero = np.zeros(program.width, dtype=np.int64)
        return cls(program, 0, zero, zero, zero)

    def iterate(self) -> ArithmeticSharedTensor:
        """Where the next gradient is to be taken; after the last step, the result."""
        return shared(self.ahead)

    def stepped(self, gradient: ArithmeticSharedTensor, truncated: ArithmeticSharedTensor) -> Nesterov:
        """After one step. `gradient` is of the data's part: X^T r for a truncated r, `truncated` the iterate itself."""
        program, t = self.program, self.iteration
        step, here = words(gradient).copy(), words(truncated)
        if t % program.ridge_every == 0:
            step[: program.columns] += here[: program.columns] * np.int64(program.ridge)  # never the intercept
        momentum = 0 if t + 1 == program.max_iter else (t << MOMENTUM_BITS) // (t + 3)
        lift = program.state_bits - ITERATE_BITS - MOMENTUM_BITS
        moved = (here - self.truncated) * np.int64(momentum << lift)
        ahead = self.ahead - step * np.int64((1 << MOMENTUM_BITS) + momentum) + self.step * np.int64(momentum) + moved
        return replace(self, iteration=t + 1, ahead=ahead, step=step, truncated=here)
