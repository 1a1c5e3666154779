"""Whether all parties hold the same records, or labels of the same classes, compared without showing one."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import numpy as np

from parties.contract import Contract, Terms
from parties.errors import DataError

if TYPE_CHECKING:
    from mpc.channel import Channel
    from mpc.keys import SessionKeys


def compare_ids(channel: Channel, keys: SessionKeys, ids: tuple[str, ...], contract: Terms) -> None:
    """Every pair compares a keyed digest of its id list. Cost: 1 round, 40 bytes to each peer.

    Reveals: each party's row count, and whether the lists are equal.
    Raises: DataError with both counts if a peer's differs.
    """
    digest = hmac.new(keys.parties_key("ids"), digestmod="sha256")
    for record in ids:
        content = record.encode()
        digest.update(len(content).to_bytes(4, "little") + content)
    own = np.frombuffer(len(ids).to_bytes(8, "little") + digest.digest(), dtype="u1")
    peers = [rank for rank in range(channel.world) if rank != channel.rank]
    theirs = channel.exchange("ids", dict.fromkeys(peers, own), dict.fromkeys(peers, ("u1", own.shape)))
    for peer in peers:
        if theirs[peer].tobytes() != own.tobytes():
            count = int.from_bytes(theirs[peer].tobytes()[:8], "little")
            raise DataError(
                f"the record ids of {contract.parties[channel.rank].name} ({len(ids)} rows) and of "
                f"{contract.parties[peer].name} ({count} rows) are not the same",
                action="bring both files to the same records, then propose the session again",
            )


def compare_classes(channel: Channel, keys: SessionKeys, classes: tuple[str, ...], contract: Contract) -> None:
    """Every pair compares a keyed digest of the label's classes. Cost: 1 round, 32 bytes to each peer.

    Reveals: whether the classes are the same; who guesses another party's can test the guess.
    Raises: DataError with the names of two parties whose classes differ.
    """
    digest = hmac.new(keys.parties_key("classes"), digestmod="sha256")
    for name in classes:
        content = name.encode()
        digest.update(len(content).to_bytes(4, "little") + content)
    own = np.frombuffer(digest.digest(), dtype="u1")
    peers = [rank for rank in range(channel.world) if rank != channel.rank]
    theirs = channel.exchange("classes", dict.fromkeys(peers, own), dict.fromkeys(peers, ("u1", own.shape)))
    for peer in peers:
        if theirs[peer].tobytes() != own.tobytes():
            raise DataError(
                f"the label's classes at {contract.parties[channel.rank].name} and at {contract.parties[peer].name} "
                "are not the same",
                action="write the same values in both files, then propose the session again",
            )
