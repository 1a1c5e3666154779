"""The held-out rows: masked once an epoch, as the table that is trained on, and multiplied by the weights once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpc.blocks import indicators, mask_blocks, with_constant
from mpc.communicator import ChannelCommunicator
from mpc.evaluation_layouts import evaluation_of
from mpc.fused_program import Fused
from mpc.keys import SessionKeys
from mpc.openings import Masked
from mpc.ring import Words, product
from mpc.shares import shared
from mpc.shim import ArithmeticSharedTensor
from mpc.validation import told_columns


@dataclass(frozen=True)
class OwnRows:
    """What a party brings: standardised columns and, at owners of labels, labels of 0 and 1. Hidden in print.

    In rows of other parties both are zeros.
    """

    block: NDArray[np.float64] = field(repr=False)  # (held-out rows, own columns)
    # classes counted from 0, (held-out rows,)
    labels: NDArray[np.int64] | None = field(repr=False)


class HeldOutTable:
    """One party's view of the held-out rows. It prints nothing of them."""

    def __init__(self, own: list[int], X: Words, E: Words, masked_labels: Words) -> None:
        """`masked_labels` are those of each model, (rows, models)."""
        self._own, self._X, self._E = own, X, E
        self._masked_labels = masked_labels

    def scores(self, w: Masked, table_mask: Words) -> ArithmeticSharedTensor:
        """X w. Shapes: w (d, e) -> (m, e), at the sum of the scales. No round. `table_mask` is a share of A w.rest."""
        return shared(product(self._X, w.public[self._own]) + product(self._E, w.rest) + table_mask)

    def labelled(self, start: int, tables: Words, labelled: Words) -> Words:
        """Shares of tables, each times its row's label. Shapes: (rows, models, bins) twice -> the same. No round.

        `labelled` shares the tables times A_y; rows are those from `start` on. y T = E_y T + A_y T.
        """
        masked = self._masked_labels[start : start + len(tables)]
        return masked[:, :, None] * tables + labelled


def mask_held_out(program: Fused, keys: SessionKeys, brought: OwnRows) -> HeldOutTable:
    """Encode this party's held-out rows, mask them and exchange masked entries and labels: once an epoch.

    Cost: 1 round, 8 bytes an own entry and an own label to each peer.
    Reveals: nothing (masked). The dealer must never see what is exchanged here: it knows the masks.
    """
    rank, partition = ChannelCommunicator.get().get_rank(), evaluation_of(program).partition
    classes, masks, labels = program.classes, keys.dealt.held_out, brought.labels
    own_labels = None if labels is None else indicators(partition, classes, rank, labels)
    found = mask_blocks("held-out", partition, program.width, masks, brought.block, own_labels, classes)
    X, masked_labels = with_constant(program, rank, found.X), found.masked_labels[:, told_columns(program)]
    return HeldOutTable(program.own(rank), X, found.E, masked_labels)
