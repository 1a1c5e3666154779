"""Partitions for tests: the three kinds by name, and any tiling of a small table."""

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from mpc.moments import joint_moments
from mpc.partition import Block, LabelRows, horizontal, labels_of, labels_with, vertical
from mpc.program import derive
from mpc.simulation import Simulation
from mpc.specification import Spec
from mpc.training import train
from tests.mpc.engine import own


def cut(total, parts):
    """As even as it goes."""
    return [total // parts + (part < total % parts) for part in range(parts)]


def mixed(rows, columns):
    """Two parties hold rows of the first columns, the third all other columns; the second holds all labels."""
    half, first = rows // 2, columns // 2
    return (
        Block(owner=0, rows=(0, half), columns=(0, first)),
        Block(owner=1, rows=(half, rows), columns=(0, first)),
        Block(owner=2, rows=(0, rows), columns=(first, columns)),
    ), labels_of(rows, 1)


def windmill(rows, columns):
    """Five blocks that no straight cuts make, of four parties; labels change hands thrice."""
    r, c = (rows // 3, rows - rows // 3), (columns // 3, columns - columns // 3)
    blocks = (
        Block(owner=0, rows=(0, r[0]), columns=(0, c[1])),
        Block(owner=1, rows=(0, r[1]), columns=(c[1], columns)),
        Block(owner=2, rows=(r[1], rows), columns=(c[0], columns)),
        Block(owner=3, rows=(r[0], rows), columns=(0, c[0])),
        Block(owner=0, rows=(r[0], r[1]), columns=(c[0], c[1])),
    )
    cuts, owners = [0, *cut(rows, 4)], (3, 1, 0, 1)
    ends = np.cumsum(cuts).tolist()
    return blocks, tuple(
        LabelRows(owner=owner, rows=(ends[number], ends[number + 1])) for number, owner in enumerate(owners)
    )


def by_rows(rows, columns, world=3):
    blocks = horizontal(cut(rows, world), columns)
    return blocks, labels_with(blocks)


def by_columns(rows, columns, world=3):
    return vertical(rows, cut(columns, world)), labels_of(rows, world - 1)


KINDS = {"vertical": by_columns, "horizontal": by_rows, "mixed": mixed, "windmill": windmill}


def divided(kind, rows=12, columns=6, **changes):
    """A small program on a table that is divided in this way."""
    blocks, labels = KINDS[kind](rows, columns)
    return derived(rows, blocks, labels, **changes)


def derived(rows, blocks, labels, **changes):
    fields = {
        "solver": "newton",
        "rows": rows,
        "blocks": blocks,
        "labels": labels,
        "C": "1.0",
        "fit_intercept": True,
        "max_iter": 6,
        "loss_every": 1,
        "clip_bits": 5,
    }
    return derive(Spec(**(fields | changes)))


@st.composite
def tilings(draw):
    """Any way to cut a small table, block by block, and to divide the blocks and the labels among 2 to 5 parties."""
    rows, columns = draw(st.integers(2, 12)), draw(st.integers(1, 6))
    pieces = [((0, rows), (0, columns))]
    for _ in range(draw(st.integers(0, 6))):
        piece = pieces.pop(draw(st.integers(0, len(pieces) - 1)))
        axis = draw(st.integers(0, 1))
        first, last = piece[axis]
        if last - first < 2:
            pieces.append(piece)
            continue
        at = draw(st.integers(first + 1, last - 1))
        pieces += [(span, piece[1]) if axis == 0 else (piece[0], span) for span in ((first, at), (at, last))]
    edges = sorted(draw(st.sets(st.integers(1, rows - 1), max_size=3)) | {0, rows})
    strips = list(pairwise(edges))
    total = len(pieces) + len(strips)
    world = min(draw(st.integers(2, 5)), total)
    owners = draw(
        st.permutations(
            [*range(world), *draw(st.lists(st.integers(0, world - 1), min_size=total - world, max_size=total - world))]
        )
    )
    blocks = tuple(
        Block(owner=owner, rows=piece[0], columns=piece[1])
        for owner, piece in zip(owners[: len(pieces)], pieces, strict=True)
    )
    labels = tuple(LabelRows(owner=owner, rows=span) for owner, span in zip(owners[len(pieces) :], strips, strict=True))
    return rows, blocks, labels


def whole_run(agreed, X, y, **options):
    """Moments, standardising by them, training. Returns fits, what each learnt of moments, and the simulation."""
    simulation = Simulation(agreed, **options)

    def party(runtime):
        block, labels = own(agreed, runtime.rank, X, y)
        moments = joint_moments(agreed, block, runtime)
        return train(agreed, standardised(agreed, runtime.rank, block, moments), labels, runtime), moments

    results = simulation.run(party)
    return [fit for fit, _ in results], [moments for _, moments in results], simulation


def standardised(agreed, rank, block, moments):
    """A party's own entries: divided columns by the joint moments, the others by their own."""
    held = agreed.held(rank)
    mean, deviation = block.mean(axis=0), block.std(axis=0)
    for column, *found in zip(moments.columns, moments.means, moments.deviations, strict=True):
        mean[held.index(column)], deviation[held.index(column)] = found
    scaled = np.zeros_like(block)
    for place in agreed.places(rank):
        scaled[place] = ((block - mean) / deviation)[place]
    return scaled.clip(-32, 32)


def gathered(agreed, fits):
    """All coefficients from those who learnt them, who must agree, and the intercept."""
    found = np.full(agreed.columns, np.nan)
    for rank, fit in enumerate(fits):
        for column, value in zip(agreed.held(rank), fit.models[0].coefficients, strict=True):
            assert np.isnan(found[column]) or found[column] == value
            found[column] = value
    intercepts = {fit.models[0].intercept for fit in fits} - {None}
    assert len(intercepts) <= 1
    return np.append(found, intercepts.pop() if intercepts else 0.0)
