"""A party's word that it no longer consents to a session: signed, so that the gateway which passes it on makes none."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any, Final

import rfc8785
from pydantic import AwareDatetime, ValidationError

from parties.agreement.contract import Hex32, Participant, Terms
from parties.agreement.plan import Frozen, Name, explain
from parties.errors import ContractError
from parties.keys.identity import Identity, unseal

WITHDRAWAL_TYPE: Final = "application/vnd.privity.withdrawal.v1+json"


class Withdrawal(Frozen):
    """What a party signs to end its consent."""

    contract: Hex32
    name: Name
    public_key: Hex32  # that signs it: the contract's, or one that this handed over to
    at: AwareDatetime


def is_its_key(party: Participant, key: bytes) -> bool:
    return party.key == key


def sign_withdrawal(identity: Identity, withdrawal: Withdrawal) -> dict[str, Any]:
    return identity.seal(WITHDRAWAL_TYPE, rfc8785.dumps(withdrawal.model_dump(mode="json")))


def check_withdrawal(
    contract: Terms, name: str, envelope: dict[str, Any], follows: Callable[[Participant, bytes], bool] = is_its_key
) -> Withdrawal:
    """The withdrawal in an envelope, if the party of that name signed it for this very contract.

    `follows` says of a key whether it is the party's, as the contract has it or after it was handed over.
    Raises: ContractError otherwise.
    """
    key, party = _claimed_key(envelope), contract.party(name)
    payload = unseal(envelope, key if follows(party, key) else party.key, WITHDRAWAL_TYPE)
    try:
        withdrawal = Withdrawal.model_validate_json(payload)
    except ValidationError as exc:
        raise ContractError(f"{name}'s withdrawal does not hold: {explain(exc)}") from exc
    if withdrawal.contract != contract.digest or withdrawal.name != name:
        raise ContractError(
            f"a withdrawal that came in {name}'s place is of another contract or party",
            action="ask the gateway's operator why it was sent",
        )
    return withdrawal


def _claimed_key(envelope: dict[str, Any]) -> bytes:
    """By which key an envelope says that it is signed; nothing of it is believed before that is checked."""
    try:
        return bytes.fromhex(Withdrawal.model_validate_json(base64.b64decode(envelope["payload"])).public_key)
    except (KeyError, TypeError, ValueError):
        return b""


def digest_of(envelope: dict[str, Any]) -> str:
    """What logs call a signed withdrawal."""
    return hashlib.sha256(rfc8785.dumps(envelope)).hexdigest()
