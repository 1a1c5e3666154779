"""Between CrypTen's tensors and ring words: kernels take and return the former, and compute on the latter."""

from __future__ import annotations

import torch

from mpc.ring import Words
from mpc.shim import ArithmeticSharedTensor

_WHOLE = ArithmeticSharedTensor.from_shares(torch.empty(0, dtype=torch.int64), precision=0)  # CrypTen's scale of 1


def shared(words: Words) -> ArithmeticSharedTensor:
    """A share as CrypTen's tensor, as it is: the scale is the caller's to know."""
    found = _WHOLE.shallow_copy()
    found.share = torch.from_numpy(words)
    return found


def words(tensor: ArithmeticSharedTensor) -> Words:
    """This party's share of a tensor, without a copy."""
    found: Words = tensor.share.numpy()
    return found
