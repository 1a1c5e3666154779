"""How a tensor travels: a fixed header, then little-endian words. Nothing is ever unpickled.

Each field of the header but magic and version is compared with what this side expects next, on every frame.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mpc.errors import FrameRefused, ProtocolError

MAGIC = b"PRVY"
VERSION = 1
MAX_PAYLOAD = 1 << 31
MAX_DIMENSIONS = 4
NAME_BYTES = 32
DTYPES = {"u1": 1, "i4": 2, "i8": 3}  # closed: little-endian bytes, 32-bit and 64-bit integers
_TYPES = {dtype: np.dtype("<" + dtype) for dtype in DTYPES}
_NAMES = {found: dtype for dtype, found in _TYPES.items()}
_ITEM_BYTES = {dtype: found.itemsize for dtype, found in _TYPES.items()}
_CODES = {code: dtype for dtype, code in DTYPES.items()}
_HEADER = struct.Struct(
    "<4sBBBB32sIQ32s4QQ"
)  # magic, version, dtype, dimensions, zero, session, epoch, sequence, name, shape, length
_SEQUENCE, _SEQUENCE_AT = struct.Struct("<Q"), struct.calcsize("<4sBBBB32sI")
HEADER_BYTES = _HEADER.size

Array = NDArray[np.generic]


class Header(NamedTuple):
    """What a frame carries and where in the session it stands."""

    session: bytes
    epoch: int
    sequence: int
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def length(self) -> int:
        """Bytes of the payload."""
        return _ITEM_BYTES[self.dtype] * prod(self.shape)

    def check(self, expected: Header) -> None:
        """Raises: FrameRefused that names the first field that differs."""
        for field, found, wanted in zip(self._fields, self, expected, strict=True):
            if found != wanted:
                raise FrameRefused(
                    f"a frame's {field} is {found!r} where {wanted!r} was expected"
                    if field != "session"
                    else "a frame belongs to another session",
                    name=self.name,
                    expected=expected.name,
                    shape=self.shape,
                    action="both sides must run the same version on the same contract",
                )


class Form(NamedTuple):
    """A kind of frame: its header but for the sequence number, and what its payload is."""

    before: bytes
    after: bytes
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    length: int  # bytes of the payload

    def header(self, sequence: int) -> bytes:
        return self.before + _SEQUENCE.pack(sequence) + self.after

    def frame(self, sequence: int, array: Array) -> bytes:
        """`array` has this type and shape."""
        return b"".join((self.before, _SEQUENCE.pack(sequence), self.after, payload_of(array)))


@lru_cache(maxsize=1 << 10)  # a run has a few dozen kinds of frames, each sent thousands of times
def form_of(session: bytes, epoch: int, name: str, dtype: str, shape: tuple[int, ...]) -> Form:
    """Raises: ProtocolError if such a frame can't be written."""
    encoded, length = name.encode(), _ITEM_BYTES[dtype] * prod(shape)
    if len(encoded) > NAME_BYTES or len(shape) > MAX_DIMENSIONS or length > MAX_PAYLOAD:
        raise ProtocolError(f"a frame '{name}' of shape {shape} exceeds the format's limits")
    padded = (*shape, *(0,) * (MAX_DIMENSIONS - len(shape)))
    whole = _HEADER.pack(MAGIC, VERSION, DTYPES[dtype], len(shape), 0, session, epoch, 0, encoded, *padded, length)
    return Form(whole[:_SEQUENCE_AT], whole[_SEQUENCE_AT + _SEQUENCE.size :], _TYPES[dtype], shape, length)


class Due(NamedTuple):
    """The frame that must come next from a peer."""

    header: bytes
    form: Form

    def check(self, content: bytes | bytearray | memoryview) -> None:
        """Raises: FrameRefused if it begins with another header than this; ProtocolError if with none."""
        if content != self.header:  # parsed only to say what is wrong with it
            decode_header(content).check(decode_header(self.header))

    def array(self, payload: bytes | bytearray, start: int = 0) -> Array:
        """The words that stand there, without a copy."""
        return np.ndarray(self.form.shape, self.form.dtype, payload, start)


def encode_header(header: Header) -> bytes:
    """Raises: ProtocolError if the header can't be written."""
    return form_of(header.session, header.epoch, header.name, header.dtype, header.shape).header(header.sequence)


def decode_header(content: bytes | bytearray | memoryview) -> Header:
    """Raises: ProtocolError if the bytes are no header of this version."""
    if len(content) != HEADER_BYTES:
        raise ProtocolError(f"a header has {HEADER_BYTES} bytes, {len(content)} came")
    magic, version, code, dimensions, zero, session, epoch, sequence, name, *rest = _HEADER.unpack(content)
    if magic != MAGIC or version != VERSION:
        raise ProtocolError(
            "a frame does not begin as one of this version", action="run the same version on both sides"
        )
    if zero or code not in _CODES or dimensions > MAX_DIMENSIONS or any(rest[dimensions:MAX_DIMENSIONS]):
        raise ProtocolError("a frame's type or shape is malformed")
    try:
        text = name.rstrip(b"\0").decode("ascii")
    except UnicodeDecodeError as exc:
        raise ProtocolError("a frame's name is malformed") from exc
    header = Header(session, epoch, sequence, text, _CODES[code], tuple(rest[:dimensions]))
    if rest[-1] > MAX_PAYLOAD or rest[-1] != header.length:
        raise ProtocolError("a frame's length does not fit its shape")
    return header


def dtype_of(array: Array) -> str:
    """The wire name of an array's type. Raises: ProtocolError if it has none."""
    name = _NAMES.get(array.dtype)
    if name is None:
        raise ProtocolError(f"arrays of type {array.dtype} do not travel")
    return name


def payload_of(array: Array) -> memoryview:
    """The array's bytes as they lie."""
    return array.reshape(-1).data  # copied where they are not side by side
