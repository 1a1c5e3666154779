"""What a party signs at a session's end on all that was opened in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, ValidationError

from parties.agreement.contract import Hex32
from parties.agreement.plan import Frozen, Name
from parties.errors import ContractError
from parties.keys.identity import unseal

if TYPE_CHECKING:
    from parties.agreement.kinds import AnyContract

TRANSCRIPT_TYPE: Final = "application/vnd.privity.transcript.v1+json"

Count = Annotated[int, Field(ge=0, le=2**53 - 1)]


class Statement(Frozen):
    """What a party signs at a session's end: its digest of all opened words, keyed by the parties' key, and counts."""

    session: Hex32
    epoch: Count
    name: Name
    digest: Hex32
    openings: Count
    words: Count

    @property
    def said(self) -> tuple[int, str, int, int]:
        """What must be the same at all parties."""
        return self.epoch, self.digest, self.openings, self.words


def read_statement(contract: AnyContract, name: str, envelope: dict[str, Any]) -> Statement:
    """What this party of the contract signed. Raises: ContractError if its key there did not, or it is of another."""
    signer = contract.party(name)
    try:
        found = Statement.model_validate_json(unseal(envelope, signer.key, TRANSCRIPT_TYPE))
    except ValidationError as exc:
        raise ContractError(f"what {name} signed is no statement on a transcript") from exc
    if (found.session, found.name) != (contract.digest, name):
        raise ContractError(f"what {name} signed is about another session, or another party")
    return found
