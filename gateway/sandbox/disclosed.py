"""What the nodes' own logs say was disclosed in a session, held against the contract's clauses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from parties.agreement.contract import Terms
from parties.audit.events import DisclosureRecorded


@dataclass(frozen=True)
class Ledger:
    """One disclosure that took place, and the clause that allowed it; none if no clause did."""

    name: str
    recipient: str
    count: int
    clause: str


def disclosed(contract: Terms, place: Path) -> tuple[tuple[Ledger, ...], tuple[str, ...]]:
    """All disclosures of a session, and those among them that no clause names; nodes' homes are in `place`."""
    from parties.audit.snapshot import locate, take

    counts: dict[tuple[str, str, str], int] = {}
    for party in contract.parties:
        own: dict[tuple[str, str, str], int] = {}
        for entry in take(locate(place / party.name)).entries():
            event = entry.event
            if isinstance(event, DisclosureRecorded) and event.session == contract.digest:
                key = (event.name, event.recipients[0], event.clause)
                own[key] = own.get(key, 0) + 1
        for key, count in own.items():
            counts[key] = max(counts.get(key, 0), count)
    named = {(item.name, item.recipient, item.clause): item.count for item in contract.disclosures}
    unnamed = tuple(f"{key[0]} to {key[1]}" for key, count in counts.items() if count > named.get(key, 0))
    return tuple(
        Ledger(key[0], key[1], count, key[2]) for key, count in sorted(counts.items(), key=_by_clause)
    ), unnamed


def _by_clause(item: tuple[tuple[str, str, str], int]) -> int:
    return int(item[0][2].rpartition(".")[2])
