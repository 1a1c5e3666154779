"""Prepared columns, cell by cell against pandas and scikit-learn, and what owners are told when theirs can't be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, OrdinalEncoder, StandardScaler

from parties.columns.encoding import Encoding
from parties.columns.preparation import Standardiser
from parties.columns.reading import check_columns, read_columns
from parties.columns.recipe import PreparationPlan, Recipe
from parties.data.tables import Table
from parties.errors import DataError

CLIP = 32.0
CITIES = ["Bern", "Genf", "Ulm", "Rom", "Oslo"]
GRADES = ["low", "mid", "high"]


def table(frame: pd.DataFrame) -> Table:
    """As a vault hands it out: text, float64 and nulls, sorted by id."""
    columns = {"id": pa.array([f"p{row:04d}" for row in range(len(frame))])}
    for name in frame:
        values = frame[name].tolist()
        gaps = [None if pd.isna(value) else value for value in values]
        is_text = any(isinstance(value, str) for value in gaps)
        columns[str(name)] = pa.array(gaps, type=pa.string() if is_text else pa.float64())
    return Table(name="cohort", id_column="id", arrow=pa.table(columns))


def plan(**recipes: dict[str, object]) -> PreparationPlan:
    return PreparationPlan.model_validate({"columns": recipes})


def prepared(frame: pd.DataFrame, preparation: PreparationPlan, training: np.ndarray) -> tuple[Encoding, np.ndarray]:
    """As a worker prepares: fitted by the training rows, applied to all."""
    columns = read_columns(table(frame), tuple(map(str, frame)), preparation)
    encoding = Encoding.fit(preparation, columns, training)
    values = encoding.apply(columns, len(frame))
    return encoding, values


def standardised(encoding: Encoding, values: np.ndarray, training: np.ndarray) -> np.ndarray:
    scaler = Standardiser.fit(values[training], encoding.names, CLIP, encoding.may_be_constant)
    return scaler.apply(values)


def drawn(generator: np.random.Generator, rows: int) -> pd.DataFrame:
    """A table with gaps, rare levels, dates and long tails."""

    def gaps(values: np.ndarray, share: float) -> pd.Series:
        return pd.Series(values).mask(generator.random(rows) < share)

    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(generator.integers(-900, 900, rows), unit="D")
    return pd.DataFrame(
        {
            "plain": generator.normal(50, 9, rows),
            "mean": gaps(generator.gamma(2, 30, rows), 0.2),
            "median": gaps(generator.gamma(2, 30, rows), 0.3),
            "constant": gaps(generator.normal(0, 1, rows), 0.1),
            "tail": gaps(generator.standard_t(2, rows), 0.1),
            "city": gaps(generator.choice(CITIES, rows, p=[0.4, 0.3, 0.2, 0.07, 0.03]).astype(object), 0.15),
            "listed": pd.Series(generator.choice(CITIES, rows).astype(object)),
            "code": generator.integers(1, 5, rows).astype(float),
            "grade": gaps(generator.choice(GRADES, rows).astype(object), 0.1),
            "day": pd.Series(days.strftime("%Y-%m-%d").astype(object)),
            "quarter": generator.exponential(1, rows),
            "band": gaps(generator.normal(40, 20, rows), 0.1),
        }
    )


RECIPES: dict[str, dict[str, object]] = {
    "mean": {"missing": "mean", "indicator": True},
    "median": {"missing": "median"},
    "constant": {"missing": "constant", "constant": "-2.5", "indicator": True},
    "tail": {"missing": "mean", "winsorise": ["0.05", "0.9"]},
    "city": {"encoding": "one-hot", "most_levels": 2, "missing": "own"},
    "listed": {"encoding": "one-hot", "levels": ["Ulm", "Bern"], "drop_first": True},
    "code": {"encoding": "one-hot", "most_levels": 9, "drop_first": True},
    "grade": {"encoding": "ordinal", "levels": GRADES, "missing": "median"},
    "day": {"encoding": "days", "since": "2020-01-01"},
    "quarter": {"quantile_bins": 4, "drop_first": True},
    "band": {"edges": ["18", "40", "65"], "missing": "own"},
}


def by_pandas(frame: pd.DataFrame, training: np.ndarray) -> np.ndarray:
    """The same rows through pandas and scikit-learn's transformers, fitted by the training rows."""
    found: list[np.ndarray] = [frame["plain"].to_numpy()[:, None]]
    fit = frame.iloc[training]

    def filled(name: str, value: float, values: pd.Series | None = None) -> None:
        found.append((frame[name] if values is None else values).fillna(value).to_numpy()[:, None])

    def missing(name: str) -> None:
        found.append(frame[name].isna().to_numpy(dtype=float)[:, None])

    filled("mean", fit["mean"].mean())
    missing("mean")
    filled("median", fit["median"].median())
    filled("constant", -2.5)
    missing("constant")
    low, high = fit["tail"].quantile([0.05, 0.9])
    filled("tail", fit["tail"].clip(low, high).mean(), frame["tail"].clip(low, high))
    counts = fit["city"].value_counts()
    kept = sorted(sorted(counts.index, key=lambda level: (-counts[level], level))[:2])
    found += [(frame["city"] == level).to_numpy(dtype=float)[:, None] for level in kept]
    found.append((~frame["city"].isin(kept) & frame["city"].notna()).to_numpy(dtype=float)[:, None])
    missing("city")
    found += [
        (frame["listed"] == "Bern").to_numpy(dtype=float)[:, None],
        (~frame["listed"].isin(["Ulm", "Bern"])).to_numpy(dtype=float)[:, None],
    ]
    encoder = OneHotEncoder(drop="first", handle_unknown="ignore", sparse_output=False).fit(fit[["code"]])
    code = encoder.transform(frame[["code"]])
    unused = np.zeros((len(frame), 10 - 1 - code.shape[1]))  # nothing is rare under a cap of 9
    found += [code, unused]
    order = OrdinalEncoder(categories=[GRADES], handle_unknown="use_encoded_value", unknown_value=np.nan)
    grades = order.fit(fit[["grade"]].dropna()).transform(frame[["grade"]])[:, 0]
    filled("grade", float(np.nanmedian(grades[training])), pd.Series(grades))
    found.append((pd.to_datetime(frame["day"]) - pd.Timestamp("2020-01-01")).dt.days.to_numpy(dtype=float)[:, None])
    bins = KBinsDiscretizer(4, encode="onehot-dense", quantile_method="linear").fit(fit[["quarter"]])
    found.append(bins.transform(frame[["quarter"]])[:, 1:])
    cut = pd.cut(frame["band"], [-np.inf, 18, 40, 65, np.inf], right=False)
    found.append(pd.get_dummies(cut).to_numpy(dtype=float))
    missing("band")
    return np.hstack(found)


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1), st.integers(150, 400))
def test_every_cell_is_that_of_pandas(seed, rows):
    """Training and held-out rows, before standardising and after, as scikit-learn and pandas prepare them."""
    generator = np.random.default_rng(seed)
    frame = drawn(generator, rows)
    training = np.sort(generator.permutation(rows)[: rows * 3 // 4])
    encoding, values = prepared(frame, plan(**RECIPES), training)
    expected = by_pandas(frame, training)
    assert values.shape == expected.shape == (rows, plan(**RECIPES).width(tuple(map(str, frame))))
    assert len(encoding.names) == values.shape[1]
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12)
    oracle = np.clip(StandardScaler().fit(expected[training]).transform(expected), -CLIP, CLIP)
    varies = np.ptp(expected[training], axis=0) > 0
    mine = standardised(encoding, values, training)
    np.testing.assert_allclose(mine[:, varies], oracle[:, varies], rtol=1e-9, atol=1e-9)
    assert (mine[:, ~varies] == 0).all()


def column(name: str, values: list[object], recipe: dict[str, object], training: list[int] | None = None) -> np.ndarray:
    frame = pd.DataFrame({name: values})
    return prepared(frame, plan(**{name: recipe}), np.array(training or range(len(values))))[1]


def test_new_rows_are_prepared_as_the_training_s_were():
    """Of a kept model: unknown levels are other, gaps have the old mean; JSON keeps every bit."""
    old = pd.DataFrame({"city": ["a", "a", "b", "c"], "age": [1.0, 3.0, None, 5.0]})
    preparation = plan(city={"encoding": "one-hot", "most_levels": 2}, age={"missing": "mean", "indicator": True})
    encoding, _ = prepared(old, preparation, np.arange(4))
    kept = Encoding.model_validate_json(encoding.model_dump_json())
    assert kept == encoding
    new = pd.DataFrame({"city": ["z", "b", "a"], "age": [None, 7.0, 100.0]})
    values = kept.apply(read_columns(table(new), ("city", "age"), preparation), 3)
    assert values.tolist() == [[0, 0, 1, 3, 1], [0, 1, 0, 7, 0], [1, 0, 0, 100, 0]]


def test_held_out_rows_fit_nothing():
    """A level, a mean and a quantile of held-out rows alone are not seen."""
    assert column("x", ["a", "b", "z", "z"], {"encoding": "one-hot", "most_levels": 1}, [0, 1]).tolist() == [
        [1, 0],
        [0, 1],
        [0, 1],
        [0, 1],
    ]
    assert column("x", [1.0, 3.0, None, 900.0], {"missing": "mean"}, [0, 1])[:, 0].tolist() == [1, 3, 2, 900]
    capped = {"winsorise": ["0", "1"]}
    assert column("x", [1.0, 3.0, -7.0, 900.0], capped, [0, 1])[:, 0].tolist() == [1, 3, 1, 3]


def test_a_column_that_became_constant_has_no_weight():
    """What a cap leaves over is zeros for every row, whatever comes later, and stands in no result."""
    frame = pd.DataFrame({"city": ["a", "b", "a", "q"]})
    training = np.array([0, 1, 2])
    encoding, values = prepared(frame, plan(city={"encoding": "one-hot", "most_levels": 4}), training)
    scaler = Standardiser.fit(values[training], encoding.names, CLIP, encoding.may_be_constant)
    assert encoding.names == ("city = a", "city = b", "city (unused)", "city (unused)", "city = other")
    assert scaler.used.tolist() == [True, True, False, False, False]
    assert (scaler.apply(values)[:, 2:] == 0).all()
    assert scaler.to_original([1.0, 2.0, 0.1, 0.1, 0.1]).names == ("city = a", "city = b")


def test_scores_in_original_units_skip_what_is_unused():
    """The offset and the coefficients of used columns alone score as the standardised ones do."""
    frame = drawn(np.random.default_rng(4), 200)
    encoding, values = prepared(frame, plan(**RECIPES), np.arange(150))
    scaler = Standardiser.fit(values[:150], encoding.names, 1e9, encoding.may_be_constant)
    weights = np.random.default_rng(5).normal(size=values.shape[1])
    original = scaler.to_original(weights)
    assert len(original.names) < len(encoding.names)
    scores = values[:, scaler.used] @ np.array(original.coefficients) + original.offset
    np.testing.assert_allclose(scores, scaler.apply(values) @ weights, atol=1e-9)


def test_derived_columns_are_named_in_the_owner_s_words():
    """Levels, bins and gaps: what a result shows."""
    frame = pd.DataFrame({"age": [10.0, 30.0, 70.0, None], "city": ["a", "b\u202e", None, "a"]})
    preparation = plan(
        age={"edges": ["18", "65"], "missing": "own"}, city={"encoding": "one-hot", "most_levels": 2, "missing": "own"}
    )
    encoding, _ = prepared(frame, preparation, np.arange(4))
    assert encoding.names == (
        *("age below 18", "age from 18 to below 65", "age from 65", "age is missing"),
        *("city = a", "city = b?", "city = other", "city is missing"),
    )
    assert "= a" not in repr(encoding)


GAP = [1.0, 2.0, None]
BAD = {
    "refused gaps": (GAP, {}, "column 'x' of cohort has missing values"),
    "text as numbers": (["a", "b", "c"], {}, "holds text where a feature must be numbers"),
    "numbers as dates": ([1.0, 2.0, 3.0], {"encoding": "days", "since": "2020-01-01"}, "holds numbers where dates"),
    "a date that is none": (
        ["2020-01-01", "2020-02-30", "2020-01-02"],
        {"encoding": "days", "since": "2020-01-01"},
        "column 'x' of cohort has values that are no dates",
    ),
    "a date of another kind": (
        ["01.02.2020", "02.02.2020", "03.02.2020"],
        {"encoding": "days", "since": "2020-01-01"},
        "column 'x' of cohort has values that are no dates",
    ),
    "a level not listed": (
        ["low", "high", "secret"],
        {"encoding": "ordinal", "levels": ["low", "high"]},
        "has values that its list of levels lacks",
    ),
    "one level": (["a", "a", "a"], {"encoding": "one-hot", "most_levels": 3}, "has the same value in every row"),
    "winsorised away": ([1.0, 1.0, 9.0], {"winsorise": ["0", "0.5"]}, "has the same value in every row"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_column_that_can_t_be_prepared_is_one_line(case):
    """Before anybody signs: the column's name, what is wrong, and no value."""
    values, recipe, what = BAD[case]
    with pytest.raises(DataError, match=what) as caught:
        check_columns(table(pd.DataFrame({"x": values})), ("x",), plan(x=recipe))
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.action


@pytest.mark.parametrize("recipe", [{"missing": "mean"}, {"missing": "median"}, {"missing": "own", "quantile_bins": 2}])
def test_nothing_is_fitted_by_no_value(recipe):
    """A column that is all missing in the training rows has neither median nor quantile."""
    with pytest.raises(DataError, match="column 'x' has no value in any training row"):
        column("x", [None, None, 3.0], recipe, [0, 1])


def test_a_column_constant_in_the_training_rows_is_refused():
    """Nothing that was made of it varies: the column is named."""
    frame = pd.DataFrame({"x": ["a", "a", "b"], "y": [1.0, 2.0, 3.0]})
    encoding, values = prepared(frame, plan(x={"encoding": "one-hot", "most_levels": 2}), np.arange(2))
    scaler = Standardiser.fit(values[:2], encoding.names, CLIP, encoding.may_be_constant)
    with pytest.raises(DataError, match="column 'x' has the same value in every training row"):
        encoding.check_varied(scaler.used.tolist())


def test_ordinals_not_listed_count_as_missing():
    """Where the recipe fills in; and numbers are levels by their shortest name."""
    recipe = {"encoding": "ordinal", "levels": ["low", "high"], "missing": "constant", "constant": "0.5"}
    assert column("x", ["low", "high", "?", None], recipe)[:, 0].tolist() == [0, 1, 0.5, 0.5]
    ordered = {"encoding": "ordinal", "levels": ["3", "1.0"]}
    assert column("x", [1.0, 3.0], ordered)[:, 0].tolist() == [1, 0]
    listed = {"encoding": "one-hot", "levels": ["3.0", "0.5"]}
    assert column("x", [0.5, 3.0, 7.0], listed).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_times_of_day_are_left_out():
    """Databases and Parquet have dates with times; days count from the date on either side of it."""
    recipe = {"encoding": "days", "since": "2020-03-01"}
    values = ["2020-02-29", "2020-03-02 23:59:59.5", "1900-03-01T00:00:00Z"]
    assert column("x", values, recipe)[:, 0].tolist() == [-1, 1, -43830]


def test_quantile_bins_of_few_values_leave_columns_over():
    """Edges that fall together make fewer bins; no bin is empty in the training rows."""
    values = column("x", [0.0] * 8 + [1.0, 2.0], {"quantile_bins": 4})
    assert values.shape == (10, 4)
    assert values.sum(axis=1).tolist() == [1] * 10


def test_a_recipe_is_needed_only_for_what_is_not_plain():
    """The default recipe takes complete numbers as they are."""
    assert PreparationPlan().of("anything") == Recipe()
    assert column("x", [1.0, 2.0], {}).tolist() == [[1], [2]]
