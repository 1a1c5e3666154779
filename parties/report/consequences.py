"""What an operator is told before consent is withdrawn: what ends by it, and what nothing can undo."""

from __future__ import annotations

from datetime import UTC, datetime

from parties.home import Home
from parties.report.account import facts_of
from parties.report.material import Material


def consequences(home: Home, beginning: str) -> list[str]:
    """Lines for a terminal. Raises: LifecycleError if no session begins so, or several; AuditError, ContractError."""
    facts = facts_of(Material.of(home, beginning, check=False), datetime.now(UTC))
    told = [
        f"  {one.what}: to {one.to}, {one.recorded} time(s), last on {one.last:%Y-%m-%d %H:%M} UTC"
        for one in facts.told
        if one.last is not None
    ]
    return [
        f"session  {facts.session}",
        f"purpose  {facts.purpose}",
        "ends     the session, if it is not over, and predictions by its model that are not",
        f"destroys {_share(facts.share.stored, facts.share.deleted)}",
        "tells    every participant that you withdrew, for their logs; it can't be taken back",
        "What can't be undone, because it was told already:" if told else "Nothing was told by this session so far.",
        *told,
    ]


def _share(stored: datetime | None, deleted: datetime | None) -> str:
    if stored is not None and deleted is None:
        return "this organisation's share of the model: nobody can predict by it from then on"
    return "no share of a model: none is kept here"
