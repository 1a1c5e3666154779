"""How one identity key hands over to the next: an envelope that both sign, and chains of them.

The old key's signature says who follows it, the new key's that somebody holds it. Whoever confirmed the old key's
fingerprint can check the chain to the newest; whether to follow it the operator decides.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import rfc8785
from pydantic import AwareDatetime, ValidationError

from parties.agreement.contract import Hex32
from parties.agreement.plan import Frozen, Name, explain
from parties.errors import ContractError, PartnerError, SettingsError
from parties.keys.identity import Identity, fingerprint, unseal
from parties.keys.partners import write_json

HANDOVER_TYPE: Final = "application/vnd.privity.handover.v1+json"
HANDOVERS_FILE: Final = "handovers.json"
MAX_CHAIN: Final = 32  # hand-overs, all of which a partner is told


class Handover(Frozen):
    """From this moment `new` is the key of `name`, in the place of `old`."""

    name: Name
    old: Hex32
    new: Hex32
    at: AwareDatetime


class SignedHandover(Frozen):
    """The same payload in an envelope of each key."""

    by_old: dict[str, Any]
    by_new: dict[str, Any]

    def read(self) -> Handover:
        """What both keys signed. Raises: PartnerError if they did not, or not the same."""
        try:
            claimed = Handover.model_validate_json(base64.b64decode(self.by_old["payload"]))
            payloads = {
                unseal(envelope, bytes.fromhex(key), HANDOVER_TYPE)
                for envelope, key in ((self.by_old, claimed.old), (self.by_new, claimed.new))
            }
        except ValidationError as exc:
            raise PartnerError(f"a hand-over of a key does not hold: {explain(exc)}") from exc
        except (KeyError, TypeError, ValueError) as exc:
            raise PartnerError("a hand-over of a key is malformed", action="ask the sender's operator") from exc
        except ContractError as exc:
            raise PartnerError(f"a hand-over of a key does not hold: {exc.what}", action=exc.action) from exc
        if len(payloads) != 1 or claimed.old == claimed.new:
            raise PartnerError("a hand-over of a key does not hold: its keys did not sign the same")
        return claimed


class Handovers:
    """A home's own chain, in a small file that is replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def chain(self) -> list[SignedHandover]:
        """Oldest first. Raises: SettingsError if the file is damaged."""
        if not self._path.exists():
            return []
        try:
            return [SignedHandover.model_validate(item) for item in json.loads(self._path.read_text(encoding="utf-8"))]
        except (ValueError, TypeError) as exc:
            raise SettingsError(f"{self._path} is damaged", action="restore it from a backup") from exc

    def add(self, link: SignedHandover) -> None:
        """Raises: SettingsError if there are as many as partners take."""
        if len(self.chain()) >= MAX_CHAIN:
            raise SettingsError(
                f"this home's key was rotated {MAX_CHAIN} times, which is the limit", action="join under another name"
            )
        write_json(self._path, [one.model_dump(mode="json") for one in (*self.chain(), link)])


def hand_over(name: str, old: Identity, new: Identity, now: datetime) -> SignedHandover:
    content = Handover(name=name, old=old.public.hex(), new=new.public.hex(), at=now)
    payload = rfc8785.dumps(content.model_dump(mode="json"))
    return SignedHandover(by_old=old.seal(HANDOVER_TYPE, payload), by_new=new.seal(HANDOVER_TYPE, payload))


def keys_of(name: str, chain: Sequence[SignedHandover]) -> list[bytes]:
    """All keys of a participant, oldest first, as the chain of its hand-overs says; none of an empty chain.

    Raises: PartnerError if a link does not hold, is another participant's, or does not begin where the last one ends.
    """
    if len(chain) > MAX_CHAIN:
        raise PartnerError(f"{len(chain)} hand-overs came; {MAX_CHAIN} is the limit")
    keys: list[bytes] = []
    for link in chain:
        found = link.read()
        old, new = bytes.fromhex(found.old), bytes.fromhex(found.new)
        if found.name != name or (keys and keys[-1] != old) or new in keys:
            raise PartnerError(f"the hand-overs that came for '{name}' are not one chain of its keys")
        keys = [*keys, new] if keys else [old, new]
    return keys


def successor_of(name: str, confirmed: str, chain: Sequence[SignedHandover]) -> bytes | None:
    """The newest key that the key with this fingerprint handed over to; None if it did not.

    Raises: PartnerError as `keys_of`.
    """
    keys = keys_of(name, chain)
    return keys[-1] if confirmed in [fingerprint(key) for key in keys[:-1]] else None
