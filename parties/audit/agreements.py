"""What was signed beside the log: contracts that a participant answered, and all that was signed on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from parties.agreement.kinds import AnyContract

STATE_FILE: Final = "state.sqlite"


@dataclass(frozen=True)
class Agreement:
    """One session's contract, as it came, and the signed envelopes by participant."""

    contract: bytes
    approvals: dict[str, dict[str, Any]] = field(default_factory=dict)
    transcripts: dict[str, dict[str, Any]] = field(default_factory=dict)  # parties' statements at the session's end
    commitments: dict[str, dict[str, Any]] = field(default_factory=dict)  # by NAME/STAGE: on what was sent so far
    withdrawals: dict[str, dict[str, Any]] = field(default_factory=dict)  # parties' words that their consent ended

    def parsed(self) -> AnyContract:
        """Raises: ContractError if this release can't read it."""
        from parties.agreement.kinds import parse_contract

        return parse_contract(self.contract)


def agreements_of(home: Path) -> dict[str, Agreement]:
    """By session; empty where the directory is no node's or dealer's."""
    if not (home / STATE_FILE).is_file():
        return {}
    from parties.service.store import SessionStore

    store = SessionStore(home / STATE_FILE)
    return {
        row.digest: Agreement(
            row.contract.encode(),
            store.approvals(row.digest),
            store.transcripts(row.digest),
            {f"{name}/{stage}": envelope for (name, stage), envelope in store.commitments(row.digest).items()},
            store.withdrawals(row.digest),
        )
        for row in store.all()
    }
