"""The one door to CrypTen: whatever the engine takes from it is imported here, after the stand-in that it needs.

crypten 0.4.1 imports `torch.onnx._internal.registration`, which torch 2.9 took out; it asks one question of it.
"""

from __future__ import annotations

import sys
import types
import warnings

import torch

TRIED_TORCH = "2.13"
_REGISTRATION = "torch.onnx._internal.registration"

if not torch.__version__.startswith(TRIED_TORCH):
    warnings.warn(f"torch {torch.__version__} was not tried with this engine; {TRIED_TORCH} was", stacklevel=2)
try:
    __import__(_REGISTRATION)
except ImportError:
    _module = types.ModuleType(_REGISTRATION)
    _module.registry = types.SimpleNamespace(is_registered_op=lambda *_: False)  # type: ignore[attr-defined]
    sys.modules[_REGISTRATION] = _module

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import crypten
    import crypten.common.rng
    import crypten.communicator
    import crypten.mpc.primitives.arithmetic
    import crypten.mpc.primitives.binary
    from crypten.communicator.communicator import Communicator
    from crypten.config import cfg
    from crypten.mpc import MPCTensor
    from crypten.mpc.primitives import ArithmeticSharedTensor, BinarySharedTensor, beaver
    from crypten.mpc.provider.provider import TupleProvider

__all__ = [
    "ArithmeticSharedTensor",
    "BinarySharedTensor",
    "Communicator",
    "MPCTensor",
    "TupleProvider",
    "beaver",
    "cfg",
    "crypten",
]
