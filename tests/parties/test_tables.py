"""From tables to numbers: which columns may be features, which a label, and what is told to whom."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pyarrow as pa
import pytest
from pydantic import ValidationError

from parties.data.schema import Column, Schema, check_features, check_label
from parties.data.tables import Table, features, ids_of, labels
from parties.errors import DataError

TABLE = Table(
    name="clinic-b",
    id_column="patient",
    arrow=pa.table(
        {
            "patient": ["a", "b", "c", "d"],
            "age": [40.0, 50.0, 60.0, 70.0],
            "dose": [1.0, 0.0, 1.0, 0.0],
            "gap": [1.0, None, 3.0, 4.0],
            "same": [7.0, 7.0, 7.0, 7.0],
            "sex": ["f", "m", "m", "f"],
            "site": ["n", "o", "p", "n"],
            "hole": ["f", "m", None, "f"],
            "note": [f"note {i}" for i in range(4)],
        }
    ),
)


def test_features_follow_the_order_named():
    """Columns stand in the order in which the plan names them, not that of the file."""
    assert features(TABLE, ["dose", "age"]).tolist() == [[1, 40], [0, 50], [1, 60], [0, 70]]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ([], "no column of clinic-b"),
        (["age", "weight"], "has no column 'weight'"),
        (["patient"], "has no column 'patient'"),
        (["age", "age"], "column 'age' of clinic-b is named twice"),
        (["sex"], "column 'sex' of clinic-b holds text"),
        (["note"], "column 'note' of clinic-b holds text"),
        (["gap"], "column 'gap' of clinic-b has missing values"),
        (["same"], "column 'same' of clinic-b has the same value"),
    ],
)
def test_unfit_features_are_refused(wanted, says):
    """Each column that can't be trained on is refused by name, with what to do."""
    with pytest.raises(DataError, match=says) as caught:
        features(TABLE, wanted)
    assert caught.value.action


@pytest.mark.parametrize(
    ("column", "positive", "expected"),
    [
        ("sex", "m", [0, 1, 1, 0]),
        ("sex", " f ", [1, 0, 0, 1]),
        ("dose", "1", [1, 0, 1, 0]),
        ("dose", "0.0", [0, 1, 0, 1]),
    ],
)
def test_labels_mark_the_positive_class(column, positive, expected):
    """The positive class is 1, the other 0; a numeric label is compared as a number."""
    assert labels(TABLE, column, (positive,)).tolist() == expected


@pytest.mark.parametrize(
    ("column", "positive", "says"),
    [
        ("weight", "1", "has no column 'weight'"),
        ("note", "note 1", "4 different values"),
        ("site", "n", "3 different values"),
        ("age", "40", "4 different values"),
        ("same", "7", "1 different values"),
        ("hole", "f", "has missing values"),
        ("sex", "F", "the class 'F' does not occur"),
        ("dose", "yes", "the class 'yes' does not occur"),
        ("dose", "nan", "the class 'nan' does not occur"),
    ],
)
def test_unfit_labels_are_refused(column, positive, says):
    """A label that does not have two values, of which the named one is positive, is refused."""
    with pytest.raises(DataError, match=says):
        labels(TABLE, column, (positive,))


def test_labels_number_the_classes():
    """Of more than two classes each row has the number of its own, in the order named."""
    assert labels(TABLE, "site", ("p", "n", "o")).tolist() == [
        ("p", "n", "o").index(site) for site in TABLE.arrow["site"].to_pylist()
    ]


@pytest.mark.parametrize(
    ("named", "says"),
    [(("n", "o", "q"), "the class 'q' does not occur"), (("n", "o", "p", "q"), "3 different values, the plan names 4")],
)
def test_classes_are_those_that_occur(named, says):
    """A class that is named and does not occur, or one that occurs and is not named, is refused."""
    with pytest.raises(DataError, match=says):
        labels(TABLE, "site", named)


@pytest.mark.parametrize(("column", "positive"), [("site", "q"), ("sex", "x"), ("dose", "5"), ("age", "1")])
def test_outward_sentence_tells_neither_values_nor_their_number(column, positive):
    """Other organisations learn that the label does not fit, not what it holds."""
    with pytest.raises(DataError) as caught:
        labels(TABLE, column, (positive,))
    told = caught.value.outward.replace(f"'{positive}'", "")
    assert not any(f"'{value}'" in told for value in ("n", "o", "p", "f", "m", "0", "1"))
    assert not any(character.isdigit() for character in told)


def test_ids_are_the_id_or_text():
    """Missing ones stay marked; numbers are refused, of which the spelling is lost, and columns that are not there."""
    assert [list(each) for each in ids_of(TABLE, ["hole", "patient"])] == [["f", "m", None, "f"], ["a", "b", "c", "d"]]
    with pytest.raises(DataError, match="'age' of clinic-b holds numbers"):
        ids_of(TABLE, ["patient", "age"])
    with pytest.raises(DataError, match="has no column 'weight'"):
        ids_of(TABLE, ["weight"])


def test_schema_publishes_names_kinds_and_row_count_alone():
    """What a node publishes has none of the table's values."""
    published = TABLE.schema("clinic-b-2026")
    assert published.rows == 4
    assert [(c.name, c.kind, c.complete) for c in published.columns] == [
        ("age", "number", True),
        ("dose", "number", True),
        ("gap", "number", False),
        ("same", "number", True),
        ("sex", "category", True),
        ("site", "category", True),
        ("hole", "category", False),
        ("note", "category", True),
    ]
    assert set(Schema.model_fields) == {"name", "rows", "id_column", "columns"}
    assert set(Column.model_fields) == {"name", "kind", "complete", "description", "unit"}
    assert Schema.model_validate_json(published.model_dump_json()) == published


AGE = Column(name="age", kind="number", complete=True, unit="years", description="at admission")
PUBLISHED = Schema(name="cohort", rows=4, id_column="id", columns=(AGE,))


def test_a_schema_s_digest_is_that_of_its_canonical_json():
    """Anybody can compute it from what the gateway shows, whoever read or wrote that before."""
    canonical = (
        b'{"columns":[{"complete":true,"description":"at admission","kind":"number","name":"age","unit":"years"}],'
        b'"id_column":"id","name":"cohort","rows":4}'
    )
    assert PUBLISHED.digest == hashlib.sha256(canonical).hexdigest()
    assert Schema.model_validate_json(PUBLISHED.model_dump_json()).digest == PUBLISHED.digest


@pytest.mark.parametrize(
    "change",
    [{"name": "ages"}, {"kind": "text"}, {"complete": False}, {"unit": "months"}, {"description": "at discharge"}],
)
def test_every_word_of_a_schema_is_in_its_digest(change):
    """Whatever of a column is told otherwise makes another digest; so do rows, id and name."""
    columns = (AGE.model_copy(update=change),)
    others = {"columns": columns}, {"rows": 5}, {"id_column": "age"}, {"name": "c"}, {"columns": (AGE, *columns)}
    digests = {PUBLISHED.model_copy(update=other).digest for other in others}
    assert len({*digests, PUBLISHED.digest}) == 6


@pytest.mark.parametrize("wanted", [["weight"], ["sex"], ["gap"], ["age", "age"], []])
def test_a_schema_is_checked_as_its_table_is(wanted):
    """Whoever has only the published schema refuses the same columns in the same words."""
    with pytest.raises(DataError) as by_table:
        check_features(TABLE, wanted)
    with pytest.raises(DataError) as by_schema:
        check_features(TABLE.schema("clinic-b"), wanted)
    assert str(by_table.value) == str(by_schema.value)


def test_a_schema_tells_that_text_is_no_label():
    """A text column of many values is refused as a label before any data is touched."""
    schema = Schema(name="x", rows=50, id_column="id", columns=(Column(name="note", kind="text", complete=True),))
    with pytest.raises(DataError, match="column 'note' of x is text"):
        check_label(schema, "note")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Clinic A"},
        {"name": "../a"},
        {"name": "a\n"},
        {"rows": 0},
        {"id_column": ""},
        {"columns": [{"name": "\x1b[2J", "kind": "number", "complete": True}]},
        {"columns": [{"name": " x", "kind": "number", "complete": True}]},
        {"columns": [{"name": "x", "kind": "number", "complete": True, "values": [1]}]},
        {"values": []},
    ],
)
def test_a_schema_from_elsewhere_is_checked(change):
    """Names that could mislead a terminal or a path, and fields that nobody agreed on, are refused."""
    good = TABLE.schema("clinic-b").model_dump(mode="json")
    Schema.model_validate(good)
    with pytest.raises(ValidationError):
        Schema.model_validate(good | change)


def test_printing_a_table_shows_sizes_only():
    """No value of a table reaches a log by printing it."""
    assert repr(TABLE) == "Table(clinic-b: 4 rows, 9 columns)"
    assert str(TABLE) == repr(TABLE)


def test_schemas_need_no_table_library():
    """Whoever only reads schemas loads neither Arrow nor NumPy."""
    code = "import sys, parties.data.schema; sys.exit(bool({'pyarrow', 'numpy', 'torch'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
