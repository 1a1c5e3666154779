"""Between CrypTen's tensors and ring words: kernels take and return the former, and compute on the latter."""

from __future__ import annotations

import torch

from mpc.ring import Words
from mpc.shim import ArithmeticSharedTensor

_WHOLE = ArithmeticSharedTensor.from_shares(torch.empty(0, dtype=torch.int64), precision=0).encoder  # scale 1


class _OfWords(ArithmeticSharedTensor):
    """CrypTen's tensor of ring words, whose torch tensor is made when CrypTen first asks for it: few ever are."""

    def __init__(self, words: Words) -> None:
        self.words: Words | None = words  # None once there is a tensor, which may then come to be another
        self.encoder = _WHOLE

    @property
    def _tensor(self) -> torch.Tensor:
        if self.words is not None:
            self._made = torch.from_numpy(self.words)
            self.words = None
        return self._made

    @_tensor.setter
    def _tensor(self, tensor: torch.Tensor) -> None:
        self._made, self.words = tensor, None


def shared(words: Words) -> ArithmeticSharedTensor:
    """A share as CrypTen's tensor, as it is: the scale is the caller's to know."""
    return _OfWords(words)


def words(tensor: ArithmeticSharedTensor) -> Words:
    """This party's share of a tensor, without a copy."""
    if type(tensor) is _OfWords and tensor.words is not None:
        return tensor.words
    found: Words = tensor.share.numpy()
    return found
