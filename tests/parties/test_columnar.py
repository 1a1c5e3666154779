"""Parquet and Arrow IPC files: the same table whatever its container, and what is refused."""

from __future__ import annotations

import datetime as dt
import decimal
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.errors import DataError, SettingsError
from parties.sources import Notes, file_source, read_notes, read_table
from parties.sources.columnar import ArrowFile, as_text
from parties.sources.extent import cell_bytes, pieces
from parties.sources.heads import LENGTH, expanded_bytes
from parties.sources.survey import read_whole, survey

WRITERS = {
    "t.parquet": lambda table, path: pq.write_table(table, path, row_group_size=7),
    "t.arrow": lambda table, path: write_ipc(table, path, pa.ipc.new_file),
    "t.feather": lambda table, path: write_ipc(table, path, pa.ipc.new_file),
    "t.arrows": lambda table, path: write_ipc(table, path, pa.ipc.new_stream),
}


def write_ipc(table: pa.Table, path: Path, make) -> None:
    with make(str(path), table.schema) as out:
        out.write_table(table, max_chunksize=7)


def compressed(path: Path, table: pa.Table, codec: str | None) -> None:
    make = pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream
    with make(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as out:
        out.write_table(table)


def written(directory: Path, table: pa.Table, name: str = "t.parquet") -> Path:
    WRITERS[name](table, directory / name)
    return directory / name


@pytest.mark.parametrize("name", WRITERS)
def test_types_become_numbers_and_text(tmp_path, name):
    """Whole numbers, floats, decimals and truth values are numbers; text, dates and categories are text."""
    rows = 20
    table = pa.table(
        {
            "id": pa.array(range(rows, 0, -1), pa.int64()),
            "small": pa.array([i % 3 for i in range(rows)], pa.int8()),
            "float": pa.array([None, *np.arange(1, rows) / 7], pa.float64()),
            "money": pa.array([decimal.Decimal(i) / 4 for i in range(rows)], pa.decimal128(10, 2)),
            "flag": pa.array([i % 2 == 0 for i in range(rows)]),
            "word": pa.array([" yes " if i % 2 else "" for i in range(rows)], pa.large_string()),
            "code": pa.array([f"{i:03d}" for i in range(rows)]),
            "day": pa.array([dt.date(2026, 1, 1 + i) for i in range(rows)]),
            "kind": pa.array(["a", "b"] * (rows // 2)).dictionary_encode(),
            "void": pa.nulls(rows),
        }
    )
    found = read_table(written(tmp_path, table, name), "id")
    assert found.ids == sorted(str(i) for i in range(1, rows + 1))
    assert {c.name: (c.kind, c.complete) for c in found.columns} == {
        "small": ("number", True),
        "float": ("number", False),
        "money": ("number", True),
        "flag": ("number", True),
        "word": ("text", False),
        "code": ("category", True),
        "day": ("category", True),
        "kind": ("category", True),
        "void": ("text", False),
    }
    by_id = dict(zip(found.ids, found.arrow.to_pylist(), strict=True))
    assert by_id["20"]["float"] is None
    assert by_id["18"] == {
        "id": "18",
        "small": 2.0,
        "float": 2 / 7,
        "money": 0.5,
        "flag": 1.0,
        "word": None,
        "code": "002",
        "day": "2026-01-03",
        "kind": "a",
        "void": None,
    }


def test_the_same_table_in_every_container(tmp_path):
    """CSV, Parquet and Arrow of one table give one table, to the last bit."""
    rng = np.random.default_rng(7)
    numbers = [1e-300, 0.1, -2.5e29, *rng.normal(size=40_000)]
    table = pa.table({"id": [f"p{i:05d}" for i in range(len(numbers))], "x": numbers})
    csv = tmp_path / "t.csv"
    csv.write_text("id,x\n" + "".join(f"{i},{x!r}\n" for i, x in zip(*table.to_pydict().values(), strict=True)))
    expected = read_table(csv, "id").arrow
    for name in WRITERS:
        assert read_table(written(tmp_path, table, name), "id").arrow.equals(expected)


LIST = pa.array([[1], [2]], pa.list_(pa.int64()))
BAD_TABLES = {
    "bytes": ({"id": ["a", "b"], "x": [b"sekrit", b""]}, "a number, text or a date"),
    "lists": ({"id": ["a", "b"], "x": LIST}, "a number, text or a date"),
    "an id of floats": ({"id": [1.5, 2.5]}, "not an id or text"),
    "NaN": ({"id": ["a", "b"], "x": [1.0, float("nan")]}, "not finite numbers up to 1e+30 (row 2)"),
    "infinity": ({"id": ["a", "b"], "x": [float("-inf"), 1.0]}, "not finite numbers up to 1e+30 (row 1)"),
    "too large": (
        {"id": ["a", "b"], "x": [1e300, 1e300]},
        "not finite numbers up to 1e+30 (2 rows, the first is row 1)",
    ),
    "empty ids": ({"id": ["a", None], "x": [1, 2]}, "has empty ids (row 2)"),
    "repeated ids": ({"id": ["sekrit", " sekrit"], "x": [1, 2]}, "ids that occurred before (row 2)"),
    "one id in two forms": ({"id": ["o\u0308", "\u00f6"]}, "ids that differ only in their Unicode form (row 2)"),
    "one id in full width": ({"id": ["7", "\uff17"]}, "ids that differ only in their Unicode form (row 2)"),
    "a line break in an id": ({"id": ["a", "b\nc"]}, "has a line break inside a value (row 2)"),
    "a NUL": ({"id": ["a", "b"], "x": ["sek\0rit", "c"]}, "has a NUL byte inside a value (row 1)"),
    "no rows": ({"id": pa.array([], pa.string())}, "has a header but no rows"),
    "no id": ({"x": [1.0]}, "has no id column 'id'"),
    "a column without a name": ({"id": ["a"], "": [1]}, "has no name for column 2"),
}


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_refused_in_one_line(tmp_path, case, name):
    """Each flaw is one line that names file, column and row, and no cell."""
    columns, says = BAD_TABLES[case]
    with pytest.raises(DataError) as caught:
        read_table(written(tmp_path, pa.table(columns), name), "id")
    message = str(caught.value)
    assert says in message
    assert message.startswith(f"{name}")
    assert "sekrit" not in message
    assert "row" not in caught.value.outward.replace("no rows", "").replace("narrow", "")
    assert caught.value.action


BROKEN = {
    "nothing": lambda _: b"",
    "other bytes": lambda _: b"\x89PNG\r\n\x1a\n" * 20,
    "cut": lambda content: content[: len(content) // 2],
    "without its end": lambda content: content[:-3],
    "with other bytes within": lambda content: content[:-80] + b"\xff" * 60 + content[-20:],
}


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.arrows"])
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_in_one_line(tmp_path, case, name):
    """A file that is not what its name says, or not to its end, is one line without what the parser says."""
    rng = np.random.default_rng(1)
    table = pa.table({"id": [f"sekrit{i}" for i in range(500)], "x": rng.normal(size=500)})
    path = written(tmp_path, table, name)
    path.write_bytes(BROKEN[case](path.read_bytes()))
    with pytest.raises(DataError) as caught:
        read_table(path, "id")
    error: BaseException | None = caught.value
    assert str(error).startswith(name)
    assert len(str(error).splitlines()) == 1
    while error is not None:
        assert "sekrit" not in repr(error.args)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("name", ["t.arrow", "t.arrows"])
def test_a_batch_that_is_too_large_is_refused_by_its_head(tmp_path, name):
    """With its bound; many small ones that are larger together are no matter."""
    table = pa.table({"id": [f"p{i:04d}" for i in range(1000)], "x": np.arange(1000.0)})
    path = written(tmp_path, table, name)
    assert survey(ArrowFile(path, max_batch_bytes=2000), "id", Notes()).rows == 1000
    with (pa.ipc.new_stream if name == "t.arrows" else pa.ipc.new_file)(str(path), table.schema) as out:
        out.write_table(table.slice(0, 10))
        out.write_table(table.slice(10))
    with pytest.raises(DataError, match=r"has a record batch of more than 2000 bytes; write it again in smaller"):
        survey(ArrowFile(path, max_batch_bytes=2000), "id", Notes())


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.csv"])
def test_a_file_that_changes_between_the_readings_is_refused(tmp_path, name):
    """What was judged is what is encrypted, or nothing is."""
    path = tmp_path / name

    def write(shift: int) -> None:
        ids = [f"p{i}" for i in range(9)]
        if name == "t.csv":
            path.write_text("id,x\n" + "".join(f"{i},{shift}\n" for i in ids))
        else:
            written(tmp_path, pa.table({"id": ids, "x": [float(shift)] * 9}), name)

    write(1)
    found = survey(file_source(path), "id", Notes())
    write(222)
    with pytest.raises(DataError, match="changed while it was read"):
        list(found.batches())


SCHEMA = """
leave_out = ["comment"]
[columns.code]
kind = "text"
description = "ward, as the hospital numbers it"
[columns.age]
unit = "years"
[columns.dose]
kind = "number"
"""


def test_a_schema_file_overrides_kinds_and_describes(tmp_path):
    """Kinds, descriptions and units of the schema file stand in what is published; columns may stay out."""
    (tmp_path / "t.csv").write_text("id,code,age,comment,dose\na,1,30,,\nb,2,40,x,\n")
    (tmp_path / "schema.toml").write_text(SCHEMA)
    found = read_whole(file_source(tmp_path / "t.csv"), "id", read_notes(tmp_path / "schema.toml"), "t")
    assert found.arrow.column_names == ["id", "code", "age", "dose"]
    assert found.arrow["code"].to_pylist() == ["1", "2"]
    judged = survey(file_source(tmp_path / "t.csv"), "id", read_notes(tmp_path / "schema.toml"))
    assert [(c.name, c.kind, c.description, c.unit) for c in judged.columns] == [
        ("code", "category", "ward, as the hospital numbers it", ""),
        ("age", "number", "", "years"),
        ("dose", "number", "", ""),
    ]


BAD_SCHEMAS = {
    "not TOML": ("[columns", "is not TOML"),
    "another key": ("[columns.age]\ntype = 'number'\n", "columns.age.type"),
    "another kind": ("[columns.age]\nkind = 'date'\n", "columns.age.kind"),
    "a line break": ('[columns.age]\ndescription = "a\\nb"\n', "columns.age.description"),
}


@pytest.mark.parametrize("case", BAD_SCHEMAS)
def test_a_bad_schema_file_is_one_line(tmp_path, case):
    """What is no schema file says which key."""
    content, says = BAD_SCHEMAS[case]
    (tmp_path / "schema.toml").write_text(content)
    with pytest.raises(SettingsError, match=says):
        read_notes(tmp_path / "schema.toml")
    with pytest.raises(SettingsError, match="can't be read"):
        read_notes(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("notes", "says"),
    [
        ({"leave_out": ["weight"]}, "has no column 'weight'; correct the schema file"),
        ({"columns": {"weight": {}}}, "has no column 'weight'"),
        ({"leave_out": ["id"]}, "is its id, which is text and stays in"),
        ({"columns": {"id": {"kind": "number"}}}, "is its id, which is text and stays in"),
        ({"columns": {"word": {"kind": "number"}}}, "column 'word', has text among numbers"),
    ],
)
def test_a_schema_file_that_does_not_fit_is_one_line(tmp_path, notes, says):
    """A schema file can't name columns that are not there, nor make numbers of words."""
    (tmp_path / "t.csv").write_text("id,word\na,x\nb,y\n")
    with pytest.raises(DataError, match=says):
        survey(file_source(tmp_path / "t.csv"), "id", Notes.model_validate(notes))


def test_the_profile_tells_what_was_found(tmp_path):
    """Missing values, different values (as far as they are counted) and ranges, over many batches."""
    rows = 40_000
    table = pa.table(
        {
            "id": [f"p{i}" for i in range(rows)],
            "few": [None if i % 10 == 0 else float(i % 7) for i in range(rows)],
            "many": [i / 3 for i in range(rows)],
            "words": [f"w{i % 50}" for i in range(rows)],
        }
    )
    found = {c.name: c for c in survey(file_source(written(tmp_path, table)), "id", Notes()).profile}
    assert (found["few"].missing, found["few"].distinct, found["few"].ends) == (4000, 7, (0.0, 6.0))
    assert (found["many"].distinct, found["many"].ends) == (None, (0.0, (rows - 1) / 3))
    assert (found["words"].kind, found["words"].distinct, found["words"].ends) == ("text", 50, (2, 3))


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_the_profile_tells_the_first_and_the_last_day(tmp_path, name):
    """Where all of a column are dates, missing ones aside; one that is none, and it is text with lengths."""
    days = [None, *(dt.date(2026, 1, 1) + dt.timedelta(days=7 * i % 365) for i in range(300))]
    written_out = [day and day.isoformat() for day in days]
    table = pa.table(
        {
            "id": [f"p{i}" for i in range(301)],
            "seen": pa.array(days),
            "stray": ["2026-02-30", *written_out[1:]],
            "void": pa.nulls(301, pa.string()),
        }
    )
    if name == "t.csv":
        pacsv.write_csv(table, tmp_path / name)
    else:
        written(tmp_path, table, name)
    found = {c.name: c for c in survey(file_source(tmp_path / name), "id", Notes()).profile}
    real = sorted(day for day in written_out if day)
    assert (found["seen"].ends, found["seen"].missing) == ((real[0], real[-1]), 1)
    assert found["stray"].ends == (10, 10)
    assert found["void"].ends == (None, None)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("name", ["t.arrow", "t.arrows"])
@pytest.mark.parametrize("column", ["number", "category"])
def test_a_compressed_batch_that_expands_beyond_the_bound_is_refused(tmp_path, name, codec, column):
    """By what its buffers say that they become, those of dictionaries too; the file itself is below the bound."""
    count = 50_000
    values = (
        np.zeros(count) if column == "number" else pa.array([f"{i:040d}" for i in range(count)]).dictionary_encode()
    )
    path = tmp_path / name
    compressed(path, pa.table({"id": [f"p{i:05d}" for i in range(count)], "x": values}), codec)
    most = 500_000 if column == "number" else 1_200_000
    assert path.stat().st_size < most
    assert survey(ArrowFile(path), "id", Notes()).rows == count
    with pytest.raises(DataError, match=f"has a record batch of more than {most} bytes; write it again in smaller"):
        survey(ArrowFile(path, max_batch_bytes=most), "id", Notes())


@pytest.mark.parametrize("name", ["t.arrow", "t.arrows"])
def test_what_a_buffer_says_is_believed_before_it_is_expanded(tmp_path, name):
    """A length that no memory holds is refused, and so is one that can't be."""
    rows, path = 3000, tmp_path / name
    compressed(path, pa.table({"id": [f"p{i:05d}" for i in range(rows)], "x": np.zeros(rows)}), "zstd")
    content, prefix = path.read_bytes(), LENGTH.pack(8 * rows)
    assert content.count(prefix) == 1
    for length, says in ((1 << 50, "has a record batch of more than"), (-5, "is not an Arrow IPC file that can be")):
        path.write_bytes(content.replace(prefix, LENGTH.pack(length)))
        with pytest.raises(DataError, match=says):
            survey(ArrowFile(path), "id", Notes())


def messages(directory: Path, codec: str | None) -> list:
    path = directory / "t.arrows"
    compressed(path, pa.table({"id": [f"p{i:05d}" for i in range(900)], "x": np.zeros(900)}), codec)
    with pa.memory_map(str(path)) as mapped:
        return [message for message in pa.ipc.MessageReader.open_stream(mapped) if message.body is not None]


def test_a_buffer_that_is_not_compressed_is_as_long_as_it_is(tmp_path):
    """Beside compressed ones; and without compression the body is what it is."""
    (plain,) = (each for each in messages(tmp_path, None) if each.body.size)
    assert expanded_bytes(plain) == plain.body.size
    (packed,) = (each for each in messages(tmp_path, "zstd") if each.body.size)
    whole, body = expanded_bytes(packed), bytearray(packed.body.to_pybytes())
    assert 8 * 900 + 6 * 900 < whole < plain.body.size + 100
    at = body.index(LENGTH.pack(8 * 900))
    body[at : at + LENGTH.size] = LENGTH.pack(-1)
    told = expanded_bytes(SimpleNamespace(metadata=packed.metadata, body=pa.py_buffer(bytes(body))))
    assert whole - 8 * 900 < told < whole


@given(st.data())
def test_a_damaged_head_is_refused_or_read(tmp_path_factory, data):
    """Whatever stands in it: a number, or an error that says that it is none."""
    (packed,) = (each for each in messages(tmp_path_factory.mktemp("heads"), "lz4") if each.body.size)
    head = bytearray(packed.metadata.to_pybytes())
    for place in data.draw(st.lists(st.integers(0, len(head) - 1), min_size=1, max_size=4)):
        head[place] = data.draw(st.integers(0, 255))
    damaged = SimpleNamespace(metadata=pa.py_buffer(bytes(head)), body=packed.body)
    try:
        told = expanded_bytes(damaged)
    except ValueError:
        return
    assert told >= packed.body.size


SURVEYING = """
import sys
from pathlib import Path
from parties.errors import DataError
from parties.sources import Notes, file_source
from parties.sources.survey import survey
try:
    print(survey(file_source(Path(sys.argv[1])), "id", Notes(leave_out=sys.argv[2:])).rows)
except DataError as exc:
    print(exc)
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1])
"""
LIBRARIES_KB = 250_000  # of the process that reads, before it does


def surveyed_apart(path: Path, *left_out: str) -> tuple[str, int]:
    """What a process of its own says of a file, and the most memory that it had, in kB."""
    command = [sys.executable, "-c", SURVEYING, str(path), *left_out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    said, kilobytes = done.stdout.splitlines()
    return said, int(kilobytes)


def one_value(kind: str, value: str, rows: int) -> pa.Array:
    """Rows that all refer to the same bytes."""
    if kind == "dictionary":
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int32)), pa.array([value]))
    view = struct.pack("<i4sii", len(value), value[:4].encode(), 0, 0)
    return pa.Array.from_buffers(
        pa.string_view(), rows, [None, pa.py_buffer(view * rows), pa.py_buffer(value.encode())]
    )


LONG = [
    ("t.arrow", "dictionary", 1_000_000),
    ("t.arrows", "dictionary", 1_000_000),
    ("t.arrow", "view", 1_000_000),
    ("t.arrows", "view", 1_000_000),
    ("t.parquet", "dictionary", 100_000),
]


@pytest.mark.parametrize(("name", "kind", "rows"), LONG, ids=str)
def test_a_long_value_that_all_rows_refer_to_is_refused_before_it_is_written_out(tmp_path, name, kind, rows):
    """A file of some megabytes that would be a terabyte: a sentence, in the memory of the file."""
    table = pa.table({"id": pa.array(np.arange(rows)), "x": one_value(kind, "y" * 10_000_000, rows)})
    path = tmp_path / name
    if name == "t.parquet":
        pq.write_table(table, path, store_schema=False)  # as other programs write it: plain text
    else:
        compressed(path, table, "zstd")
    assert path.stat().st_size < 10_000_000
    said, kilobytes = surveyed_apart(path)
    assert said == (
        f"{name}, column 'x', has a value longer than 1048576 bytes (16384 rows, the first is row 1);"
        " leave it out in the schema file"
    )
    assert kilobytes < LIBRARIES_KB + 150_000
    said, kilobytes = surveyed_apart(path, "x")
    assert said == str(rows)
    assert kilobytes < LIBRARIES_KB + 150_000


@pytest.mark.parametrize(
    ("name", "kind"), [("t.arrow", "dictionary"), ("t.arrow", "view"), ("t.parquet", "dictionary")]
)
def test_rows_with_much_text_are_written_out_in_pieces(tmp_path, name, kind):
    """What is below the bound is read, a piece at a time; what is above it is refused."""
    for length, says in (
        (60_000, "16384"),
        (70_000, "16384 rows whose text is more than 1073741824 bytes, written out"),
    ):
        table = pa.table({"id": pa.array(np.arange(16384)), "x": one_value(kind, "y" * length, 16384)})
        path = tmp_path / name
        if name == "t.parquet":
            pq.write_table(table, path)
        else:
            compressed(path, table, None)
        said, kilobytes = surveyed_apart(path)
        assert says in said
        assert kilobytes < LIBRARIES_KB + 400_000


@given(
    st.lists(st.none() | st.text(max_size=20), max_size=30),
    st.sampled_from([pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.uint8(), pa.string())]),
    st.data(),
)
def test_sizes_are_those_of_the_text(values, kind, data):
    """Of any array, also of a part of one; a missing value has none."""
    array = pa.array(values, pa.string())
    array = array.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else array.cast(kind)
    first = data.draw(st.integers(0, len(values)))
    found = cell_bytes(array.slice(first))
    assert found.tolist() == [len((value or "").encode()) for value in values[first:]]
    most = data.draw(st.integers(1, 60))
    cut = list(pieces(found, most))
    assert [row for rows in cut for row in range(rows.start, rows.stop)] == list(range(len(found)))
    assert all(found[rows].sum() <= most or rows.stop - rows.start == 1 for rows in cut)


def test_what_is_no_text_has_no_size():
    """Numbers, and dictionaries of them, are as long as they are."""
    numbers = pa.array([1.5, None])
    assert cell_bytes(numbers) is cell_bytes(numbers.dictionary_encode()) is None


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_a_column_that_is_left_out_may_be_of_any_type(tmp_path, name):
    """As the refusal advises."""
    table = pa.table({"id": ["a", "b"], "x": [1.0, 2.0], "list": [[1], [2, 3]]})
    path = written(tmp_path, table, name)
    with pytest.raises(DataError, match="leave it out in the schema file"):
        survey(file_source(path), "id", Notes())
    found = survey(file_source(path), "id", Notes(leave_out=("list",)))
    assert [column.name for column in found.columns] == ["x"]
    assert sum(batch.num_rows for batch in found.batches()) == 2


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "RLE_DICTIONARY"])
def test_parquet_text_is_the_same_however_it_is_encoded(tmp_path, encoding):
    """With dictionaries, without any, and as differences."""
    table, path = pa.table({"id": [f"p{i:03d}" for i in range(500)], "x": ["abc", "abd"] * 250}), tmp_path / "t.parquet"
    usual = encoding == "RLE_DICTIONARY"
    encodings = None if usual else dict.fromkeys(table.schema.names, encoding)
    pq.write_table(table, path, use_dictionary=usual, column_encoding=encodings, row_group_size=120)
    assert encoding in pq.read_metadata(path).row_group(0).column(1).encodings
    found = read_table(path, "id")
    assert (list(found.ids), found.arrow["x"].to_pylist()) == (table["id"].to_pylist(), table["x"].to_pylist())


def test_decimals_are_text_where_the_owner_says_so(tmp_path):
    """Digit by digit, as an id and as a column; otherwise numbers."""
    money = [decimal.Decimal("0.10"), decimal.Decimal("-7.00"), None, decimal.Decimal("12345678901234567.89")]
    numbers = [decimal.Decimal(each) for each in ("9007199254740993", "2", "30", "4")]  # the first is no float
    path = tmp_path / "t.parquet"
    columns = {"no": pa.array(numbers, pa.decimal128(20, 0)), "money": pa.array(money, pa.decimal128(20, 2))}
    pq.write_table(pa.table(columns | {"rate": pa.array(money, pa.decimal256(40, 2))}), path)
    schema = tmp_path / "schema.toml"
    schema.write_text('[columns.money]\nkind = "text"\n')
    found = read_whole(file_source(path), "no", read_notes(schema), "t")
    assert found.ids == ["2", "30", "4", "9007199254740993"]
    assert dict(zip(found.ids, found.arrow["money"].to_pylist(), strict=True)) == {
        "9007199254740993": "0.10",
        "2": "-7.00",
        "30": None,
        "4": "12345678901234567.89",
    }
    assert {column.name: column.kind for column in found.columns} == {"money": "category", "rate": "number"}
    small = pa.array([decimal.Decimal("0.00000001"), decimal.Decimal(0), None], pa.decimal128(12, 8))
    assert as_text(small).to_pylist() == ["0.00000001", "0.00000000", None]
    assert as_text(pa.array([decimal.Decimal(700)], pa.decimal128(5, -2))).to_pylist() == ["700"]
