"""What a recipient was told by predictions: a CSV file a session, written strip by strip, there once it is whole."""

from __future__ import annotations

import csv
import os
from io import StringIO
from pathlib import Path

from parties.errors import LifecycleError
from parties.keys.identity import write_private
from parties.outcome.results import record
from parties.process.job import Predicted

PART = ".part"
COLUMN = "probability"
DIGITS = 6  # after the point; more than a disclosed probability has


class Predictions:
    """The probabilities of a home's `results/`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def begin(self, session: str, id_column: str, told_apart: tuple[str, ...]) -> None:
        """A new file with a heading, of several classes with their names. What an earlier attempt left is gone."""
        self.discard(session)
        names = told_apart if len(told_apart) > 1 else (COLUMN,)
        write_private(self._part(session), _lines([(id_column, *names)]))

    def append(self, session: str, told: Predicted) -> None:
        """Add a strip's rows. Not durable before `finish`."""
        each = zip(told.ids, told.probabilities, strict=True)
        rows = [(record, *(f"{p:.{DIGITS}f}" for p in of_classes)) for record, of_classes in each]
        with self._part(session).open("ab") as file:
            file.write(_lines(rows))

    def finish(self, session: str) -> str:
        """Keep it, durably. Returns a salted digest of its content, which tells nothing of it."""
        with self._part(session).open("rb") as file:
            os.fsync(file.fileno())
            content = file.read()
        salted = record(self.path(session), content)
        self._part(session).rename(self.path(session))
        return salted

    def discard(self, session: str) -> None:
        self._part(session).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a session left that did not come to its end."""
        for path in self._directory.glob(f"*{PART}"):
            path.unlink()

    def path(self, session: str) -> Path:
        return self._directory / f"{session}.csv"

    def _part(self, session: str) -> Path:
        return self.path(session).with_suffix(PART)


def predictions_of(directory: Path, beginning: str) -> Path:
    """The file of the one session whose id begins so. Raises: LifecycleError if there is none, or several."""
    found = [path for path in directory.glob("*.csv") if beginning and path.name.startswith(beginning)]
    if len(found) != 1:
        raise LifecycleError(
            f"{len(found)} predictions begin with '{beginning}'",
            action="a prediction lies at its recipient alone; `privity node status` shows this node's sessions",
        )
    return found[0]


def _lines(rows: list[tuple[str, ...]]) -> bytes:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
