"""How much text rows become once each has its own: of columns in which many rows refer to one value."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

VIEW_BYTES = 16  # of a string view, whose first four are its length

Sizes = NDArray[np.int64]


def cell_bytes(values: pa.Array) -> Sizes | None:
    """Bytes of each value in UTF-8, 0 where there is none; None unless it is text, perhaps in a dictionary.

    Of an array that was checked as far as the lengths of its buffers. Shapes: -> (values,).
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        if (known := cell_bytes(values.dictionary)) is None:
            return None
        places = pc.fill_null(pc.cast(values.indices, pa.int64(), safe=False), len(known))
        return np.append(known, 0).take(np.asarray(places), mode="clip")
    if pa.types.is_string_view(kind):
        return _of_views(values)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.asarray(pc.fill_null(pc.binary_length(values), 0), dtype=np.int64)
    return None


def _of_views(values: pa.Array) -> Sizes:
    """Arrow computes no lengths of views: they are read from the views themselves."""
    _, views, *_ = values.buffers()
    begin, end = values.offset * VIEW_BYTES, (values.offset + len(values)) * VIEW_BYTES
    lengths = np.frombuffer(views, dtype="<i4")[begin // 4 : end // 4 : VIEW_BYTES // 4]
    return np.where(np.asarray(values.is_null()), 0, lengths).astype(np.int64)


def pieces(sizes: Sizes, most: int) -> Iterator[slice]:
    """Rows one after the other, so many at once as are `most` together, one at least."""
    ends, start = np.cumsum(sizes), 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield slice(start, stop)
        start = stop
