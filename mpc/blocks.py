"""The block-partitioned private table: masked once an epoch, multiplied by shared vectors ever after.

Each owner k keeps X^(k) in the clear at home and holds a mask A^(k) with the dealer; the other parties hold
E^(k) = X^(k) - A^(k). With w = delta - b, delta public, X w = X delta - E b - A b: the owners compute the first term,
all the second, the dealer shares the third. The constant column is public: A = 0, E = X, its owner the lowest rank.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from mpc.communicator import ChannelCommunicator
from mpc.keys import LABELS, TABLE, SessionKeys
from mpc.openings import Masked, Truncated
from mpc.program import DATA_BITS, Fused
from mpc.ring import Words, encode, product
from mpc.shares import shared
from mpc.shim import ArithmeticSharedTensor


class Table:
    """One party's view of the joint table. It prints nothing of it."""

    def __init__(self, own: list[int], X: Words, E: Words, labels: Words | None, masked_labels: Words | None) -> None:
        self._own, self._X, self._E = own, X, E
        self._Xt, self._Et = X.T, E.T
        self.labels, self._masked_labels = labels, masked_labels

    def batch(self, rows: slice | Words) -> Table:
        """The same of some rows, for products alone: what is shared of the labels' totals is of all rows."""
        return Table(self._own, self._X[rows], self._E[rows], None if self.labels is None else self.labels[rows], None)

    def product(self, w: Truncated, table_low: Words) -> ArithmeticSharedTensor:
        """X w. Shapes: w (d,) -> (m,), at the sum of the scales. No round. `table_low` is a share of A w.low."""
        return shared(product(self._X, w.delta[self._own]) - product(self._E, w.low) - table_low)

    def transposed_product(self, r: Truncated, table_low: Words) -> ArithmeticSharedTensor:
        """X^T r. Shapes: r (m,) -> (d,), at the sum of the scales. No round. `table_low` is a share of A^T r.low."""
        share = -product(self._Et, r.low) - table_low
        share[self._own] += product(self._Xt, r.delta)
        return shared(share)

    def gram(self, table_table: Words) -> ArithmeticSharedTensor:
        """X^T X. Shapes: -> (d, d), scale 2**(2 DATA_BITS). No round.

        Between columns of two owners X_j^T X_k = X_j^T E_k + E_j^T A_k + A_j^T A_k: the first term at j's owner, the
        second at k's. `table_table` is a share of the third, zero between columns of one owner.
        """
        own, share = np.array(self._own, dtype=np.int64), np.array(table_table)
        theirs = np.setdiff1d(np.arange(self._E.shape[1]), own)
        mask = self._X - self._E[:, own]
        share[np.ix_(own, own)] += product(self._Xt, self._X)
        share[np.ix_(own, theirs)] += product(self._Xt, np.ascontiguousarray(self._E[:, theirs]))
        share[np.ix_(theirs, own)] += product(np.ascontiguousarray(self._Et[theirs]), mask)
        return shared(share)

    def scaled(self, s: Truncated, low_table: Words) -> ArithmeticSharedTensor:
        """Each row of X times a shared number. Shapes: s (m,) -> (m, d), at the sum of the scales. No round.

        `low_table` is a share of s.low's products with the rows of A.
        """
        share = -(s.low[:, None] * self._E) - low_table
        share[:, self._own] += s.delta[:, None] * self._X
        return shared(share)

    def transposed_matrix(self, Z: Masked, table_rest: Words) -> ArithmeticSharedTensor:
        """X^T Z. Shapes: Z (m, e) -> (d, e), at the sum of the scales. No round. `table_rest` shares A^T Z.rest."""
        share = product(self._Et, Z.rest) + table_rest
        share[self._own] += product(self._Xt, Z.public)
        return shared(share)

    def label_totals(self, label_mask: Words | None, table_labels: Words) -> ArithmeticSharedTensor:
        """X^T y. Shapes: -> (d,), scale 2**DATA_BITS. No round.

        The labels' owner passes A_y; the others hold E_y = y - A_y. `table_labels` is a share of A^T A_y, zero in
        the columns of the labels' owner.
        """
        share = np.array(table_labels)
        if self.labels is not None and label_mask is not None:
            theirs = product(self._Et, label_mask)
            theirs[self._own] = product(self._Xt, self.labels)
            share += theirs
        elif self._masked_labels is not None:
            share[self._own] += product(self._Xt, self._masked_labels)
        return shared(share)


def mask_table(
    program: Fused, keys: SessionKeys, block: NDArray[np.float64], labels: NDArray[np.int64] | None
) -> tuple[Table, Words | None]:
    """Encode this party's block, mask it and exchange masked blocks: once an epoch.

    Returns the table and, at their owner, the labels' mask.
    Cost: 1 round, 8 bytes an entry of the own block (and of the labels, if the loss is disclosed) to each peer.
    Reveals: nothing (masked). The dealer must never see what is exchanged here: it knows the masks.
    """
    communicator = ChannelCommunicator.get()
    rank, m = communicator.get_rank(), program.rows
    X = encode(block, DATA_BITS)
    sent = X - keys.dealt.table.open(TABLE).words(X.shape)
    label_mask = None
    if labels is not None:
        label_mask = keys.dealt.table.open(LABELS).words((m,))
        if program.loss_every:
            sent = np.concatenate([sent, (labels - label_mask)[:, None]], axis=1)
    everyone = _exchange_blocks(program, communicator, np.ascontiguousarray(sent))
    masked_labels = None
    if program.loss_every:
        masked_labels = np.ascontiguousarray(everyone[program.label_owner][:, -1])
        everyone[program.label_owner] = everyone[program.label_owner][:, :-1]
    constant = np.full((m, program.width - program.columns), 1 << DATA_BITS, dtype=np.int64)
    E = np.concatenate([*everyone, constant], axis=1)
    if rank == 0:
        X = np.concatenate([X, constant], axis=1)
    own_labels = None if labels is None else labels.astype(np.int64)
    return Table(program.own(rank), np.ascontiguousarray(X), E, own_labels, masked_labels), label_mask


def _exchange_blocks(program: Fused, communicator: ChannelCommunicator, sent: Words) -> list[Words]:
    """All parties' masked blocks by rank; their digests enter the transcript."""
    rank = communicator.get_rank()
    peers = [peer for peer in range(program.world) if peer != rank]
    width = {
        peer: program.blocks[peer].columns + (peer == program.label_owner and program.loss_every > 0) for peer in peers
    }
    received = communicator.channel.exchange(
        "table", dict.fromkeys(peers, sent), {peer: ("i8", (program.rows, width[peer])) for peer in peers}
    )
    everyone = [sent if peer == rank else np.asarray(received[peer], dtype=np.int64) for peer in range(program.world)]
    for each in everyone:
        digest = hashlib.sha256(np.ascontiguousarray(each).data).digest()
        communicator.transcript.absorb(np.frombuffer(digest, dtype="u1"))
    return everyone
