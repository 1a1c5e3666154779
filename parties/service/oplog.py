"""A daemon's operational log: JSON lines to standard error, for whoever runs it. Never data, never a secret."""

from __future__ import annotations

import sys

import structlog


def configure() -> None:
    """Once, at a daemon's start."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,  # of a request: its id
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
