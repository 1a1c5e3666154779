"""How much memory a message of an Arrow IPC file will take, by its head: before a body is expanded.

A compressed buffer begins with the length that it is expanded to, for which the reader then makes room: so a small
message can ask for any amount. pyarrow does not tell these lengths; they are read here, from the head's FlatBuffer.
Source: Arrow's Message.fbs and Schema.fbs; differs: reads nothing but what leads to the buffers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

HEADER_TYPE, HEADER = 1, 2  # fields of a message
DICTIONARY_BATCH, RECORD_BATCH = 2, 3  # kinds of headers
DICTIONARY_DATA = 1  # field of a dictionary's batch: a record batch
BUFFERS, COMPRESSION = 2, 3  # fields of a record batch
LENGTH: Final = struct.Struct("<q")  # of what a compressed buffer holds
AS_IT_IS: Final = -1  # instead of a length: the rest is not compressed


def expanded_bytes(message: Any) -> int:
    """Of a pyarrow message's body, once its buffers are expanded.

    Raises: ValueError for a head, or a length, that can't be.
    """
    if message.body is None:
        return 0
    try:
        lengths = sum(_lengths(memoryview(message.metadata), memoryview(message.body)))
    except (struct.error, IndexError):
        raise ValueError("a message's head leads outside it") from None
    return max(int(message.body.size), lengths)


def _lengths(head: memoryview, body: memoryview) -> Iterator[int]:
    """Of each buffer that is compressed, what it takes."""
    root = _indirect(head, 0)
    kind, batch = _field(head, root, HEADER_TYPE), _field(head, root, HEADER)
    if kind is None or batch is None or head[kind] not in {DICTIONARY_BATCH, RECORD_BATCH}:
        return
    batch = _indirect(head, batch)
    if head[kind] == DICTIONARY_BATCH:
        if (data := _field(head, batch, DICTIONARY_DATA)) is None:
            return
        batch = _indirect(head, data)
    buffers = _field(head, batch, BUFFERS)
    if buffers is None or _field(head, batch, COMPRESSION) is None:
        return
    vector = _indirect(head, buffers)
    (count,) = struct.unpack_from("<I", head, vector)
    for number in range(count):
        offset, size = struct.unpack_from("<qq", head, vector + 4 + 16 * number)
        if size:
            (length,) = LENGTH.unpack_from(body, _inside(offset, size, len(body)))
            yield size if length == AS_IT_IS else _positive(length)


def _inside(offset: int, size: int, end: int) -> int:
    if offset < 0 or size < LENGTH.size or offset + size > end:
        raise IndexError
    return offset


def _positive(length: int) -> int:
    if length < 0:
        raise IndexError
    return length


def _indirect(head: memoryview, place: int) -> int:
    """Where something lies that is named by its distance from here."""
    (distance,) = struct.unpack_from("<I", head, place)
    return place + int(distance)


def _field(head: memoryview, table: int, number: int) -> int | None:
    """Where a field of a table lies, None if it is not there."""
    (back,) = struct.unpack_from("<i", head, table)
    fields = table - back
    if fields < 0:
        raise IndexError
    (size,) = struct.unpack_from("<H", head, fields)
    place = 4 + 2 * number
    if place + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", head, fields + place)
    return table + offset if offset else None
