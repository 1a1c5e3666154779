"""Weights of evidence from ranges of counts: what the rule says, and what its owner reads of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpc.evidence import Counted, counted
from parties.columns.evidence import weights
from parties.outcome.telling import informing, weighing
from parties.process.job import OwnEvidence


def of(*bins: tuple[int, int, int]) -> Counted:
    """Of bins with so many rows and a range of positives."""
    positives = tuple((low, high) for _, low, high in bins)
    return Counted(positives, tuple((n - high, n - low) for n, low, high in bins))


def test_a_range_away_from_the_rate_weighs_what_its_middle_says():
    """Odds of the middle against those of all middles together."""
    found = weights(of((100, 10, 19), (100, 60, 69)))
    odds = 79 / 121
    assert found.of_bins == pytest.approx([math.log(14.5 / 85.5 / odds), math.log(64.5 / 35.5 / odds)])
    shares = [14.5 / 79 - 85.5 / 121, 64.5 / 79 - 35.5 / 121]
    assert found.information_value == pytest.approx(sum(w * s for w, s in zip(found.of_bins, shares, strict=True)))


def test_a_range_that_holds_the_rate_weighs_nothing():
    """Its ends count: decided in whole numbers, so alike at all who are told."""
    assert weights(of((20, 5, 10), (20, 10, 15), (20, 5, 15))).of_bins[2] == 0
    tie = weights(of((30, 10, 14), (30, 16, 20)))  # all middles: 30 of 60
    assert all(tie.of_bins)
    assert weights(of((30, 10, 15), (30, 15, 20))).of_bins == (0, 0)


def test_a_bin_of_which_nothing_is_told_counts_for_nothing():
    """It weighs 0 and moves no rate."""
    told = [(100, 10, 19), (100, 60, 69)]
    small = weights(of(*told, (7, 0, 7), (0, 0, 0)))
    assert small.of_bins == (*weights(of(*told)).of_bins, 0, 0)
    assert small.information_value == weights(of(*told)).information_value


def test_where_nothing_is_told_all_weigh_nothing():
    """A column of few rows in each bin."""
    found = weights(of((7, 0, 7), (5, 0, 5)))
    assert (found.of_bins, found.information_value) == ((0, 0), 0)
    assert "of_bins" not in repr(found)


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 1)), min_size=2, max_size=12), st.integers(5, 20))
def test_weights_are_finite(bins, cell):
    """Whatever the counts, also none or all of a class: no infinity, and no column says less than nothing."""
    rows = [(n, round(n * share)) for n, share in bins]
    of_rows = np.repeat(np.arange(len(rows)), [n for n, _ in rows])
    labels = np.concatenate([np.arange(n) < p for n, p in rows]).astype(np.int64)
    found = weights(counted(of_rows, labels, len(rows), cell))
    assert all(map(math.isfinite, found.of_bins))
    assert found.information_value >= -1e-12


def test_an_owner_reads_its_bins():
    """One line a bin: weight, and how many of each class it can have; all read the columns' values."""
    (counts,) = [of((100, 10, 19), (7, 0, 7))]
    evidence = OwnEvidence(
        column="age",
        bins=("age below 18", "age is missing"),
        positives=counts.positives,
        negatives=counts.negatives,
        weights=(-0.25, 0.0),
    )
    assert list(weighing([evidence])) == [
        "weight of evidence                             weight  positives    negatives",
        "age below 18                                   -0.250  10 to 19     81 to 90",
        "age is missing                                  0.000  0 to 7       0 to 7",
    ]
    assert "0.25" not in repr(evidence)
    assert informing([]) == []
