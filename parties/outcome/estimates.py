"""What an estimate of common records told this party, beside its other results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from parties.agreement.plan import Frozen
from parties.errors import DataError, LifecycleError
from parties.keys.identity import write_private
from parties.outcome.results import ESTIMATE, record
from parties.outcome.telling import estimate


class Estimated(Frozen):
    """About how many records all parties have in common."""

    about: Annotated[int, Field(ge=0)]  # 0: fewer than are told
    least: Annotated[int, Field(ge=1)]  # that are told

    @property
    def in_words(self) -> str:
        """For people."""
        return estimate(self.about, self.least)


class Estimates:
    """A directory of results."""

    def __init__(self, directory: Path) -> None:
        self._directory: Final = directory

    def keep(self, session: str, told: Estimated) -> str:
        """Durably. Returns a salted digest for the log, which tells nothing of it."""
        path, content = self._directory / f"{session}{ESTIMATE}", told.model_dump_json().encode()
        salted = record(path, content)
        write_private(path, content)
        return salted

    def find(self, beginning: str) -> Estimated:
        """Of the one session whose id begins so. Raises: LifecycleError if none does; DataError if it is damaged."""
        found = [path for path in self._directory.glob(f"*{ESTIMATE}") if beginning and path.name.startswith(beginning)]
        if len(found) != 1:
            raise LifecycleError(
                f"{len(found)} estimates begin with '{beginning}'", action="`privity node status` shows the sessions"
            )
        try:
            return Estimated.model_validate_json(found[0].read_bytes())
        except ValidationError as exc:
            raise DataError(f"{found[0]} is damaged", action="restore it from a backup") from exc
