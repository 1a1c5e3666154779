"""Whether training has converged: one disclosed bit of the last gradients that were taken.

Exactly as many iterations run as the contract says: stopping on data would tell the dealer. So the bit changes nothing;
it warns, as scikit-learn does, that more iterations would have moved the model.
"""

from __future__ import annotations

import numpy as np

from mpc.disclosure import Disclosure
from mpc.fused_program import Convergence
from mpc.guard import any_beyond
from mpc.runtime import Runtime
from mpc.shares import words
from mpc.shim import ArithmeticSharedTensor


def converged(runtime: Runtime, convergence: Convergence, gradient: ArithmeticSharedTensor) -> bool:
    """Whether no entry lies beyond its model's bound. Shapes: gradient (d, M), `every` times a sum over the rows.

    Reveals: the bit, to the session; never of which model or entry, or how far.
    Cost: CrypTen's comparisons of 2 d M words and of one, and a disclosure.
    """
    bit = -words(any_beyond(gradient, np.array(convergence.bounds)))
    opened = runtime.discloser.open(Disclosure("converged", "session", 1), bit + 1 if runtime.rank == 0 else bit)
    return opened is not None and bool(opened[0])
