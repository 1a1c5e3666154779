"""Products of shared matrices."""

from __future__ import annotations

from mpc.communicator import ChannelCommunicator
from mpc.openings import Masked
from mpc.ring import Words, product
from mpc.shares import shared
from mpc.shim import ArithmeticSharedTensor


def shared_product(P: Masked, Q: Masked, rests: Words) -> ArithmeticSharedTensor:
    """P Q. Shapes: P (d, e), Q (e, f) or (e,) -> (d, f) or (d,), or stacks of them, at the sum of the scales.

    Exact.  Cost: no round.  Reveals: nothing (nothing is sent).
    `rests` is a share of P.rest Q.rest, which the dealer knows: both are made of masks alone. An opened factor serves
    every product with that very value.
    """
    share = product(P.rest, Q.public) + rests
    other = Q.rest + Q.public if ChannelCommunicator.get().get_rank() == 0 else Q.rest
    return shared(share + product(P.public, other))
