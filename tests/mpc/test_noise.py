"""Noise on told weights: normal, exact, each party's own, and the same in all that follows from the model."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import kstest

from mpc import training
from mpc.costs import quote
from mpc.errors import ProgramError
from mpc.noise import Sampler, noised
from mpc.randomness import Entropy, Secret, Stream
from mpc.ring import decode
from mpc.scales import ITERATE_BITS
from tests.mpc.engine import fit, joined, program, table
from tests.mpc.test_models import weights

DRAWN = 20_000
NOISE = "0.05"
DEVIATION = int(0.05 * 2**ITERATE_BITS)


def sampler(seed: int) -> Sampler:
    return Sampler(Stream(Secret(seed.to_bytes(32, "little"))))


@pytest.mark.parametrize("deviation", [1, 2, 5])
def test_small_deviations_have_the_distribution_to_the_integer(deviation):
    """Each integer comes as often as exp(-x^2 / 2 deviation^2) says, within five standard errors."""
    draws = sampler(deviation)
    counts = Counter(draws.normal(deviation) for _ in range(DRAWN))
    likely = {x: math.exp(-x * x / (2 * deviation**2)) for x in range(-12 * deviation, 12 * deviation + 1)}
    assert counts.keys() <= likely.keys()
    for x, weight in likely.items():
        p = weight / sum(likely.values())
        assert abs(counts[x] - DRAWN * p) <= 5 * math.sqrt(DRAWN * p * (1 - p)) + 1, x


def test_large_deviations_are_normal():
    """As Kolmogorov and Smirnov measure it, and of both signs alike."""
    draws = sampler(7)
    found = np.array([draws.normal(DEVIATION) for _ in range(DRAWN)])
    assert kstest(found / DEVIATION, "norm").pvalue > 0.01
    assert abs(found.mean()) < 5 * DEVIATION / math.sqrt(DRAWN)


def test_noise_follows_from_the_entropy_and_from_nothing_else():
    """A replay draws the same; another seed, or a second time, draws another; without noise a share stays as it is."""
    agreed = program([2, 1], noise=NOISE)
    share = np.arange(4, dtype=np.int64).reshape(4, 1)
    entropies = [Entropy(Secret(key * 32)) for key in (b"a", b"a", b"b")]
    first, again, other = (noised(agreed, share, entropy) - share for entropy in entropies)
    assert (first == again).all()
    assert not np.intersect1d(first, other).size
    assert not np.intersect1d(first, noised(agreed, share + 9, entropies[0]) - share - 9).size
    assert noised(program([2, 1]), share, Entropy()) is share


@pytest.fixture
def parts(monkeypatch):
    """Each party's share before and after its noise."""
    found = []

    def recorded(agreed, share, entropy):
        found.append((share, noised(agreed, share, entropy)))
        return found[-1][1]

    monkeypatch.setattr(training, "noised", recorded)
    return found


@pytest.mark.parametrize("columns", [[3, 2], [2, 0, 3], [1, 1, 1, 1, 1]], ids=len)
def test_each_party_adds_its_own_before_anything_is_told(parts, columns):
    """What is told and what is kept are the sum of all shares with all noise; no round and no byte is more."""
    facts = {"rows": 60, "C": ("0.1", "1.0"), "solver": "newton", "max_iter": 8}
    agreed = program(columns, **facts, noise=NOISE)
    fits, _ = fit(agreed, *table(agreed, 3))
    before, after = (joined([pair[place] for pair in parts]) for place in (0, 1))
    drawn = [(one - other).ravel() for other, one in parts]
    assert len(drawn) == len(columns)
    assert all(np.abs(one).max() > 0 for one in drawn)
    assert all(not np.array_equal(drawn[0], one) for one in drawn[1:])
    assert np.abs(after - before).max() < 8 * math.sqrt(len(columns)) * DEVIATION
    assert np.array_equal(weights(agreed, fits), decode(after.T, ITERATE_BITS))
    assert np.array_equal(joined([each.share for each in fits]), after)
    assert quote(agreed) == quote(program(columns, **facts))


def test_what_can_not_be_is_refused():
    """Noise that rounding swallows, that leaves no model, that is no number; and the reference engine's."""
    for noise in ("0.00009", "1.01", "-0.1"):
        with pytest.raises(ProgramError, match=r"lies outside 0\.0001 to 1"):
            program([2, 1], noise=noise)
    with pytest.raises(ProgramError, match="not a decimal number"):
        program([2, 1], noise="much")
    with pytest.raises(ProgramError, match="adds no noise"):
        program([2, 1], noise=NOISE, engine="reference", solver=None)
    assert program([2, 1], noise="0.0001").noise == 26
