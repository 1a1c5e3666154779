"""The paper that reports are on: templates, a style that prints, and the policy that a browser holds them to."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES: Final = Path(__file__).parent / "templates"
STYLE: Final = (TEMPLATES / "report.css").read_text(encoding="utf-8")
# The browser itself refuses all but this style, whatever a contract's text might try.
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}';"
    " base-uri 'none'; form-action 'none'"
)


def _moment(at: datetime | None) -> str:
    return f"{at:%d %B %Y, %H:%M:%S} UTC" if at else "–"


def environment(*places: Path) -> Environment:
    """Templates in these directories, and what all reports share."""
    made = Environment(
        loader=FileSystemLoader(places),
        autoescape=True,  # contract texts are other people's words
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["moment"] = _moment
    made.globals |= {"style": STYLE, "policy": POLICY}
    return made
