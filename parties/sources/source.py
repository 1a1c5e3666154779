"""What every source of a table has in common: batches that can be read twice, and refusals that tell no value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from typing import Final, NoReturn

import pyarrow as pa

from parties.errors import DataError

BATCH_ROWS: Final = 1 << 14
Telling = Callable[[str, float | None], None]  # what is being done, and which part of it is done, if that is known
Part = Callable[[float | None], None]  # the latter alone


class Source(ABC):
    """A table that lies somewhere else. It is read twice: once to be judged, once to be taken in.

    A batch's columns are text (`string`) or numbers (`double`), of the same kind in every batch.
    """

    name: str  # as its owner calls it; stays with the owner
    noun: str = "data file"  # as others may read it
    infers: bool = False  # whether text that looks like numbers is numbers: the source itself tells no kinds
    lines: bool = False  # whether a line break in a value means that a quotation mark was left open

    @abstractmethod
    def columns(self, tell: Part = lambda _: None) -> list[str]:
        """The names in its header, as they are; `tell` hears how far it is with what must be read for them.

        Raises: DataError if it can't be read.
        """

    @abstractmethod
    def batches(self, as_text: Collection[str], left_out: Collection[str] = ()) -> Iterator[pa.RecordBatch]:
        """All rows from the first, in the source's order; the columns named are text whatever else they could be.

        Nobody looks at columns that are left out: what a source has in their place need not be theirs.

        Raises: DataError if it is not what it should be, or went away.
        """

    @abstractmethod
    def done(self) -> float | None:
        """Which part of the current reading is done, if that can be known."""

    def where(self, row: int) -> str:
        """Where the row of this index stands."""
        return f"row {row + 1}"

    def close(self) -> None:  # noqa: B027 - most need nothing
        """Give back what reading needed."""

    def refuse(self, what: str, action: str, *, column: str = "", detail: str = "") -> NoReturn:
        """Raise a DataError whose `detail` (lines, counts) and source's name stay with the owner."""
        where = f", column '{column}'," if column else ""
        raise DataError(f"{self.name}{where} {what}{detail}", action=action, outward=f"the {self.noun}{where} {what}")

    def refuse_rows(self, what: str, action: str, *, column: str, rows: int, first: int) -> NoReturn:
        """The same for a number of rows, of which the first has this index."""
        place = self.where(first)
        detail = f" ({place})" if rows == 1 else f" ({rows} rows, the first {_on(place)})"
        self.refuse(what, action, column=column, detail=detail)


def _on(place: str) -> str:
    return f"on {place}" if place.startswith("line") else f"is {place}"
