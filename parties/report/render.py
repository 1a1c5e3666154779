"""A report as one file of HTML: its style within it, no scripts, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from parties.home import Home
from parties.report.account import facts_of
from parties.report.facts import Facts
from parties.report.material import Material
from parties.report.timeline import picture

_TEMPLATES: Final = Path(__file__).parent / "templates"
STYLE: Final = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
# The browser itself refuses all but this style, whatever a contract's text might try.
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}';"
    " base-uri 'none'; form-action 'none'"
)


def _moment(at: datetime | None) -> str:
    return f"{at:%d %B %Y, %H:%M:%S} UTC" if at else "–"


_environment = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,  # contract texts are other people's words
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters["moment"] = _moment


def report(home: Home, beginning: str, now: datetime) -> Facts:
    """The facts of the one session whose id begins so.

    Raises: LifecycleError if there is none, or several; AuditError if the log can't be read at all; ContractError if
    this release can't read the contract.
    """
    return facts_of(Material.of(home, beginning), now)


def render(facts: Facts) -> str:
    """The page; all text in it is escaped."""
    return _environment.get_template("report.html").render(
        facts=facts, picture=picture(facts), style=STYLE, policy=POLICY
    )
