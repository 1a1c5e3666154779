"""Splitting and standardising, against scikit-learn and against the promises of the contract."""

from __future__ import annotations

import hashlib
import hmac
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError
from sklearn.preprocessing import StandardScaler

from parties.columns.preparation import Standardiser, split
from parties.errors import DataError, PlanError

ids_lists = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=60, unique=True)
fractions = st.fractions(0, Fraction(99, 100))
VECTOR = [9, 5, 2, 0, 6, 1, 8, 3, 7, 4]


@given(ids_lists, st.binary(max_size=80), fractions)
def test_split_takes_each_row_once_and_the_floor_of_the_fraction(ids, salt, held_out):
    """Every row is on exactly one side, and floor(f * m) of them are held out."""
    train, held = split(ids, salt, held_out)
    assert sorted([*train, *held]) == list(range(len(ids)))
    assert len(held) == int(held_out * len(ids))


@given(ids_lists, st.binary(max_size=80), fractions, st.randoms(use_true_random=False))
def test_a_record_keeps_its_side_and_place_whatever_the_order(ids, salt, held_out, shuffler):
    """Parties that list the same records differently hold out the same ones, and have all in the same rows."""
    other = list(ids)
    shuffler.shuffle(other)
    for rows, others in zip(split(ids, salt, held_out), split(other, salt, held_out), strict=True):
        assert [ids[i] for i in rows] == [other[i] for i in others]


@given(ids_lists, st.binary(max_size=80))
def test_split_is_the_documented_one(ids, salt):
    """Anyone can recompute the split with HMAC-SHA256 alone."""
    order = sorted(ids, key=lambda record: hmac.new(salt, record.encode(), hashlib.sha256).digest())
    train, held = split(ids, salt, "0.3")
    assert [ids[i] for i in [*held, *train]] == order


def test_split_vector():
    """The split of known ids under a known salt never changes."""
    train, held = split([f"p{i}" for i in range(10)], b"salt", "0.3")
    assert held.tolist() == VECTOR[:3]
    assert train.tolist() == VECTOR[3:]


@pytest.mark.parametrize("held_out", ["0", "0.2"])
@pytest.mark.parametrize("folds", [2, 5])
def test_ids_that_alternate_keep_no_step_with_folds(folds, held_out):
    """Of records whose ids go round by a rule, such as by sex or by ward, each fold has its share of every kind.

    By place among ascending ids a fold would be one kind.
    """
    ids = [f"p{number:04}" for number in range(1000)]
    train, _ = split(ids, b"a contract's digest", held_out)
    for fold in range(folds):
        kinds = np.bincount(train[fold::folds] % folds, minlength=folds)
        assert kinds.min() > 0.6 * kinds.mean()


def test_another_salt_splits_otherwise():
    """The split can't be chosen by choosing ids while the salt is not known."""
    ids = [f"p{i}" for i in range(200)]
    assert split(ids, b"one", "0.5")[1].tolist() != split(ids, b"two", "0.5")[1].tolist()


@pytest.mark.parametrize("held_out", ["1", "1.5", "-0.1", "nan", "", "a", "1/3", "1e-999999999", "0.2\n", Fraction(1)])
def test_a_fraction_that_is_none_is_refused(held_out):
    """Only decimals from 0 to below 1 are taken; no exponent can fill the memory."""
    with pytest.raises(PlanError, match="held-out fraction"):
        split(["a", "b"], b"", held_out)


def test_decimal_text_is_exact():
    """0.29 of 100 rows is 29; as a float it would be 28."""
    assert len(split([str(i) for i in range(100)], b"", "0.29")[1]) == 29


@given(
    arrays(np.float64, st.tuples(st.integers(2, 30), st.integers(1, 3)), elements=st.floats(-1, 1)),
    st.floats(-100, 100),
    st.floats(-1e3, 1e3),
)
def test_mean_and_deviation_are_scikit_learns(values, decades, shift):
    """In any unit and with an offset of up to a thousand deviations, both equal StandardScaler's up to rounding."""
    values[0], values[1] = -1, 1  # so that no column is constant
    values = (values + shift) * 10.0 ** (decades / 4)
    mine, oracle = Standardiser.fit(values, ["x"] * values.shape[1], 16.0), StandardScaler().fit(values)
    np.testing.assert_allclose(mine.mean, oracle.mean_, rtol=1e-12, atol=float(1e-12 * oracle.scale_.max()))
    np.testing.assert_allclose(mine.deviation, oracle.scale_, rtol=1e-9)


@given(st.floats(-1e30, 1e30), st.lists(st.booleans(), min_size=2, max_size=30))
def test_a_constant_up_to_rounding_is_refused(value, ups):
    """Neither a constant nor what rounding makes of one is standardised, at any magnitude."""
    column = np.where(ups, np.nextafter(value, np.inf), value)[:, np.newaxis]
    with pytest.raises(DataError, match="column 'x' has the same value in every training row"):
        Standardiser.fit(column, ["x"], 16.0)


def breast_cancer_like() -> np.ndarray:
    generator = np.random.default_rng(5)
    return generator.gamma(2.0, [1.0, 30.0, 1e-3, 1e6], size=(300, 4))


def test_applied_values_equal_scikit_learns():
    """On ordinary columns of very different units the result is StandardScaler's."""
    values = breast_cancer_like()
    mine = Standardiser.fit(values, list("abcd"), 1e9).apply(values)
    np.testing.assert_allclose(mine, StandardScaler().fit_transform(values), rtol=1e-12, atol=1e-13)


def test_values_are_clipped_to_the_bound():
    """No standardised value leaves the plan's bound, not even one never seen in training."""
    values = breast_cancer_like()
    standardiser = Standardiser.fit(values, list("abcd"), 1.5)
    applied = standardiser.apply(np.vstack([values, values.max(axis=0) * 1e6, -values.max(axis=0) * 1e6]))
    assert np.abs(applied).max() == 1.5
    inside = np.abs(applied) < 1.5
    unbounded = Standardiser.fit(values, list("abcd"), 1e9).apply(values)
    np.testing.assert_array_equal(applied[:300][inside[:300]], unbounded[inside[:300]])


@given(st.lists(st.floats(-50, 50), min_size=4, max_size=4))
def test_scores_are_the_same_in_original_units(coefficients):
    """Coefficients in original units with the party's offset score as the standardised ones do."""
    values = breast_cancer_like()
    standardiser = Standardiser.fit(values, list("abcd"), 1e9)
    original = standardiser.to_original(coefficients)
    scores = values @ np.array(original.coefficients) + original.offset
    np.testing.assert_allclose(scores, standardiser.apply(values) @ coefficients, atol=1e-9)
    assert original.names == ("a", "b", "c", "d")


def test_json_keeps_every_bit():
    """A standardiser read back from JSON is the same, so that a stored model scores as it was trained."""
    standardiser = Standardiser.fit(breast_cancer_like(), list("abcd"), 16.0)
    assert Standardiser.model_validate_json(standardiser.model_dump_json()) == standardiser


@pytest.mark.parametrize(
    "change", [{"deviation": [0.0]}, {"mean": ["nan"]}, {"names": ["a", "b"]}, {"clip": 0}, {"more": 1}]
)
def test_a_standardiser_from_elsewhere_is_checked(change):
    """A stored standardiser that can't be one is refused."""
    good = {"names": ["a"], "mean": [1.0], "deviation": [2.0], "clip": 16.0}
    Standardiser.model_validate(good)
    with pytest.raises(ValidationError):
        Standardiser.model_validate(good | change)


def test_column_constant_in_the_training_rows_is_named():
    """A column that varies only among held-out rows is refused by name."""
    with pytest.raises(DataError, match="column 'b' has the same value in every training row"):
        Standardiser.fit(np.array([[1.0, 3.0], [2.0, 3.0]]), ["a", "b"], 16.0)


def test_no_training_rows_are_refused():
    """An empty training set is an error, not a division by zero."""
    with pytest.raises(DataError, match="no training rows"):
        Standardiser.fit(np.empty((0, 1)), ["a"], 16.0)


def test_wrong_number_of_coefficients_is_refused():
    """Coefficients of other columns are not taken."""
    standardiser = Standardiser.fit(breast_cancer_like(), list("abcd"), 16.0)
    with pytest.raises(DataError, match="3 coefficients came for 4 columns"):
        standardiser.to_original([1.0, 2.0, 3.0])
