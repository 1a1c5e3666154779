"""A dealer played by a test: every party draws the same secrets from one seed and keeps its own share of them."""

import numpy as np

from mpc.communicator import ChannelCommunicator
from mpc.program import Block, Program, Spec, derive


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
    return derive(make_spec(engine="reference", blocks=even_blocks(2 * world, world)))


def make_spec(**changes) -> Spec:
    fields = {
        "rows": 120,
        "blocks": even_blocks(5, 2),
        "label_owner": 0,
        "C": "1.0",
        "fit_intercept": True,
        "loss_every": 0,
        "clip_bits": 5,
    }
    return Spec(**(fields | changes))


def even_blocks(columns, world):
    """Columns dealt out as evenly as they go."""
    return tuple(Block(owner=rank, columns=columns // world + (rank < columns % world)) for rank in range(world))
