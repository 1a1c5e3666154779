"""The held-out rows: masked once an epoch, as the table that is trained on, and multiplied by the weights once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpc.communicator import ChannelCommunicator
from mpc.evaluation_layouts import evaluation_of
from mpc.keys import HELD_OUT, HELD_OUT_LABELS, SessionKeys
from mpc.openings import Masked
from mpc.program import DATA_BITS, Fused
from mpc.ring import Words, encode, product
from mpc.shares import shared
from mpc.shim import ArithmeticSharedTensor


@dataclass(frozen=True)
class HeldOut:
    """What a party brings: its standardised columns and, at the labels' owner, labels of 0 and 1. Hidden in print."""

    block: NDArray[np.float64] = field(repr=False)  # (held-out rows, own columns)
    labels: NDArray[np.int64] | None = field(repr=False)


class HeldOutTable:
    """One party's view of the held-out rows. It prints nothing of them."""

    def __init__(self, own: list[int], X: Words, E: Words, masked_labels: Words) -> None:
        self._own, self._X, self._E = own, X, E
        self._masked_labels = masked_labels

    def scores(self, w: Masked, table_mask: Words) -> ArithmeticSharedTensor:
        """X w. Shapes: w (d,) -> (m,), at the sum of the scales. No round. `table_mask` is a share of A w.rest."""
        return shared(product(self._X, w.public[self._own]) + product(self._E, w.rest) + table_mask)

    def labelled(self, start: int, tables: Words, labelled: Words) -> Words:
        """Shares of tables, each times its row's label. Shapes: (rows, bins) twice -> the same. No round.

        `labelled` shares the tables times A_y; rows are those from `start` on. y T = E_y T + A_y T.
        """
        masked = self._masked_labels[start : start + len(tables)]
        return masked[:, None] * tables + labelled


def mask_held_out(program: Fused, keys: SessionKeys, brought: HeldOut) -> HeldOutTable:
    """Encode this party's held-out rows, mask them and exchange masked blocks: once an epoch.

    Cost: 1 round, 8 bytes an entry of the own block and of the labels to each peer.
    Reveals: nothing (masked). The dealer must never see what is exchanged here: it knows the masks.
    """
    communicator = ChannelCommunicator.get()
    rank, rows = communicator.get_rank(), evaluation_of(program).rows
    X = encode(brought.block, DATA_BITS)
    sent = X - keys.dealt.table.open(HELD_OUT).words(X.shape)
    if brought.labels is not None:
        label_mask = keys.dealt.table.open(HELD_OUT_LABELS).words((rows,))
        sent = np.concatenate([sent, (brought.labels - label_mask)[:, None]], axis=1)
    everyone = _exchange(program, communicator, np.ascontiguousarray(sent))
    masked_labels = np.ascontiguousarray(everyone[program.label_owner][:, -1])
    everyone[program.label_owner] = everyone[program.label_owner][:, :-1]
    constant = np.full((rows, program.width - program.columns), 1 << DATA_BITS, dtype=np.int64)
    if rank == 0:
        X = np.concatenate([X, constant], axis=1)
    E = np.concatenate([*everyone, constant], axis=1)
    return HeldOutTable(program.own(rank), np.ascontiguousarray(X), E, masked_labels)


def _exchange(program: Fused, communicator: ChannelCommunicator, sent: Words) -> list[Words]:
    """All parties' masked blocks by rank; their digests enter the transcript."""
    rank, rows = communicator.get_rank(), evaluation_of(program).rows
    peers = [peer for peer in range(program.world) if peer != rank]
    shapes = {peer: (rows, program.blocks[peer].columns + (peer == program.label_owner)) for peer in peers}
    received = communicator.channel.exchange(
        "held-out", dict.fromkeys(peers, sent), {peer: ("i8", shape) for peer, shape in shapes.items()}
    )
    everyone = [sent if peer == rank else np.asarray(received[peer], dtype=np.int64) for peer in range(program.world)]
    for each in everyone:
        digest = hashlib.sha256(np.ascontiguousarray(each).data).digest()
        communicator.transcript.absorb(np.frombuffer(digest, dtype="u1"))
    return everyone
