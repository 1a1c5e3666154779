"""The range guard: one disclosed bit, whether any score left the range that the sigmoid's period is made for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mpc.disclosure import Disclosure
from mpc.fused_program import Rung
from mpc.ring import Words
from mpc.runtime import Runtime
from mpc.scales import GUARD_SCORES, SCORE_BITS
from mpc.shares import words
from mpc.shim import ArithmeticSharedTensor, MPCTensor


def exceeded(runtime: Runtime, rung: Rung, z: ArithmeticSharedTensor) -> bool:
    """Whether any |z| > bound. Shapes: z any, scale 2**SCORE_BITS.  Exact.

    Reveals: the bit, to the session and, by what follows from it, to the dealer; never how many.
    Cost: CrypTen's comparisons of 2 words a score, GUARD_SCORES scores at once, and of one word, and a disclosure.
    """
    hit = any_beyond(z, rung.bound << SCORE_BITS)
    opened = runtime.discloser.open(Disclosure("guard", "session", 1), words(hit))
    return opened is not None and bool(opened[0])


def any_beyond(x: ArithmeticSharedTensor, limit: int | Words) -> ArithmeticSharedTensor:
    """Shares of 1 if any |x| > limit, else of 0. Shapes: x any, limit alike or one number -> (1,), scale 0.

    Exact.  Requires: |x| + limit < 2**63.  Reveals: nothing (masked).
    Cost: CrypTen's comparisons of 2 words an entry, GUARD_SCORES entries at once, and of one word.
    """
    count = torch.zeros(1, dtype=torch.int64)
    entries = x.share.reshape(-1)
    limits = torch.from_numpy(np.broadcast_to(limit, x.share.shape).reshape(-1) + np.int64(0))
    for start in range(0, len(entries), GUARD_SCORES):
        part, most = (each[start : start + GUARD_SCORES] for each in (entries, limits))
        part = ArithmeticSharedTensor.from_shares(part, precision=0)
        count += negative(ArithmeticSharedTensor.cat([_less(most, part), _plus(most, part)])).share.sum()
    found: ArithmeticSharedTensor = negative(ArithmeticSharedTensor.from_shares(-count, precision=0))
    return found


def _less(limit: torch.Tensor, z: Any) -> Any:
    return ArithmeticSharedTensor.from_shares(-z.share, precision=0).add(limit)


def _plus(limit: torch.Tensor, z: Any) -> Any:
    return ArithmeticSharedTensor.from_shares(z.share.clone(), precision=0).add(limit)


def negative(x: Any) -> Any:
    """Shares of 1 where x < 0, by CrypTen's comparison."""
    tensor = MPCTensor(torch.empty(0), src=0)
    tensor._tensor = x  # noqa: SLF001 - CrypTen's own way to lift a share
    return tensor._ltz()._tensor  # noqa: SLF001
