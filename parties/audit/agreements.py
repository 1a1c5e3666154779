"""What was signed beside the log: contracts that a participant answered, their approvals, and parties' transcripts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from parties.kinds import AnyContract

STATE_FILE: Final = "state.sqlite"


@dataclass(frozen=True)
class Agreement:
    """One session's contract, as it came, and the signed envelopes by participant."""

    contract: bytes
    approvals: dict[str, dict[str, Any]] = field(default_factory=dict)
    transcripts: dict[str, dict[str, Any]] = field(default_factory=dict)  # parties' statements at the session's end

    def parsed(self) -> AnyContract:
        """Raises: ContractError if this release can't read it."""
        from parties.kinds import parse_contract

        return parse_contract(self.contract)


def agreements_of(home: Path) -> dict[str, Agreement]:
    """By session; empty where the directory is no node's or dealer's."""
    if not (home / STATE_FILE).is_file():
        return {}
    from parties.store import SessionStore

    store = SessionStore(home / STATE_FILE)
    return {
        row.digest: Agreement(row.contract.encode(), store.approvals(row.digest), store.transcripts(row.digest))
        for row in store.all()
    }
