"""Residuals and losses of opened angles against floating point, at the errors that the kernels state."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mpc.fourier import COEFFICIENT_BITS, sigmoid_error
from mpc.layouts import layout, values
from mpc.models.logistic import Angles, LabelTotals, total_loss
from mpc.ring import encode, top32
from mpc.scales import LOSS_BITS, SCORE_BITS, TABLE_BITS
from mpc.shares import shared, words
from tests.mpc.engine import centred, joined, program, seeds, some, split, uniform, unsigned, worlds

LOSS_ROUNDING = 2.0**-20  # a row: waves and the constant are rounded to LOSS_BITS, often


@st.composite
def slots(draw):
    """The parties' angles of one slot of a random rung, the scores that it is of, and their shares."""
    world, rows = draw(worlds), draw(st.integers(2, 12))
    agreed = program([1] * world, rows)
    rung = draw(st.sampled_from(agreed.ladder))
    generator = np.random.default_rng(draw(seeds))
    edges = np.array([0.0, rung.bound, -rung.bound])
    scores = np.concatenate([edges, generator.uniform(-rung.bound, rung.bound, rows)])[:rows]
    scores = scores[:, None]
    z = encode(scores, SCORE_BITS)
    shape = layout(agreed, rung, "tables")
    parts = {name: uniform(generator, size) for name, size in shape.parts.items()}
    masks = type(
        "Unused",
        (),
        {"table": np.zeros((rows, agreed.width), np.int64), "totals": np.zeros((agreed.width, 1), np.int64)},
    )
    tables = values(agreed, rung, "tables", parts, masks)
    theta = top32(z - parts["turn"], rung.modulus_bits).view(np.uint32).astype(np.int64)
    dealt = {name: split(generator, world, tables[name]) for name in ("cosines", "sines")}
    angles = [Angles(rung, theta, {name: shares[rank] for name, shares in dealt.items()}) for rank in range(world)]
    return agreed, rung, scores, angles, split(generator, world, z)


@some
@given(slots(), seeds)
def test_residuals_are_sigmoids_less_labels(slot, seed):
    """At every score within the rung's bound, the residual is within the stated error of sigmoid(z) - y."""
    agreed, rung, scores, angles, _ = slot
    y = np.random.default_rng(seed).integers(0, 2, agreed.rows)
    shares = [
        each.residuals(agreed, rank, y[:, None] if rank == agreed.label_owners[0] else None)
        for rank, each in enumerate(angles)
    ]
    found = joined(shares) / agreed.models[0].residual_unit
    allowed = float(sigmoid_error(rung.period, rung.harmonics)) + rung.harmonics * 2.0**-TABLE_BITS
    assert np.abs(found - (1 / (1 + np.exp(-scores)) - y[:, None])).max() <= allowed
    assert np.abs(joined(shares)).max() < 1 << (agreed.residual_window - 1)


@some
@given(slots())
def test_losses_are_sums_of_softplus(slot):
    """The summed loss is within the sigmoid's error times the bound, and two table errors a harmonic, for each row."""
    agreed, rung, scores, angles, z_shares = slot
    found = joined([each.loss(rank, shared(z_shares[rank])) for rank, each in enumerate(angles)])
    harmonics = sum(map(abs, rung.softplus)) / 2.0**COEFFICIENT_BITS
    each_row = float(sigmoid_error(rung.period, rung.harmonics)) * rung.bound + 2 * harmonics * 2.0**-TABLE_BITS
    exact = np.logaddexp(0, scores).sum()
    assert abs(found[0] / 2.0**LOSS_BITS - exact) <= agreed.rows * (each_row + LOSS_ROUNDING)


@some
@given(worlds, seeds, st.integers(1, 6), st.integers(1, 3))
def test_label_scores_are_exact(world, seed, d, models):
    """(X^T y) . w is the integers' inner product modulo 2**64, for words of the whole ring."""
    generator = np.random.default_rng(seed)
    totals, mask, delta, low = (uniform(generator, (d, models)) for _ in range(4))
    masks, lows = split(generator, world, mask), split(generator, world, low)
    mask_low = split(generator, world, (mask * low).sum(axis=0))
    parties = [LabelTotals(totals - mask, share) for share in masks]
    found = joined([each.dot(rank, delta, lows[rank], mask_low[rank]) for rank, each in enumerate(parties)])
    assert unsigned(found) == unsigned((totals * (delta - low)).sum(axis=0))


@some
@given(seeds)
def test_the_loss_is_the_softplus_less_the_label_scores(seed):
    """sum log(1 + exp(z)) - y z, both brought to the loss's scale."""
    softplus, scores = uniform(np.random.default_rng(seed), (2, 1))
    expected = softplus - (scores << (LOSS_BITS - SCORE_BITS))
    assert centred(words(total_loss(softplus, scores))) == centred(expected)
