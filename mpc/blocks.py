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
import torch
from numpy.typing import NDArray

from mpc.communicator import ChannelCommunicator
from mpc.design import Design
from mpc.errors import ProgramError
from mpc.fused_program import Fused
from mpc.keys import LABELS, TABLE, SessionKeys
from mpc.layouts import beside, filled
from mpc.openings import Masked, Truncated
from mpc.partition import Block, Partition
from mpc.products import HOST, Products, products
from mpc.randomness import Streams
from mpc.ring import Words, encode, product
from mpc.scales import DATA_BITS
from mpc.shares import shared
from mpc.shim import ArithmeticSharedTensor
from mpc.validation import spread

Place = tuple[slice, slice]
Columns = NDArray[np.int64]
ALL: Place = (slice(None), slice(None))
GRAM_ROWS = 1 << 15  # at once


class Table:
    """One party's view of the joint table. It prints nothing of it."""

    def __init__(
        self,
        products: Products,
        labels: Words | None,
        masked_labels: Words | None,
        places: Sequence[Place] = (ALL,),
        order: Words | None = None,
    ) -> None:
        """`places` are own entries in own columns; `labels` are own ones, `masked_labels` those of others.

        Own columns and labels are zero elsewhere. Labels have a column a class. `order` says where each row stood when
        the table was masked, if not here.
        """
        self._products, self._X, self._E, self._places = products, products.X, products.E, places
        self.order = np.arange(len(products.X)) if order is None else order
        self.labels, self._masked_labels = labels, masked_labels

    def batch(self, rows: slice | Words) -> Table:
        """The same of some rows, for products alone: what is shared of the labels' totals is of all rows."""
        labels = None if self.labels is None else self.labels[rows]
        return Table(self._products.some(rows), labels, None, order=self.order[rows])

    def strip(self, rows: slice, count: int) -> Table:
        """The same of some rows, and zeros up to a count."""
        X, E = filled(self._X[rows], count), filled(self._E[rows], count)
        return Table(products(X, E, self._products.own, self._products.device), None, None)

    def product(self, w: Truncated, table_low: Words) -> ArithmeticSharedTensor:
        """X w. Shapes: w (d, e) -> (m, e), at the sum of the scales. `table_low` is a share of A w.low.

        Exact.  Cost: no round.  Reveals: nothing (nothing is sent).
        """
        return shared(self._products.product(w.delta, w.low, table_low))

    def transposed_product(self, r: Truncated, table_low: Words) -> ArithmeticSharedTensor:
        """X^T r. Shapes: r (m, e) -> (d, e), at the sum of the scales. `table_low` shares A^T r.low.

        Exact.  Cost: no round.  Reveals: nothing (nothing is sent).
        """
        return shared(self._products.transposed(r.delta, r.low, table_low))

    def gram(self, table_table: Words) -> ArithmeticSharedTensor:
        """X^T X. Shapes: -> (d, d), scale 2**(2 DATA_BITS).

        Exact.  Cost: no round.  Reveals: nothing (nothing is sent).
        Of a row's entries x, y of two owners, x y = x E_y + E_x A_y + A_x A_y: the first term at x's owner, the second
        at y's. `table_table` is a share of the third, without products of two entries of one owner.
        """
        share = np.array(table_table)
        for start in range(0, len(self._X), GRAM_ROWS):
            self._add_gram(share, slice(start, start + GRAM_ROWS))
        return shared(share)

    def _add_gram(self, share: Words, rows: slice) -> None:
        own, X, theirs = self._products.own, self._X[rows], self._E[rows].copy()
        own_E, between = self._owned(theirs[:, own], rows), self._products.between
        theirs[:, own] -= own_E
        share[np.ix_(own, own)] += between(X.T, X)
        share[own] += between(X.T, theirs)
        share[:, own] += between((X - own_E).T, theirs).T

    def scaled(self, s: Truncated, low_table: Words) -> ArithmeticSharedTensor:
        """Each row of X times shared numbers, side by side. Shapes: s (m, e) -> (m, e d), at the sum of the scales.

        `low_table` is a share of s.low's products with the rows of A.

        Exact.  Cost: no round.  Reveals: nothing (nothing is sent).
        """
        share = -beside(s.low, self._E) - low_table
        each = share.reshape(*s.low.shape, -1)
        each[:, :, self._own] += s.delta[:, :, None] * self._X[:, None, :]
        return shared(share)

    def transposed_matrix(self, Z: Masked, table_rest: Words) -> ArithmeticSharedTensor:
        """X^T Z. Shapes: Z (m, e) -> (d, e), at the sum of the scales. `table_rest` shares A^T Z.rest.

        Exact.  Cost: no round.  Reveals: nothing (nothing is sent).
        """
        between = self._products.between
        share = between(self._E.T, Z.rest) + table_rest
        share[self._own] += between(self._X.T, Z.public)
        return shared(share)

    def label_totals(self, program: Fused, label_mask: Words | None, table_labels: Words) -> ArithmeticSharedTensor:
        """X^T Y, Y as `validation.totals` says. Shapes: -> (d, totals), scale 2**DATA_BITS.

        Exact.  Cost: no round.  Reveals: nothing (nothing is sent).

        Owners of labels pass A_y, zero in others' rows; everybody holds E_y = y - A_y of the others. Products are split
        as in `gram`: `table_labels` is a share of A^T A_y, without products of an entry and a label of one owner.
        """
        share, own = np.array(table_labels), self._own
        if self._masked_labels is not None:
            known = self._masked_labels if self.labels is None else self._masked_labels + self.labels
            share[own] += product(self._X.T, spread(program, known))
        if label_mask is not None:
            masks = spread(program, label_mask)
            share += product(self._E.T, masks)
            share[own] -= product(self._owned(self._E[:, own], slice(None)).T, masks)
        return shared(share)

    def _owned(self, matrix: Words, rows: slice) -> Words:
        """Zero where an entry is another party's. Shapes: (rows, own columns) -> the same."""
        return np.where(self._mine[rows], matrix, 0)

    @cached_property
    def _own(self) -> Columns | slice:
        return _side_by_side(self._products.own)

    @cached_property
    def _mine(self) -> NDArray[np.bool_]:
        """Which entries of own columns are own ones."""
        found = np.zeros(self._X.shape, dtype=np.bool_)
        for place in self._places:
            found[place] = True
        return found


def _side_by_side(columns: Columns) -> Columns | slice:
    """Which columns: a slice, of which NumPy makes views, where they stand side by side."""
    if columns.size and (np.diff(columns) == 1).all():
        return slice(int(columns[0]), int(columns[-1]) + 1)
    return columns


@dataclass(frozen=True)
class MaskedBlocks:
    """A table after its masked entries were exchanged. Hidden in print."""

    X: Words = field(repr=False)  # own columns, zero where an entry is another party's
    E: Words = field(repr=False)  # of all parties, (rows, width)
    masked_labels: Words = field(repr=False)  # (rows, classes), of all owners, if they were exchanged
    label_mask: Words | None = field(repr=False)  # (rows, classes) at owners of labels, zero in rows of others


def mask_table(
    program: Fused,
    keys: SessionKeys,
    block: NDArray[np.float64],
    labels: NDArray[np.int64] | None,
    device: torch.device = HOST,
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
    table = Table(products(X, E, program.own(rank), device), own_labels, theirs if exchanges else None, places)
    return table, found.label_mask


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
        np.subtract(X[place], masks.open(TABLE + number).words(part.shape), out=row[begin:end].reshape(part.shape))
    label_mask = None
    if labels is not None:
        label_mask = _label_mask(partition, masks, rank, labels.shape[1])
        for rows in partition.labels if exchanged else ():
            if rows.owner == rank:
                begin, end = end, end + rows.count * exchanged
                row[begin:end] = (labels - label_mask)[rows.place].reshape(-1)
    everyone = exchange_blocks(name, communicator, row, sizes)
    del row  # as large as the block, as a mask is, which no name keeps
    E, masked_labels = _assembled(partition, width, everyone, exchanged)
    return MaskedBlocks(X, E, masked_labels, label_mask)


def check_rows_of_others(
    partition: Partition, block: NDArray[np.float64], labels: NDArray[np.int64] | None, rank: int
) -> None:
    """Raises: ProgramError, lest a row be counted for two parties."""
    theirs = np.ones(block.shape, dtype=np.bool_)
    for place in partition.places(rank):
        theirs[place] = False
    unlabelled = np.full(partition.rows, fill_value=labels is not None)
    for part in partition.labels:
        if part.owner == rank:
            unlabelled[part.place] = False
    if block[theirs].any() or (labels is not None and labels[unlabelled].any()):
        raise ProgramError("values stand in rows that are another party's", action="leave zeros there")


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
    """E and, if they were exchanged, E_y of all parties. Nobody's words are kept once they have their places."""
    E, masked_labels = np.empty((partition.rows, width), np.int64), np.zeros((partition.rows, exchanged), np.int64)
    E[:, partition.columns :] = 1 << DATA_BITS
    for owner in range(len(everyone)):
        words, taken = everyone.pop(0), 0
        for block in partition.blocks:
            if block.owner == owner:
                E[block.place] = words[taken : taken + block.cells].reshape(block.shape)
                taken += block.cells
        for part in partition.labels if exchanged else ():
            if part.owner == owner:
                masked_labels[part.place] = words[taken : taken + part.count * exchanged].reshape(part.count, exchanged)
                taken += part.count * exchanged
    return E, masked_labels


def exchange_blocks(name: str, communicator: ChannelCommunicator, sent: Words, sizes: list[int]) -> list[Words]:
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
