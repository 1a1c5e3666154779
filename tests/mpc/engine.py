"""What the engine's tests share: ring words as Python integers, shares, programs, parties as threads."""

from collections import defaultdict

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from mpc.blocks import mask_table
from mpc.channel import MemoryChannel
from mpc.communicator import ChannelCommunicator
from mpc.fused_program import Fused
from mpc.layouts import items, layout, opening_items, tuple_number
from mpc.partition import Partition, labels_of, vertical
from mpc.program import derive
from mpc.simulation import Simulation
from mpc.specification import Spec
from mpc.training import train
from mpc.transcript import Transcript
from tests.contracts.channel_suite import everyone

RING = 1 << 64
EDGES = (0, 1, (1 << 20) - 1, (1 << 32) - 1, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, RING - 1)

some = settings(max_examples=60)
few = settings(max_examples=15)  # of whole sessions

worlds = st.integers(2, 5)
seeds = st.integers(0, (1 << 32) - 1)
edge_words = st.one_of(st.sampled_from(EDGES), st.integers(0, RING - 1))
partitions = st.lists(st.integers(0, 3), min_size=2, max_size=5).filter(  # columns of each party
    lambda columns: any(columns) and columns.count(0) < 2  # the labels are all that one may have
)


def ring(values):
    """Python integers as ring words of the same shape."""
    flat = np.array(values, dtype=object)
    return (
        np.array([int(value) % RING for value in flat.reshape(-1)], dtype=np.uint64).view(np.int64).reshape(flat.shape)
    )


def unsigned(words):
    """Ring words as Python integers from 0, in a row."""
    return np.ascontiguousarray(words).view(np.uint64).reshape(-1).tolist()


def centred(words):
    """Ring words as signed Python integers, in a row."""
    return np.ascontiguousarray(words).reshape(-1).tolist()


def uniform(generator, shape):
    """Words of the whole ring."""
    return generator.integers(-(1 << 63), 1 << 63, size=shape, dtype=np.int64)


def split(generator, world, words):
    """Shares of words, one a party."""
    others = [uniform(generator, words.shape) for _ in range(world - 1)]
    return [words - sum(others), *others]


def joined(shares):
    """The words that shares are of."""
    return np.add.reduce([np.asarray(share) for share in shares])


def labels_owner(columns):
    """Who brings the labels, unless told otherwise: a party without columns, or the last one."""
    return columns.index(0) if 0 in columns else len(columns) - 1


def program(columns, rows=12, label_owner=None, held_out_rows=None, **changes) -> Fused:
    """A small program; `columns` are those of each party."""
    owner = labels_owner(columns) if label_owner is None else label_owner
    if held_out_rows is not None:
        blocks, labels = vertical(held_out_rows, columns), labels_of(held_out_rows, owner)
        changes = {"held_out": Partition(rows=held_out_rows, blocks=blocks, labels=labels), **changes}
    spec = {
        "solver": "nesterov",
        "rows": rows,
        "blocks": vertical(rows, columns),
        "labels": labels_of(rows, owner),
        "C": "1.0",
        "fit_intercept": True,
        "max_iter": 1,
        "loss_every": 1,
        "clip_bits": 5,
    }
    return derive(Spec(**{**spec, **changes}))


def table(agreed, seed):
    """Columns of about unit size, and labels that depend on them."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(agreed.rows, agreed.columns)).clip(-4, 4)
    y = (X.sum(axis=1) + generator.normal(size=agreed.rows) > 0).astype(np.int64)
    return X, y


def own(agreed, rank, X, y):
    """What one party brings: its columns and its labels, zero in rows of others."""
    brought, labels = np.zeros_like(X), np.zeros_like(y)
    for block in agreed.of(rank):
        brought[block.place] = X[block.place]
    for part in agreed.labels:
        if part.owner == rank:
            labels[part.place] = y[part.place]
    return brought[:, agreed.held(rank)], labels if rank in agreed.label_owners else None


def kernel(world, act):
    """Run `act(rank)` as every party with nothing but channels. Returns results and channels."""
    channels = MemoryChannel.mesh(world)

    def party(channel):
        ChannelCommunicator.install(ChannelCommunicator(channel, Transcript(b"k" * 32, b"d" * 32)))
        try:
            return act(channel.rank)
        finally:
            ChannelCommunicator.install(None)

    return everyone(channels, party), channels


def fit(agreed, X, y, **options):
    """Train in threads. Returns the fits and the simulation."""
    simulation = Simulation(agreed, **options)
    return simulation.run(lambda runtime: train(agreed, *own(agreed, runtime.rank, X, y), runtime)), simulation


def taken(agreed, runtime):
    """All tuples that the dealer sends ahead in the first phase: by kind, each its parts and values."""
    found = defaultdict(list)
    rung = agreed.ladder[0]
    for phase, kinds in enumerate([opening_items(agreed), items(agreed, agreed.segments[0])]):
        for place, kind in enumerate(kinds):
            found[kind].append(runtime.provider.ahead(tuple_number(phase, place), layout(agreed, rung, kind)))
    return found


def session(agreed, X, y, act):
    """Run `act(table, label mask, tuples)` as every party, once the table is masked, with the real dealer."""
    simulation = Simulation(agreed)

    def party(runtime):
        tuples = taken(agreed, runtime)
        masked, label_mask = mask_table(agreed, runtime.keys, *own(agreed, runtime.rank, X, y))
        return act(masked, label_mask, tuples)

    return simulation.run(party), simulation
