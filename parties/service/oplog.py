"""A daemon's operational log: JSON lines to standard error, for whoever runs it. Never data, never a secret."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import structlog


def configure() -> None:
    """Once, at a daemon's start."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,  # of a request: its id; of a session: its own
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def about(session: str) -> AbstractContextManager[Any]:
    """Every line that is written inside has this session's id, and so has every line of a task that begins inside.

    Nothing is bound where it is empty.
    """
    return structlog.contextvars.bound_contextvars(session=session) if session else nullcontext()
