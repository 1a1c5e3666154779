"""The private table, of blocks with one owner each: masked once an epoch, multiplied by shared vectors ever after.

The owner of an entry keeps X in the clear at home and holds a mask A with the dealer; the other parties hold E = X - A.
With w = delta - b, delta public, X w = X delta - E b - A b: owners compute the first term of their entries, all the
second, the dealer shares the third. A party's own columns are those of which it owns entries, zero where it does not,
so that one formula serves every partition. The constant column is public: A = 0, E = X, its owner the lowest rank.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mpc.communicator import ChannelCommunicator
from mpc.keys import LABELS, TABLE, SessionKeys
from mpc.layouts import beside, filled
from mpc.openings import Masked, Truncated
from mpc.partition import Block, Partition
from mpc.program import DATA_BITS, Design, Fused
from mpc.randomness import Streams
from mpc.ring import Words, encode, product
from mpc.shares import shared
from mpc.shim import ArithmeticSharedTensor
from mpc.validation import spread

Place = tuple[slice, slice]
Columns = NDArray[np.intp]
ALL: Place = (slice(None), slice(None))
GRAM_ROWS = 1 << 15  # at once


class Table:
    """One party's view of the joint table. It prints nothing of it."""

    def __init__(
        self,
        own: Sequence[int] | Columns | slice,
        X: Words,
        E: Words,
        labels: Words | None,
        masked_labels: Words | None,
        places: Sequence[Place] = (ALL,),
    ) -> None:
        """`X` are own columns, `places` own entries in them; `labels` are own ones, `masked_labels` those of others.

        All three are zero elsewhere. Labels have a column a class.
        """
        self._own, self._X, self._E, self._places = _side_by_side(own), X, E, places
        self._Xt, self._Et = X.T, E.T
        self.labels, self._masked_labels = labels, masked_labels

    def batch(self, rows: slice | Words) -> Table:
        """The same of some rows, for products alone: what is shared of the labels' totals is of all rows."""
        return Table(self._own, self._X[rows], self._E[rows], None if self.labels is None else self.labels[rows], None)

    def strip(self, rows: slice, count: int) -> Table:
        """The same of some rows, and zeros up to a count."""
        return Table(self._own, filled(self._X[rows], count), filled(self._E[rows], count), None, None)

    def product(self, w: Truncated, table_low: Words) -> ArithmeticSharedTensor:
        """X w. Shapes: w (d, e) -> (m, e), at the sum of the scales. No round. `table_low` is a share of A w.low."""
        return shared(product(self._X, w.delta[self._own]) - product(self._E, w.low) - table_low)

    def transposed_product(self, r: Truncated, table_low: Words) -> ArithmeticSharedTensor:
        """X^T r. Shapes: r (m, e) -> (d, e), at the sum of the scales. No round. `table_low` shares A^T r.low."""
        share = -product(self._Et, r.low) - table_low
        share[self._own] += product(self._Xt, r.delta)
        return shared(share)

    def gram(self, table_table: Words) -> ArithmeticSharedTensor:
        """X^T X. Shapes: -> (d, d), scale 2**(2 DATA_BITS). No round.

        Of a row's entries x, y of two owners, x y = x E_y + E_x A_y + A_x A_y: the first term at x's owner, the second
        at y's. `table_table` is a share of the third, without products of two entries of one owner.
        """
        share = np.array(table_table)
        for start in range(0, len(self._X), GRAM_ROWS):
            self._add_gram(share, slice(start, start + GRAM_ROWS))
        return shared(share)

    def _add_gram(self, share: Words, rows: slice) -> None:
        own, X, theirs = np.arange(len(share))[self._own], self._X[rows], self._E[rows].copy()
        own_E = self._owned(theirs[:, own], rows)
        theirs[:, own] -= own_E
        share[np.ix_(own, own)] += product(X.T, X)
        share[own] += product(X.T, theirs)
        share[:, own] += product((X - own_E).T, theirs).T

    def scaled(self, s: Truncated, low_table: Words) -> ArithmeticSharedTensor:
        """Each row of X times shared numbers, side by side. Shapes: s (m, e) -> (m, e d), at the sum of the scales.

        No round. `low_table` is a share of s.low's products with the rows of A.
        """
        share = -beside(s.low, self._E) - low_table
        each = share.reshape(*s.low.shape, -1)
        each[:, :, self._own] += s.delta[:, :, None] * self._X[:, None, :]
        return shared(share)

    def transposed_matrix(self, Z: Masked, table_rest: Words) -> ArithmeticSharedTensor:
        """X^T Z. Shapes: Z (m, e) -> (d, e), at the sum of the scales. No round. `table_rest` shares A^T Z.rest."""
        share = product(self._Et, Z.rest) + table_rest
        share[self._own] += product(self._Xt, Z.public)
        return shared(share)

    def label_totals(self, program: Fused, label_mask: Words | None, table_labels: Words) -> ArithmeticSharedTensor:
        """X^T Y, Y as `validation.totals` says. Shapes: -> (d, totals), scale 2**DATA_BITS. No round.

        Owners of labels pass A_y, zero in others' rows; everybody holds E_y = y - A_y of the others. Products are split
        as in `gram`: `table_labels` is a share of A^T A_y, without products of an entry and a label of one owner.
        """
        share, own = np.array(table_labels), self._own
        if self._masked_labels is not None:
            known = self._masked_labels if self.labels is None else self._masked_labels + self.labels
            share[own] += product(self._Xt, spread(program, known))
        if label_mask is not None:
            masks = spread(program, label_mask)
            share += product(self._Et, masks)
            share[own] -= product(self._owned(self._E[:, own], slice(None)).T, masks)
        return shared(share)

    def _owned(self, matrix: Words, rows: slice) -> Words:
        """Zero where an entry is another party's. Shapes: (rows, own columns) -> the same."""
        return np.where(self._mine[rows], matrix, 0)

    @cached_property
    def _mine(self) -> NDArray[np.bool_]:
        """Which entries of own columns are own ones."""
        found = np.zeros(self._X.shape, dtype=np.bool_)
        for place in self._places:
            found[place] = True
        return found


def _side_by_side(columns: Sequence[int] | Columns | slice) -> Columns | slice:
    """Which columns: a slice, of which NumPy makes views, where they stand side by side."""
    if isinstance(columns, slice):
        return columns
    found = np.asarray(columns, dtype=np.intp)
    if found.size and (np.diff(found) == 1).all():
        return slice(int(found[0]), int(found[-1]) + 1)
    return found


@dataclass(frozen=True)
class MaskedBlocks:
    """A table after its masked entries were exchanged. Hidden in print."""

    X: Words = field(repr=False)  # own columns, zero where an entry is another party's
    E: Words = field(repr=False)  # of all parties, (rows, width)
    masked_labels: Words = field(repr=False)  # (rows, classes), of all owners, if they were exchanged
    label_mask: Words | None = field(repr=False)  # (rows, classes) at owners of labels, zero in rows of others


def mask_table(
    program: Fused, keys: SessionKeys, block: NDArray[np.float64], labels: NDArray[np.int64] | None
) -> tuple[Table, Words | None]:
    """Encode this party's entries, mask them and exchange masked ones: once an epoch.

    Shapes: block (m, own columns), labels (m,), both zero in rows of others.
    Returns the table and, at owners of labels, their mask, zero likewise.
    Cost: 1 round, 8 bytes an own entry (and an own label, if the loss is disclosed) to each peer.
    Reveals: nothing (masked). The dealer must never see what is exchanged here: it knows the masks.
    """
    rank, exchanges = ChannelCommunicator.get().get_rank(), program.loss_every > 0
    own_labels = None if labels is None else indicators(program, program.classes, rank, labels)
    found = mask_blocks(
        "table", program, program.width, keys.dealt.table, block, own_labels, program.classes if exchanges else 0
    )
    X, E, places = with_constant(program, rank, found.X), found.E, program.places(rank)
    if X.shape[1] > found.X.shape[1]:
        places.append((slice(None), slice(X.shape[1] - 1, None)))
    theirs = found.masked_labels
    for part in program.labels:
        if part.owner == rank:
            theirs[part.place] = 0
    return Table(program.own(rank), X, E, own_labels, theirs if exchanges else None, places), found.label_mask


def mask_blocks(
    name: str,
    partition: Partition,
    width: int,
    masks: Streams,
    block: NDArray[np.float64],
    labels: Words | None,
    exchanged: int,
) -> MaskedBlocks:
    """One round: each party's masked entries, block by block, then its masked labels, to all others.

    E has `width` columns: those after the partition's are the public constant. Labels have a column a class, of which
    all are `exchanged`, or 0.
    """
    communicator = ChannelCommunicator.get()
    rank, X = communicator.get_rank(), encode(block, DATA_BITS)
    sizes = [
        partition.cells(peer) + exchanged * partition.labelled(peer) for peer in range(communicator.get_world_size())
    ]
    row, end = np.empty(sizes[rank], dtype=np.int64), 0
    for (number, part), place in zip(_numbered(partition, rank), partition.places(rank), strict=True):
        begin, end = end, end + part.cells
        mask = masks.open(TABLE + number).words(part.shape)
        np.subtract(X[place], mask, out=row[begin:end].reshape(part.shape))
    label_mask = None
    if labels is not None:
        label_mask = _label_mask(partition, masks, rank, labels.shape[1])
        for rows in partition.labels if exchanged else ():
            if rows.owner == rank:
                begin, end = end, end + rows.count * exchanged
                row[begin:end] = (labels - label_mask)[rows.place].reshape(-1)
    everyone = _exchange_blocks(name, communicator, row, sizes)
    E, masked_labels = _assembled(partition, width, everyone, exchanged)
    return MaskedBlocks(X, E, masked_labels, label_mask)


def with_constant(program: Design, rank: int, X: Words) -> Words:
    """Own columns with the public one, which counts as the lowest rank's."""
    if rank or not program.fit_intercept:
        return X
    return np.concatenate([X, np.full((len(X), 1), 1 << DATA_BITS, dtype=np.int64)], axis=1)


def indicators(partition: Partition, classes: int, rank: int, labels: NDArray[np.int64]) -> Words:
    """1 where a row of this party's is of a column's class, else 0. Shapes: labels (rows,) -> (rows, classes).

    One column tells class 1 from class 0.
    """
    found = np.zeros((len(labels), classes), dtype=np.int64)
    named = np.arange(classes) + (classes == 1)
    for part in partition.labels:
        if part.owner == rank:
            found[part.place] = labels[part.place, None] == named
    return found


def _numbered(partition: Partition, rank: int) -> list[tuple[int, Block]]:
    """A party's blocks with their numbers in the partition."""
    return [(number, block) for number, block in enumerate(partition.blocks) if block.owner == rank]


def _label_mask(partition: Partition, masks: Streams, rank: int, classes: int) -> Words:
    mask, stream = np.zeros((partition.rows, classes), dtype=np.int64), masks.open(LABELS)
    for part in partition.labels:
        if part.owner == rank:
            mask[part.place] = stream.words((part.count, classes))
    return mask


def _assembled(partition: Partition, width: int, everyone: list[Words], exchanged: int) -> tuple[Words, Words]:
    """E and, if they were exchanged, E_y of all parties."""
    E, masked_labels = np.empty((partition.rows, width), np.int64), np.zeros((partition.rows, exchanged), np.int64)
    E[:, partition.columns :] = 1 << DATA_BITS
    taken = [0] * len(everyone)

    def take(owner: int, count: int) -> Words:
        taken[owner] += count
        return everyone[owner][taken[owner] - count : taken[owner]]

    for block in partition.blocks:
        E[block.place] = take(block.owner, block.cells).reshape(block.shape)
    for part in partition.labels if exchanged else ():
        masked_labels[part.place] = take(part.owner, part.count * exchanged).reshape(part.count, exchanged)
    return E, masked_labels


def _exchange_blocks(name: str, communicator: ChannelCommunicator, sent: Words, sizes: list[int]) -> list[Words]:
    """All parties' masked words by rank; their digests enter the transcript."""
    rank = communicator.get_rank()
    peers = [peer for peer in range(len(sizes)) if peer != rank]
    received = communicator.channel.exchange(
        name, dict.fromkeys(peers, sent), {peer: ("i8", (sizes[peer],)) for peer in peers}
    )
    everyone = [sent if peer == rank else np.asarray(received[peer], dtype=np.int64) for peer in range(len(sizes))]
    for each in everyone:
        digest = hashlib.sha256(np.ascontiguousarray(each).data).digest()
        communicator.transcript.absorb(np.frombuffer(digest, dtype="u1"))
    return everyone
