"""A random order of the rows that nobody chose. The dealer is told it: its masks must follow."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np

from mpc.channel import Channel
from mpc.errors import ProtocolError
from mpc.randomness import Entropy, Secret, Stream
from mpc.ring import Words

SEED_BYTES = 32  # as long as a commitment


def agreed_seed(channel: Channel, entropy: Entropy) -> bytes:
    """What an order follows from, the same at all parties. They commit to their parts before any is told.

    Cost: 2 rounds, 32 bytes to each peer in each.
    Reveals: the order, to the parties and the dealer; it tells of no data.
    Raises: ProtocolError if a peer's part is not the one that it had committed to.
    """
    peers = [rank for rank in range(channel.world) if rank != channel.rank]
    own = entropy.fresh("rows' order")
    commitments = _exchange(channel, peers, "commitment", _commitment(channel.rank, own))
    parts = _exchange(channel, peers, "contribution", own)
    for peer in peers:
        if not hmac.compare_digest(_commitment(peer, parts[peer]), commitments[peer]):
            raise ProtocolError(
                f"party {peer} chose its part of the rows' order after it knew the others'",
                action="its software is not the released one; end the session",
            )
    parts[channel.rank] = own
    return hashlib.sha256(b"".join(parts[rank] for rank in range(channel.world))).digest()


def order(seed: bytes, rows: int) -> Words:
    """A permutation of the rows. Shapes: -> (rows,)."""
    return np.argsort(Stream(Secret(seed).derive("row order")).words((rows,)), kind="stable").astype(np.int64)


def _commitment(rank: int, part: bytes) -> bytes:
    return hashlib.sha256(b"privity row order" + rank.to_bytes(2, "little") + part).digest()


def _exchange(channel: Channel, peers: list[int], name: str, own: bytes) -> dict[int, bytes]:
    sent = np.frombuffer(own, dtype="u1")
    received = channel.exchange(name, dict.fromkeys(peers, sent), dict.fromkeys(peers, ("u1", sent.shape)))
    return {peer: received[peer].tobytes() for peer in peers}
