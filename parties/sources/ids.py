"""Whether the record ids of a whole table are each there once; the one thing of a table that is held in memory.

Cost: the ids themselves, twice if they are not ASCII, and 8 bytes a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

FORM: Final = "NFKC"  # in which record matching compares ids
SLICE_ROWS: Final = 1 << 20


@dataclass(frozen=True)
class Repeats:
    """Rows whose id an earlier row has, and whether each such pair differs in its Unicode form only."""

    rows: int
    first: int  # the least index of such a row
    only_in_form: bool  # of that row


def find_repeats(batches: list[pa.Array]) -> Repeats | None:
    """Compare all ids, which have no nulls, in one Unicode form."""
    ids = pa.chunked_array(batches, pa.string())
    plain = all(bool(pc.all(pc.string_is_ascii(chunk)).as_py()) for chunk in ids.chunks if len(chunk))
    forms = ids if plain else pc.utf8_normalize(ids, form=FORM)
    order = pc.sort_indices(forms).to_numpy()
    rows = np.concatenate([_repeated(forms, order, start) for start in range(0, len(order), SLICE_ROWS)])
    if not len(rows):
        return None
    first = int(rows.min())
    return Repeats(len(rows), first, not plain and not _occurs_before(ids, first))


def _repeated(forms: pa.ChunkedArray, order: NDArray[np.uint64], start: int) -> NDArray[np.int64]:
    """Of one slice of the sorted ids, the rows that are not the first of their id; equal ids stand in row order."""
    part = order[start : start + SLICE_ROWS + 1]
    found = pc.take(forms, pa.array(part)).combine_chunks()
    equal = np.asarray(pc.equal(found[1:], found[:-1]))
    rows: NDArray[np.int64] = np.maximum(part[1:][equal], part[:-1][equal]).astype(np.int64)
    return rows


def _occurs_before(ids: pa.ChunkedArray, row: int) -> bool:
    """Whether the very id of a row, not only its form, is an earlier row's too."""
    return bool(pc.any(pc.equal(ids[:row], ids[row])).as_py())
