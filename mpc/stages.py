"""The stages of a session, as its progress names them."""

from __future__ import annotations

from typing import Literal, TypeAlias

Stage: TypeAlias = Literal[  # of a session, in this order; each has those that its kind needs
    "matching", "preparation", "masking", "training", "evaluation", "results", "prediction"
]
