"""A random order of the rows that no party chose and no dealer or gateway knows."""

from __future__ import annotations

import hashlib
import hmac
import secrets

import numpy as np

from mpc.channel import Channel
from mpc.errors import ProtocolError
from mpc.randomness import KEY_BYTES, Secret, Stream
from mpc.ring import Words

COMMITMENT_BYTES = 32


def agreed_order(channel: Channel, rows: int) -> Words:
    """A permutation of the rows, the same at all parties.

    Parties commit to their parts before any is told.

    Shapes: -> (rows,).  Cost: 2 rounds, 32 bytes to each peer in each.
    Reveals: nothing but the order, to the parties; it tells of no data.
    Raises: ProtocolError if a peer's part is not the one that it had committed to.
    """
    peers = [rank for rank in range(channel.world) if rank != channel.rank]
    own = secrets.token_bytes(KEY_BYTES)
    commitments = _exchange(channel, peers, "commitment", _commitment(channel.rank, own))
    parts = _exchange(channel, peers, "contribution", own)
    for peer in peers:
        if not hmac.compare_digest(_commitment(peer, parts[peer]), commitments[peer]):
            raise ProtocolError(
                f"party {peer} chose its part of the rows' order after it knew the others'",
                action="its software is not the released one; end the session",
            )
    parts[channel.rank] = own
    key = Secret(b"".join(parts[rank] for rank in range(channel.world))).derive("row order")
    return np.argsort(Stream(key).words((rows,)), kind="stable").astype(np.int64)


def _commitment(rank: int, part: bytes) -> bytes:
    return hashlib.sha256(b"privity row order" + rank.to_bytes(2, "little") + part).digest()


def _exchange(channel: Channel, peers: list[int], name: str, own: bytes) -> dict[int, bytes]:
    sent = np.frombuffer(own, dtype="u1")
    received = channel.exchange(name, dict.fromkeys(peers, sent), dict.fromkeys(peers, ("u1", sent.shape)))
    return {peer: received[peer].tobytes() for peer in peers}
