"""Whether all parties hold the same records, or labels of the same classes, compared without showing one.

Who has the rows of several parts of a table is told which record is of which part, once it is sure to have them all.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from parties.agreement.contract import Contract, Terms
from parties.agreement.joining import COUNT_BYTES, DIGEST_BYTES, RECORD_BYTES
from parties.agreement.prediction import PredictionContract
from parties.errors import DataError

if TYPE_CHECKING:
    from mpc.channel import Channel
    from mpc.keys import SessionKeys

Joined: TypeAlias = Contract | PredictionContract
SUMS = 1 << 8 * DIGEST_BYTES  # of ids' digests, modulo this
Bytes = NDArray[np.uint8]


def compare_ids(
    channel: Channel, keys: SessionKeys, ids: Sequence[str], contract: Terms, peers: Sequence[int] | None = None
) -> None:
    """Every pair, or this party and these, compare a keyed digest of their id lists. Cost: 1 round, 40 bytes to each.

    Reveals: each party's row count, and whether the lists are equal.
    Raises: DataError with both counts if a peer's differs.
    """
    own = len(ids).to_bytes(COUNT_BYTES, "little") + digest(keys.parties_key("ids"), ids)

    def differ(peer: int, theirs: bytes) -> DataError:
        count = int.from_bytes(theirs[:COUNT_BYTES], "little")
        return DataError(
            f"the record ids of {contract.parties[channel.rank].name} ({len(ids)} rows) and of "
            f"{contract.parties[peer].name} ({count} rows) are not the same",
            action="bring both files to the same records, or match them first, then propose the session again",
        )

    compare(channel, "ids", own, _others(channel) if peers is None else peers, differ)


def compare_classes(channel: Channel, keys: SessionKeys, classes: tuple[str, ...], contract: Contract) -> None:
    """Every pair of the label's holders compares a keyed digest of its classes. Cost: 1 round, 32 bytes to each.

    Reveals: whether the classes are the same; who guesses another party's can test the guess.
    Raises: DataError with the names of two parties whose classes differ.
    """

    def differ(peer: int, _: bytes) -> DataError:
        return DataError(
            f"the label's classes at {contract.parties[channel.rank].name} and at {contract.parties[peer].name} "
            "are not the same",
            action="write the same values in both files, then propose the session again",
        )

    holders = [peer for peer in _others(channel) if contract.label.held_by(contract.parties[peer].name)]
    if holders:
        compare(channel, "classes", digest(keys.parties_key("classes"), classes), holders, differ)


def join_ids(
    channel: Channel, keys: SessionKeys, ids: Sequence[str], contract: Joined, permit: Callable[[], None]
) -> tuple[NDArray[np.int64], ...]:
    """Of a table in blocks: which of this party's rows are of which part that it has, in the order of ids.

    Row-wise partners send each other a keyed sum over their ids; the sums' totals must be the same for all columns, so
    that partners' ids are disjoint and together those of who has all parts. Only then, and if `permit` has not raised,
    are the latter told keyed digests of each partner's ids, which they find among their own.

    Cost: 3 rounds: 32 bytes to each partner; 32 to everybody; of each of the first columns' partners 16 a record to who
    has all parts. One more, 40 bytes, if several columns are divided.
    Reveals: to all, whether the lists fit; to partners, a digest of each other's list; to who has all parts, if they
    fit, which partner has which record: the disclosure "membership".
    Raises: DataError if they do not fit; whatever `permit` raises, before anything of a record is sent.
    """
    division, rank = contract.division, channel.rank
    _compare_totals(channel, keys, ids, contract)
    if len(division.divided) > 1 and division.is_divided(rank):
        part = division.parts_of(rank)[0]
        compare_ids(
            channel, keys, ids, contract, [side[part] for side in division.divided if side != division.side(rank)]
        )
    permit()
    return _parts(channel, keys, ids, contract)


def _compare_totals(channel: Channel, keys: SessionKeys, ids: Sequence[str], contract: Joined) -> None:
    """A digest says whose it is, so that nobody can send another's back and be told of records that it lacks."""
    division, rank, others = contract.division, channel.rank, _others(channel)
    partners = [peer for peer in division.side(rank) if peer != rank]
    own = _sum(keys.parties_key("id sums"), ids)
    sums = channel.exchange(
        "id sums",
        dict.fromkeys(partners, _array(own.to_bytes(DIGEST_BYTES, "little"))),
        dict.fromkeys(partners, ("u1", (DIGEST_BYTES,))),
    )
    total = (own + sum(int.from_bytes(each.tobytes(), "little") for each in sums.values())) % SUMS
    key, content = keys.parties_key("id totals"), total.to_bytes(DIGEST_BYTES, "little")
    told = [hmac.digest(key, bytes([party]) + content, "sha256") for party in range(channel.world)]
    theirs = channel.exchange(
        "id totals", dict.fromkeys(others, _array(told[rank])), dict.fromkeys(others, ("u1", (DIGEST_BYTES,)))
    )
    for peer in others:
        if theirs[peer].tobytes() != told[peer]:
            one, other = (_named(contract, division.side(each)) for each in (rank, peer))
            raise DataError(
                f"the record ids of {one} and of {other} are not the same: some lack, or two that have the same columns"
                " have the same record",
                action="bring the files to the same records, each at one of these, then propose the session again",
            )


def _parts(channel: Channel, keys: SessionKeys, ids: Sequence[str], contract: Joined) -> tuple[NDArray[np.int64], ...]:
    division, rank = contract.division, channel.rank
    tellers, counts = division.divided[0], division.counts(contract.parties)
    whole = not division.is_divided(rank)
    own = _records(keys.parties_key("records"), ids) if whole or rank in tellers else np.empty((0, 0), dtype="u1")
    outgoing = dict.fromkeys(division.whole, own) if rank in tellers else {}
    expected = {teller: ("u1", (count, RECORD_BYTES)) for teller, count in zip(tellers, counts, strict=True) if whole}
    told = channel.exchange("records", outgoing, expected)
    if not whole:
        return (np.arange(len(ids)),)
    places = {record.tobytes(): place for place, record in enumerate(own)}
    try:
        parts = tuple(np.array([places.pop(record.tobytes()) for record in told[teller]]) for teller in tellers)
    except KeyError:
        raise DataError(
            f"a record of {_named(contract, tellers)} is not one of {contract.parties[rank].name}",
            action="a party did not follow the protocol; ask its operator",
        ) from None
    return parts


def compare(
    channel: Channel, name: str, own: bytes, peers: Sequence[int], differ: Callable[[int, bytes], DataError]
) -> None:
    """This party and these hold one content against each other. Raises: what `differ` makes of the first other one."""
    theirs = channel.exchange(name, dict.fromkeys(peers, _array(own)), dict.fromkeys(peers, ("u1", (len(own),))))
    for peer in peers:
        if theirs[peer].tobytes() != own:
            raise differ(peer, theirs[peer].tobytes())


def digest(key: bytes, texts: Sequence[str]) -> bytes:
    """Of all of them in order, each with its length."""
    found = hmac.new(key, digestmod="sha256")
    for text in texts:
        content = text.encode()
        found.update(len(content).to_bytes(4, "little") + content)
    return found.digest()


def _sum(key: bytes, ids: Sequence[str]) -> int:
    """Of all ids' digests, whatever their order: of two lists one below the other it is the sum of both."""
    digests = (hmac.digest(key, record.encode(), "sha256") for record in ids)
    return sum(int.from_bytes(each, "little") for each in digests) % SUMS


def _records(key: bytes, ids: Sequence[str]) -> Bytes:
    """A digest of each id. Shapes: -> (ids, RECORD_BYTES)."""
    digests = b"".join(hmac.digest(key, record.encode(), "sha256")[:RECORD_BYTES] for record in ids)
    return _array(digests).reshape(len(ids), RECORD_BYTES)


def _array(content: bytes) -> Bytes:
    return np.frombuffer(content, dtype="u1")


def _others(channel: Channel) -> list[int]:
    return [rank for rank in range(channel.world) if rank != channel.rank]


def _named(contract: Joined, ranks: Sequence[int]) -> str:
    return " and ".join(f"{contract.parties[rank].name} ({contract.parties[rank].rows} rows)" for rank in ranks)
