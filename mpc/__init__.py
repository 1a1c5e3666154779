"""The engine: channels, keys and a program come in, shares and permitted disclosures go out.

No files, no network addresses, no organisations. Only `runtime` and what it starts import torch.
`SecureLogisticRegression` tries it out in one process, as scikit-learn's estimators are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpc.estimator import SecureLogisticRegression

__all__ = ["SecureLogisticRegression"]


def __getattr__(name: str) -> Any:
    """What loads heavy libraries is loaded when it is asked for."""
    if name in __all__:
        from mpc import estimator

        return getattr(estimator, name)
    raise AttributeError(f"module 'mpc' has no attribute '{name}'")
