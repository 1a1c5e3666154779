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


def find_repeats(batches: list[pa.Array], slice_rows: int = SLICE_ROWS) -> Repeats | None:
    """Compare all ids, which have no nulls, in one Unicode form; of the sorted ones `slice_rows` at a time."""
    ids = pa.chunked_array(batches, pa.string())
    plain = all(bool(pc.all(pc.string_is_ascii(chunk)).as_py()) for chunk in ids.chunks if len(chunk))
    forms = ids if plain else pc.utf8_normalize(ids, form=FORM)
    order = pc.sort_indices(forms).to_numpy()
    parts = [_repeated(forms, order[start : start + slice_rows + 1]) for start in range(0, len(order), slice_rows)]
    rows = np.concatenate([np.empty(0, np.int64), *parts])
    if not len(rows):
        return None
    first = int(rows.min())
    return Repeats(len(rows), first, not plain and not _occurs_before(ids, first))


def _repeated(forms: pa.ChunkedArray, part: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Of one slice of the sorted ids, the rows that are not the first of their id; equal ids stand in row order."""
    found = pc.take(forms, pa.array(part)).combine_chunks()
    equal = np.asarray(pc.equal(found[1:], found[:-1]))
    rows: NDArray[np.int64] = np.maximum(part[1:][equal], part[:-1][equal]).astype(np.int64)
    return rows


def _occurs_before(ids: pa.ChunkedArray, row: int) -> bool:
    """Whether the very id of a row, not only its form, is an earlier row's too."""
    return bool(pc.any(pc.equal(ids[:row], ids[row])).as_py())
