"""Partners: organisations whose fingerprint this operator confirmed over another channel, as with SSH."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from pydantic import Field, ValidationError

from parties.agreement.contract import Participant
from parties.agreement.plan import NAME_PATTERN, Frozen
from parties.durable import sync_directory
from parties.errors import PartnerError, SettingsError
from parties.keys.identity import parse_fingerprint

KEYS_FILE: Final = "partner-keys.json"
Record: TypeAlias = Callable[[str], object]  # of a change to the key of this fingerprint, before it is made


def unrecorded(*_: str) -> None:
    """Of a change that no log is kept of."""


class Keys(Frozen):
    """What is known of partners' keys besides those that are confirmed; fingerprints everywhere."""

    revoked: dict[str, str] = Field(default_factory=dict)  # names by key
    # By name: the key to which the confirmed one handed over, and which nobody accepted yet.
    offered: dict[str, str] = Field(default_factory=dict)
    # By name: the keys that handed over to the one that is confirmed, oldest first.
    former: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class Partners:
    """Two small files, each replaced as a whole: who is confirmed, and what became of partners' other keys.

    Whatever `record` raises, nothing is changed then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys_path = path.with_name(KEYS_FILE)

    def all(self) -> dict[str, str]:
        """Fingerprints by name. Raises: SettingsError if the file is damaged."""
        if not self._path.exists():
            return {}
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(name): parse_fingerprint(value) for name, value in content.items()}
        except (ValueError, AttributeError, TypeError, PartnerError) as exc:
            raise SettingsError(f"{self._path} is damaged", action="restore it from a backup") from exc

    def keys(self) -> Keys:
        """Raises: SettingsError if the file is damaged."""
        try:
            return Keys.model_validate_json(self._keys_path.read_bytes())
        except FileNotFoundError:
            return Keys()
        except ValidationError as exc:
            raise SettingsError(f"{self._keys_path} is damaged", action="restore it from a backup") from exc

    def add(self, name: str, fingerprint: str, record: Record = unrecorded) -> None:
        """Raises: PartnerError if that is no name, another key is confirmed under it, or this one was revoked."""
        if not re.fullmatch(NAME_PATTERN, name):
            raise PartnerError("that is not a participant's name", action="write it as contracts do, such as clinic-a")
        known, found = self.all(), parse_fingerprint(fingerprint)
        if known.get(name, found) != found:
            raise PartnerError(
                f"'{name}' is confirmed with another fingerprint, {known[name]}",
                action="if its key was really replaced, `privity partner remove` it first",
            )
        self._refuse_revoked(name, found)
        record(found)
        self._confirm(name, found)

    def remove(self, name: str, record: Record = unrecorded) -> None:
        """Raises: PartnerError if there is none of that name."""
        known = self._known(name)
        record(known[name])
        write_json(self._path, {other: value for other, value in known.items() if other != name})
        keys = self.keys()
        self._keep(keys, offered=_without(keys.offered, name), former=_without(keys.former, name))

    def revoke(self, name: str, record: Record = unrecorded) -> str:
        """Withdraw the confirmation of a key for ever; its fingerprint. Raises: PartnerError as `remove`."""
        revoked = self._known(name)[name]
        keys = self.keys()
        record(revoked)
        # First what refuses it for ever: broken off in between, it is confirmed still, and refused all the same.
        self._keep(keys, revoked={**keys.revoked, revoked: name})
        self.remove(name)
        return revoked

    def offer(self, name: str, successor: str, record: Record = unrecorded) -> None:
        """Remember that the confirmed key handed over to this one, if that is news.

        Raises: PartnerError if either is revoked.
        """
        keys = self.keys()
        self._refuse_revoked(name, successor)
        if keys.offered.get(name) != successor:
            record(successor)
            self._keep(keys, offered={**keys.offered, name: successor})

    def accept(self, name: str, record: Callable[[str, str], object] = unrecorded) -> tuple[str, str]:
        """Confirm the key that the confirmed one handed over to; both. Raises: PartnerError if there is none.

        `record` is of both too.
        """
        known, keys = self._known(name), self.keys()
        successor = keys.offered.get(name)
        if successor is None:
            raise PartnerError(f"'{name}' has handed over to no other key", action="`privity partner list` shows them")
        self._refuse_revoked(name, successor)
        record(known[name], successor)
        former = (*keys.former.get(name, ()), known[name])
        # The former key is remembered first: broken off in between, the operator accepts again.
        self._keep(keys, former={**keys.former, name: tuple(dict.fromkeys(former))})
        self._confirm(name, successor)
        self._keep(self.keys(), offered=_without(keys.offered, name))
        return known[name], successor

    def check(self, participants: Sequence[Participant]) -> None:
        """Raises: PartnerError for a key that nobody confirmed, that was revoked, or another than was confirmed."""
        for participant in participants:
            self.check_key(participant.name, participant.fingerprint)

    def check_key(self, name: str, presented: str) -> None:
        """Raises: PartnerError as `check`."""
        keys, confirmed = self.keys(), self.all().get(name)
        self._refuse_revoked(name, presented)
        if confirmed is None:
            raise PartnerError(
                f"'{name}' is not a confirmed partner",
                action=f"ask for its fingerprint by phone, `privity partner add {name} FINGERPRINT`",
                outward=f"'{name}' is not a confirmed partner here",
                reason="unknown",
            )
        if confirmed == presented:
            return
        if keys.offered.get(name) == presented:
            raise PartnerError(
                f"'{name}' has handed over to the key {presented}, which is not accepted here yet",
                action=f"compare it over the phone, then `privity partner accept {name}`",
                outward=f"the key that '{name}' has handed over to is not accepted here yet",
                reason="offered",
            )
        raise PartnerError(
            f"the key of '{name}' is not the one confirmed: {presented} came, {confirmed} was confirmed",
            action="somebody swapped a key; call the partner and the gateway's operator",
            reason="key",
        )

    def is_same(self, name: str, former: str, present: str) -> bool:
        """Whether both are keys of this partner, the first confirmed once and the second confirmed now."""
        return self.all().get(name) == present and former in {present, *self.keys().former.get(name, ())}

    def _known(self, name: str) -> dict[str, str]:
        known = self.all()
        if name not in known:
            raise PartnerError(f"there is no partner '{name}'", action="`privity partner list` shows them")
        return known

    def _refuse_revoked(self, name: str, presented: str) -> None:
        if presented in self.keys().revoked:
            raise PartnerError(
                f"the key {presented} of '{name}' was revoked here",
                action="ask the partner for its next key's fingerprint; a revoked key is never confirmed again",
                outward=f"the key of '{name}' was revoked here",
                reason="revoked",
            )

    def _confirm(self, name: str, fingerprint: str) -> None:
        write_json(self._path, {**self.all(), name: fingerprint})

    def _keep(self, keys: Keys, **changes: Any) -> None:
        write_json(self._keys_path, keys.model_copy(update=changes).model_dump(mode="json"))


def _without(names: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in names.items() if other != name}


def write_json(path: Path, content: Any) -> None:
    """Replace a small file as a whole, durably."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)
