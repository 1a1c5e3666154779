"""Every kind of correlated randomness, defined once for the parties' side and the dealer's.

A tuple has a number. Each party expands its shares of a tuple's parts from its own stream of that number; the value
that belongs to them is shared likewise, but for one party, the corrected one, which receives `value - other shares`
from the dealer. The role rotates with the number, so the order in which requests reach the dealer does not matter.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Literal

import numpy as np
import torch

from mpc.errors import ProtocolError
from mpc.randomness import Stream, Words

Kind = Literal["triple", "square", "binary", "wraps", "b2a"]
KINDS = ("triple", "square", "binary", "wraps", "b2a")
OPERATIONS = ("mul", "matmul")
Shape = tuple[int, ...]
MAX_DIMENSIONS = 4


@dataclass(frozen=True)
class Request:
    """What the corrected party asks for: a kind, shapes and a number. All that the dealer ever learns online."""

    number: int
    kind: Kind
    sizes: tuple[Shape, ...]
    op: str = ""

    def corrected(self, world: int) -> int:
        """The rank that asks and receives."""
        return self.number % world

    @property
    def parts(self) -> list[tuple[Shape, int]]:
        """Shape and bits of what every party expands for itself."""
        return [(size, 1 if self.kind == "b2a" else 64) for size in self.sizes]

    @property
    def value_shape(self) -> Shape:
        if self.kind == "triple":
            one, other = (torch.empty(size, device="meta") for size in self.sizes)
            return tuple(getattr(torch, self.op)(one, other).shape)
        return tuple(np.broadcast_shapes(*self.sizes))

    @property
    def xor(self) -> bool:
        """Whether the value is shared by exclusive or instead of addition."""
        return self.kind == "binary"

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def decode_request(message: bytes, max_words: int) -> Request:
    """Raises: ProtocolError if it is no request of a known kind within the program's size."""
    try:
        fields: dict[str, Any] = json.loads(message)
        request = Request(
            int(fields["number"]),
            fields["kind"],
            tuple(tuple(map(int, size)) for size in fields["sizes"]),
            fields["op"],
        )
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise ProtocolError("a party's request for correlated randomness is malformed") from exc
    expected = 2 if request.kind in ("triple", "binary") else 1
    known = request.kind in KINDS and request.op in (OPERATIONS if request.kind == "triple" else ("",))
    if not known or len(request.sizes) != expected or not 0 <= request.number < 1 << 63:
        raise ProtocolError(f"a party asked for correlated randomness of an unknown kind '{request.kind}'")
    for size in request.sizes:
        _check_size(size, max_words)
    try:
        _check_size(request.value_shape, max_words)
    except (ValueError, RuntimeError) as exc:
        raise ProtocolError(
            f"a party asked for correlated randomness of shapes {request.sizes}, which don't fit"
        ) from exc
    return request


def _check_size(size: Shape, max_words: int) -> None:
    if len(size) > MAX_DIMENSIONS or any(n < 0 for n in size) or prod(size) > max_words:
        raise ProtocolError(f"a party asked for correlated randomness of shape {size}, larger than its program")


def expand(request: Request, stream: Stream) -> tuple[list[Words], Words]:
    """One party's shares of the parts, and of the value unless it is the corrected one."""
    parts = [stream.words(shape, bits) for shape, bits in request.parts]
    return parts, stream.words(request.value_shape)


def correction(request: Request, shares: list[tuple[list[Words], Words]], corrected: int) -> Words:
    """What the dealer sends to the corrected party."""
    value = _value(request, [parts for parts, _ in shares])
    for rank, (_, share) in enumerate(shares):
        if rank != corrected:
            value = value ^ share if request.xor else value - share
    return value


def _value(request: Request, parts: list[list[Words]]) -> Words:
    columns = list(zip(*parts, strict=True))
    if request.kind == "wraps":
        return count_wraps(list(columns[0]))
    if request.kind == "b2a":
        return np.asarray(np.bitwise_xor.reduce(columns[0]), dtype=np.int64)
    if request.kind == "binary":
        one, other = (np.bitwise_xor.reduce(column) for column in columns)
        return np.asarray(one & other, dtype=np.int64)
    totals = [torch.from_numpy(np.add.reduce(column)) for column in columns]
    if request.kind == "square":
        return np.asarray((totals[0] * totals[0]).numpy(), dtype=np.int64)
    return np.asarray(getattr(torch, request.op)(*totals).numpy(), dtype=np.int64)


def count_wraps(shares: list[Words]) -> Words:
    """How often the signed sum of shares leaves the ring's range, as CrypTen counts it: +1 above, -1 below."""
    total = shares[0]
    wraps: Words = np.zeros(total.shape, dtype=np.int64)
    for share in shares[1:]:
        following = total + share
        wraps = wraps - ((total < 0) & (share < 0) & (following >= 0)) + ((total > 0) & (share > 0) & (following < 0))
        total = following
    return wraps
