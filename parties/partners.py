"""Partners: organisations whose fingerprint this operator confirmed over another channel, as with SSH."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from parties.contract import Participant
from parties.errors import PartnerError, SettingsError
from parties.identity import parse_fingerprint
from parties.plan import NAME_PATTERN


class Partners:
    """A small file of names and fingerprints, replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> dict[str, str]:
        """Fingerprints by name. Raises: SettingsError if the file is damaged."""
        if not self._path.exists():
            return {}
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(name): parse_fingerprint(value) for name, value in content.items()}
        except (ValueError, AttributeError, TypeError, PartnerError) as exc:
            raise SettingsError(f"{self._path} is damaged", action="restore it from a backup") from exc

    def add(self, name: str, fingerprint: str) -> None:
        """Raises: PartnerError if that is no name, or another fingerprint is confirmed under it."""
        if not re.fullmatch(NAME_PATTERN, name):
            raise PartnerError("that is not a participant's name", action="write it as contracts do, such as clinic-a")
        known, found = self.all(), parse_fingerprint(fingerprint)
        if known.get(name, found) != found:
            raise PartnerError(
                f"'{name}' is confirmed with another fingerprint, {known[name]}",
                action="if its key was really replaced, `privity partner remove` it first",
            )
        self._write({**known, name: found})

    def remove(self, name: str) -> None:
        """Raises: PartnerError if there is none of that name."""
        known = self.all()
        if name not in known:
            raise PartnerError(f"there is no partner '{name}'", action="`privity partner list` shows them")
        self._write({other: value for other, value in known.items() if other != name})

    def check(self, participants: list[Participant]) -> None:
        """Raises: PartnerError for a key that nobody confirmed, or another than was confirmed."""
        known = self.all()
        for participant in participants:
            confirmed = known.get(participant.name)
            if confirmed is None:
                raise PartnerError(
                    f"'{participant.name}' is not a confirmed partner",
                    action=f"ask for its fingerprint by phone, `privity partner add {participant.name} FINGERPRINT`",
                    outward=f"'{participant.name}' is not a confirmed partner here",
                )
            if confirmed != participant.fingerprint:
                raise PartnerError(
                    f"the key of '{participant.name}' is not the one confirmed: {participant.fingerprint} came, "
                    f"{confirmed} was confirmed",
                    action="somebody swapped a key; call the partner and the gateway's operator",
                )

    def _write(self, content: dict[str, str]) -> None:
        temporary = self._path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
