"""A report as one file of HTML: its style within it, no scripts, nothing fetched from anywhere."""

from __future__ import annotations

from datetime import datetime

from parties.report.account import facts_of
from parties.report.facts import Facts
from parties.report.material import Material
from parties.report.sheet import POLICY, STYLE, TEMPLATES, environment
from parties.report.timeline import picture
from parties.service.home import Home

__all__ = ["POLICY", "STYLE", "render", "report"]

_environment = environment(TEMPLATES)


def report(home: Home, beginning: str, now: datetime) -> Facts:
    """The facts of the one session whose id begins so.

    Raises: LifecycleError if there is none, or several; AuditError if the log can't be read at all; ContractError if
    this release can't read the contract.
    """
    return facts_of(Material.of(home, beginning), now)


def render(facts: Facts) -> str:
    """The page; all text in it is escaped."""
    return _environment.get_template("report.html").render(facts=facts, picture=picture(facts))
