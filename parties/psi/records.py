"""One party's records as they are compared: keyed, each once, in the form that the rules say."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parties.errors import DataError, SettingsError
from parties.match_rules import MatchRules

ELEMENT_BYTES = 32


@dataclass(frozen=True, repr=False, eq=False)
class Records:
    """One party's records as keyed elements. Printing shows their number only.

    Shapes: elements (n, 32) bytes, each once; rows (n,): the index of each in the party's table.
    """

    elements: NDArray[np.uint8]
    rows: NDArray[np.int64]

    def __repr__(self) -> str:
        return f"Records({len(self.rows)})"


def keyed_records(columns: Sequence[Sequence[str | None]], rules: MatchRules, key: bytes) -> Records:
    """Each row's element: HMAC-SHA256 of its ids in the one form, under a key of this session alone.

    Rows that lack an id, or whose date or phone number is none, match nothing and are left out.
    Raises: DataError if ids occur twice where that is refused, or if no row is left; SettingsError if there are not as
    many columns as rules.
    """
    if len(columns) != len(rules.columns):
        raise SettingsError(f"{len(columns)} id columns are here, the rules are about {len(rules.columns)}")
    forms = [rule.form() for rule in rules.columns]
    chosen: dict[bytes, int] = {}
    repeated = 0
    for row, values in enumerate(zip(*columns, strict=True)):
        parts = [form(value) if value is not None else "" for form, value in zip(forms, values, strict=True)]
        if not all(parts):
            continue
        element = hmac.digest(key, _joined(parts), "sha256")
        repeated += element in chosen
        if rules.duplicates == "last" or element not in chosen:
            chosen[element] = row
    if repeated and rules.duplicates == "refuse":
        raise DataError(
            f"{repeated} rows have ids that are another row's once written in one form",
            action='keep one row an id, or agree on duplicates = "first" or "last"',
            outward="ids occur twice once written in one form",
        )
    if not chosen:
        raise DataError("no row has ids that can be compared", action="correct the rules of matching, or the ids")
    elements = np.frombuffer(b"".join(chosen), dtype=np.uint8).reshape(-1, ELEMENT_BYTES)
    return Records(elements, np.fromiter(chosen.values(), dtype=np.int64))


def _joined(parts: Sequence[str]) -> bytes:
    """No two lists of parts are joined to the same bytes."""
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "little") + part for part in encoded)
