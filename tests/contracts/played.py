"""A dealer played by a test: every party draws the same secrets from one seed and keeps its own share of them."""

import numpy as np

from mpc.communicator import ChannelCommunicator
from mpc.partition import labels_of, vertical
from mpc.program import Program, derive
from mpc.specification import Spec


def words(generator, shape):
    """Ring words, all 64 bits used."""
    return generator.integers(-(1 << 63), (1 << 63) - 1, shape, dtype=np.int64, endpoint=True)


def share_of(value, generator, rank, world):
    """This rank's additive share; all ranks must draw in the same order."""
    drawn = [words(generator, np.shape(value)) for _ in range(world - 1)]
    return value - np.add.reduce(drawn) if rank == world - 1 else drawn[rank]


def opened(share):
    """A test's own look inside."""
    communicator = ChannelCommunicator.get()
    with communicator.masked():
        return communicator.open_sum("look", np.ascontiguousarray(share))


def quiet_program(world) -> Program:
    """One whose dealer only answers: kernels are tested beside it with tuples that the test deals."""
    return derive(make_spec(engine="reference", columns=[2] * world))


def make_spec(rows=120, columns=(3, 2), label_owner=0, **changes) -> Spec:
    fields = {
        "rows": rows,
        "blocks": vertical(rows, columns),
        "labels": labels_of(rows, label_owner),
        "C": "1.0",
        "fit_intercept": True,
        "loss_every": 0,
        "clip_bits": 5,
    }
    return Spec(**(fields | changes))


def evenly(columns, world):
    """Columns dealt out as evenly as they go."""
    return [columns // world + (rank < columns % world) for rank in range(world)]
