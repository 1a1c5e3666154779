"""The range guard: one disclosed bit, whether any score left the range that the sigmoid's period is made for."""

from __future__ import annotations

from typing import Any

import torch

from mpc.disclosure import Disclosure
from mpc.program import GUARD_SCORES, SCORE_BITS, Rung
from mpc.runtime import Runtime
from mpc.shares import words
from mpc.shim import ArithmeticSharedTensor, MPCTensor


def exceeded(runtime: Runtime, rung: Rung, z: ArithmeticSharedTensor) -> bool:
    """Whether any |z| > bound. Shapes: z any, scale 2**SCORE_BITS.

    Reveals: the bit, to the session and, by what follows from it, to the dealer; never how many.
    Cost: CrypTen's comparisons of 2 words a score, GUARD_SCORES scores at once, and of one word, and a disclosure.
    """
    limit = rung.bound << SCORE_BITS
    count = torch.zeros(1, dtype=torch.int64)
    for scores in z.share.reshape(-1).split(GUARD_SCORES):
        part = ArithmeticSharedTensor.from_shares(scores, precision=0)
        count += negative(ArithmeticSharedTensor.cat([_less(limit, part), _plus(limit, part)])).share.sum()
    hit = negative(ArithmeticSharedTensor.from_shares(-count, precision=0))
    opened = runtime.discloser.open(Disclosure("guard", "session", 1), words(hit))
    return opened is not None and bool(opened[0])


def _less(limit: int, z: Any) -> Any:
    return ArithmeticSharedTensor.from_shares(-z.share, precision=0).add(limit)


def _plus(limit: int, z: Any) -> Any:
    return ArithmeticSharedTensor.from_shares(z.share.clone(), precision=0).add(limit)


def negative(x: Any) -> Any:
    """Shares of 1 where x < 0, by CrypTen's comparison."""
    tensor = MPCTensor(torch.empty(0), src=0)
    tensor._tensor = x  # noqa: SLF001 - CrypTen's own way to lift a share
    return tensor._ltz()._tensor  # noqa: SLF001
