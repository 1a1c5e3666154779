"""Every kind of requested correlation, defined once for the parties' side and the dealer's.

A tuple has a number. Each party expands its shares of a tuple's parts from its own stream of that number; the value
that belongs to them is shared likewise, but for one party, the corrected one, which receives `value - other shares`
from the dealer. The role rotates with the number, so it does not matter which party's request reaches the dealer first.
"""

from __future__ import annotations

import numpy as np

from mpc.randomness import Stream, Words
from mpc.requests import Request
from mpc.ring import product

OPERATIONS = ("mul", "matmul")


def expand(request: Request, stream: Stream, rank: int) -> tuple[list[Words], Words]:
    """One party's shares of the parts, and of the value unless it is the corrected one."""
    parts = [stream.words(shape, bits) for shape, bits in request.parts(rank)]
    return parts, stream.words(request.value_shape)


def correction(request: Request, shares: list[tuple[list[Words], Words]], corrected: int) -> Words:
    """What the dealer sends to the corrected party."""
    value = _value(request, [parts for parts, _ in shares])
    for rank, (_, share) in enumerate(shares):
        if rank != corrected:
            value = value ^ share if request.xor else value - share
    return value


def _value(request: Request, parts: list[list[Words]]) -> Words:
    if request.kind == "crossed":
        one, other = (parts[owner][0] for owner in request.owners)
        return product(one, other)
    columns = list(zip(*parts, strict=True))
    if request.kind == "wraps":
        return count_wraps(list(columns[0]))
    if request.kind == "b2a":
        return np.asarray(np.bitwise_xor.reduce(columns[0]), dtype=np.int64)
    if request.kind == "binary":
        one, other = (np.bitwise_xor.reduce(column) for column in columns)
        return np.asarray(one & other, dtype=np.int64)
    import torch  # here: a matching's dealer never comes to it

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
