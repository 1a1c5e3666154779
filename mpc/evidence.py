"""How many positive rows each bin of a column has, told to the column's owner in steps of cells, and to nobody else.

The owner knows each row's bin, others the labels: counts are inner products of masked indicators and masked labels, as
in a Gram matrix. On shares they are held against marks a cell apart, and only how many each reaches is opened. A lone
owner's bin has marks that follow from its number of rows, which that owner alone knows and puts in as shares; where a
column has several owners nobody knows it, and both classes' counts are held against public marks (mpc/EVIDENCE.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from mpc.blocks import exchange_blocks
from mpc.communicator import ChannelCommunicator
from mpc.counting import reached
from mpc.curves import Between, between
from mpc.disclosure import Disclosure
from mpc.errors import EngineError, ProgramError
from mpc.evidence_program import (
    VALUE_STEPS,
    Crossing,
    Evidence,
    Weighed,
    bin_marks,
    by_owners,
    crossings,
    fold_period,
    jointly,
    owners_of,
    public_marks,
    weighing_before,
)
from mpc.fused_program import Fused
from mpc.partition import Partition
from mpc.ring import Words, product
from mpc.runtime import Runtime

Bins = NDArray[np.int64]


@dataclass(frozen=True)
class Counted:
    """The least and the most that each bin's counts can be. Hidden in print."""

    positives: tuple[Between, ...] = field(repr=False)
    negatives: tuple[Between, ...] = field(repr=False)


def weighing_rows(program: Fused, evidence: Evidence) -> NDArray[np.bool_]:
    """Whether columns are weighed by a row: by those of no fold. Shapes: -> (rows,)."""
    places = np.arange(program.rows)
    return places % max(1, fold_period(evidence.folds, evidence)) >= evidence.folds


def counted(bins: Bins, labels: Bins, count: int, cell: int) -> Counted:
    """The same of an owner who holds all labels: it takes from its own rows what it would have been told.

    Shapes: bins, labels (rows,), each bin in 0 .. count - 1.
    """
    sizes, positives = _sizes(bins, count), _sizes(bins[labels == 1], count)
    pairs = zip(sizes.tolist(), positives.tolist(), strict=True)
    told = [sum(mark <= positive for mark in bin_marks(size, cell)) for size, positive in pairs]
    return _of_sizes(sizes.tolist(), told, cell)


def weigh(program: Fused, bins: Bins, labels: Bins | None, runtime: Runtime) -> dict[int, Counted]:
    """What is told of the columns that are weighed jointly, at their owners, by the column's place in the joint table.

    Shapes: bins (rows, columns weighed jointly), each the bin of an own entry, -1 of others'; labels (rows,) at owners
    of labels, zero in rows of others. Training rows alone, all of them; those of a fold do not count.
    Cost: a round for each of `crossings`, 8 bytes a masked indicator and a masked label; comparisons of
    `compared_words`; a commitment, and a disclosure to each set of owners.
    Reveals: how many marks each count reaches, to the column's owners.
    Raises: ProgramError, before anything is sent, if a bin is none.
    """
    evidence, columns = program.evidence, jointly(program, program.evidence)
    if evidence is None or not columns:
        return {}
    check_bins(program, columns, bins, runtime.rank)
    weighs = weighing_rows(program, evidence)
    among, of_these = bins[weighs], None if labels is None else labels[weighs]
    bins = np.where(weighs[:, None], bins, -1)
    positives = [_own_counts(program, runtime.rank, each, bins[:, place], labels) for place, each in enumerate(columns)]
    for crossing in crossings(program, evidence):
        positives[crossing.column] += _crossed(crossing, columns[crossing.column].bins, among, of_these, runtime)
    sizes = [_sizes(bins[bins[:, place] >= 0, place], each.bins) for place, each in enumerate(columns)]
    held = [
        _held_against(program, evidence, runtime.rank, *each) for each in zip(columns, positives, sizes, strict=True)
    ]
    shares = _split(reached(np.concatenate(held)), [len(each) for each in held])
    found: dict[int, Counted] = {}
    runtime.commitments.commit()
    for owners, places in by_owners(program, columns).items():
        share = np.concatenate([shares[place] for place in places])
        opened = runtime.discloser.open(Disclosure("weight-of-evidence", owners, share.size), share)
        told = [] if opened is None else _split(opened, [len(shares[place]) for place in places])
        for place, reach in zip(places, told, strict=False):
            facts = sizes[place].tolist() if len(owners) == 1 else None
            found[columns[place].column] = _counted(program, evidence, reach.tolist(), facts)
    return found


def tell_values(program: Fused, own: dict[int, float], runtime: Runtime) -> tuple[float, ...]:
    """Every weighed column's information value, in the order of columns, as the first of its owners has it.

    `own`: at owners, by the column's place in the joint table. Rounded to steps of 1 / VALUE_STEPS.
    Cost: a commitment and a disclosure.  Reveals: them, to the session.
    """
    evidence = program.evidence
    if evidence is None or not evidence.tells_values:
        return ()
    mine = [
        round(own[each.column] * VALUE_STEPS) if owners_of(program, each.column)[0] == runtime.rank else 0
        for each in evidence.columns
    ]
    share = np.array(mine, dtype=np.int64)
    runtime.commitments.commit()
    opened = runtime.discloser.open(Disclosure("information-value", "session", share.size), share)
    if opened is None:
        raise EngineError("a disclosure to the session was not opened here")
    return tuple((opened / VALUE_STEPS).tolist())


def check_bins(partition: Partition, columns: Sequence[Weighed], bins: Bins, rank: int) -> None:
    """Raises: ProgramError unless each own entry has a bin of its column, and no other entry has one."""
    fits = bins.shape == (partition.rows, len(columns))
    for place, each in enumerate(columns) if fits else ():
        own = np.zeros(partition.rows, dtype=np.bool_)
        for block in partition.of(rank):
            if block.columns[0] <= each.column < block.columns[1]:
                own[block.place[0]] = True
        found = bins[:, place]
        fits &= bool(((found >= 0) & (found < each.bins))[own].all() and (found[~own] == -1).all())
    if not fits:
        raise ProgramError("bins must be those of own entries, 0 to one less than the program says")


def _sizes(bins: Bins, count: int) -> Bins:
    return np.bincount(bins, minlength=count).astype(np.int64)


def _own_counts(partition: Partition, rank: int, weighed: Weighed, bins: Bins, labels: Bins | None) -> Words:
    """Positives of rows whose bin and label are this party's own. Shapes: bins (rows,) -> (bins,)."""
    mine = np.zeros(partition.rows, dtype=np.bool_)
    for part in partition.labels:
        mine[part.place] = part.owner == rank
    positive = mine & (bins >= 0) & (labels == 1) if labels is not None else np.zeros(len(bins), dtype=np.bool_)
    return _sizes(bins[positive], weighed.bins)


def _crossed(crossing: Crossing, count: int, bins: Bins, labels: Bins | None, runtime: Runtime) -> Words:
    """A share of B^T y of some rows, B with a column of 0 and 1 for each bin. Shapes: -> (bins,).

    B^T y = B^T E_y (at B's owner) + E_B^T A_y (at y's) + A_B^T A_y (the dealer's).
    Cost: 1 round, 8 bytes an indicator, or a label, from its owner to each peer.  Reveals: nothing (masked).
    """
    rank, rows = runtime.rank, crossing.rows
    size = rows.stop - rows.start
    masks, share = runtime.provider.crossed((count, size), (size,), (crossing.owner, crossing.labels))
    sizes = [0] * runtime.channel.world
    sizes[crossing.owner], sizes[crossing.labels] = count * size, size
    secret = np.zeros(0, dtype=np.int64)
    if rank == crossing.owner:
        secret = np.zeros((count, size), dtype=np.int64)
        secret[bins[rows, crossing.column], np.arange(size)] = 1
    elif rank == crossing.labels:
        if labels is None:
            raise EngineError("labels are not where the program has them")
        secret = labels[rows]
    masked = (secret - masks[0]).reshape(-1) if masks else secret
    everyone = exchange_blocks("evidence", ChannelCommunicator.get(), masked, sizes)
    if rank == crossing.owner:
        share = share + product(secret, everyone[crossing.labels])
    elif rank == crossing.labels:
        share = share + product(everyone[crossing.owner].reshape(count, size), masks[0])
    return share


def _held_against(
    program: Fused, evidence: Evidence, rank: int, weighed: Weighed, positives: Words, sizes: Words
) -> Words:
    """Shares of counts less each of their marks. Shapes: (bins,) twice -> (counts, marks)."""
    owners, (of_positives, of_negatives) = owners_of(program, weighed.column), public_marks(program, evidence)
    if len(owners) == 1:
        unreached = program.rows + 1
        found = np.full((weighed.bins, len(of_positives)), unreached, dtype=np.int64)
        for place, size in enumerate(sizes.tolist()):
            own = bin_marks(size, evidence.smallest_cell)
            found[place, : len(own)] = own
        return positives[:, None] - found * (rank == owners[0])
    counts = np.concatenate([positives, sizes - positives])  # sizes are shared too: each owner has those of its rows
    against = np.repeat(np.array([of_positives, of_negatives], dtype=np.int64), weighed.bins, axis=0)
    return counts[:, None] - against * (rank == 0)


def _split(joined: Words, sizes: Sequence[int]) -> list[Words]:
    return [joined[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]


def _of_sizes(sizes: Sequence[int], told: Sequence[int], cell: int) -> Counted:
    """Where an owner knows how many rows each bin has."""
    positives = [between(bin_marks(n, cell), n, [reach])[0] for n, reach in zip(sizes, told, strict=True)]
    negatives = [(n - most, n - least) for n, (least, most) in zip(sizes, positives, strict=True)]
    return Counted(tuple(positives), tuple(negatives))


def _counted(program: Fused, evidence: Evidence, told: Sequence[int], sizes: Sequence[int] | None) -> Counted:
    """What numbers of marks reached stand for; `sizes` are rows of each bin, where the owner knows them."""
    if sizes is not None:
        return _of_sizes(sizes, told, evidence.smallest_cell)
    half, held_against = len(told) // 2, public_marks(program, evidence)
    rows = weighing_before(evidence, program.rows)
    ranges = (between(marks, rows, each) for marks, each in zip(held_against, (told[:half], told[half:]), strict=True))
    return Counted(*ranges)
