"""What a party signs on all that it sent so far, and the dealer on the key that it shares with a party."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import rfc8785
from pydantic import Field, ValidationError

from parties.agreement.contract import Hex32
from parties.agreement.plan import Frozen, Name
from parties.errors import ContractError
from parties.keys.identity import Identity, fingerprint, unseal

if TYPE_CHECKING:
    from parties.agreement.kinds import AnyContract

COMMITMENT_TYPE: Final = "application/vnd.privity.commitment.v1+json"
DEALER_KEY_TYPE: Final = "application/vnd.privity.dealer-key.v1+json"
DEALER_STAGE: Final = 0  # of what the dealer signs; parties' commitments are counted from 1

Stage = Annotated[int, Field(ge=1, le=2**31)]


class Commitment(Frozen):
    """Hash chains over the frames sent, keyed by the parties' key, and what they were made from; see mpc.commitment."""

    session: Hex32
    epoch: Annotated[int, Field(ge=1)]
    name: Name
    stage: Stage
    sent: dict[Name, Hex32]  # by the receiver
    dealer: Hex32  # of the messages to the dealer
    block: Hex32  # salted, of the encoded rows
    dealer_key: Hex32


class DealerKey(Frozen):
    """A digest of the key that the dealer shares with a party, from which the party's masks follow."""

    session: Hex32
    epoch: Annotated[int, Field(ge=1)]
    name: Name  # the dealer
    party: Name
    dealer_key: Hex32


S = TypeVar("S", bound=Frozen)
_TYPES: Final[dict[type[Frozen], str]] = {Commitment: COMMITMENT_TYPE, DealerKey: DEALER_KEY_TYPE}


def payload_of(statement: Commitment | DealerKey) -> bytes:
    """The bytes that are signed."""
    return rfc8785.dumps(statement.model_dump(mode="json"))


def sign(identity: Identity, statement: Commitment | DealerKey) -> dict[str, Any]:
    return identity.seal(_TYPES[type(statement)], payload_of(statement))


def signature_of(envelope: dict[str, Any]) -> bytes:
    """The one signature of an envelope, as it travels between workers."""
    return base64.b64decode(envelope["signatures"][0]["sig"])


def envelope_of(statement: Commitment | DealerKey, key: bytes, signature: bytes) -> dict[str, Any]:
    """The envelope around a statement whose signature alone travelled; nothing is checked."""
    return {
        "payload": base64.b64encode(payload_of(statement)).decode(),
        "payloadType": _TYPES[type(statement)],
        "signatures": [{"keyid": fingerprint(key), "sig": base64.b64encode(signature).decode()}],
    }


def check(contract: AnyContract, place: str, envelope: dict[str, Any]) -> None:
    """Whether what is kept as NAME/STAGE is that participant's word on this session at that stage.

    Raises: ContractError if its key in the contract did not sign it, or it is about something else.
    """
    name, _, stage = place.partition("/")
    if name == contract.dealer.name:
        said = read(DealerKey, envelope, contract.dealer.key)
        found = said.session, said.name, str(DEALER_STAGE)
    else:
        told = read(Commitment, envelope, contract.party(name).key)
        found = told.session, told.name, str(told.stage)
    if found != (contract.digest, name, stage):
        raise ContractError(f"what {name} signed is about another session, or another stage")


def read(kind: type[S], envelope: dict[str, Any], key: bytes) -> S:
    """What this key signed as this kind. Raises: ContractError if it did not."""
    try:
        return kind.model_validate_json(unseal(envelope, key, _TYPES[kind]))
    except ValidationError as exc:
        raise ContractError("what was signed is no statement of this kind") from exc
