"""Files as organisations have them: what is read, and what is refused with its line."""

from __future__ import annotations

import csv
import io
import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.data.tables import features
from parties.errors import DataError
from parties.sources import Notes, read_table, survey
from parties.sources.delimited import MAX_LINE_BYTES, CsvFile
from parties.sources.ids import Repeats, find_repeats


def write(directory: Path, content: bytes | str) -> Path:
    path = directory / "clinic-a.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_rows_come_sorted_by_id_as_text(tmp_path):
    """Ids stay text, keep leading zeros, and order rows by code point whatever the file's order."""
    table = read_table(write(tmp_path, "patient,age\nb,1\n10,2\n9,3\n007,4\nä,5\nZ,6\n"), "patient")
    assert table.ids == ["007", "10", "9", "Z", "b", "ä"]
    assert features(table, ["age"])[:, 0].tolist() == [4, 2, 3, 6, 1, 5]


def test_cells_names_and_ids_are_trimmed(tmp_path):
    """Blanks around a cell are never part of an id, a name, a number or a category."""
    table = read_table(write(tmp_path, " patient , age,sex \n a , 1 ,f\nb ,2, m \n"), "patient")
    assert table.ids == ["a", "b"]
    assert [(c.name, c.kind, c.complete) for c in table.columns] == [
        ("age", "number", True),
        ("sex", "category", True),
    ]


def test_missing_values_are_recorded_and_kinds_found(tmp_path):
    """A column's kind comes from its values, and an empty or blank cell makes it incomplete."""
    rows = "".join(f"{i},{i},,t{i},\n" for i in range(30))
    table = read_table(write(tmp_path, "id,full,void,text,gap\n" + rows + "x,1, ,t,2.5\n"), "id")
    assert {c.name: (c.kind, c.complete) for c in table.columns} == {
        "full": ("number", True),
        "void": ("text", False),
        "text": ("text", True),
        "gap": ("number", False),
    }


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_endings_blank_lines_and_a_byte_order_mark_are_no_data(tmp_path, ending):
    """What editors and spreadsheets add around rows changes nothing."""
    content = "\ufeff" + ending.join(["id,x", "", "b,2", "", '"a",1', "", ""])
    table = read_table(write(tmp_path, content), "id")
    assert table.ids == ["a", "b"]
    assert features(table, ["x"])[:, 0].tolist() == [1, 2]


@given(st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=20, unique=True))
def test_numbers_keep_every_bit(tmp_path_factory, values):
    """A float written in full comes back as the very same float."""
    rows = "".join(f"{i:03d},{value!r}\n" for i, value in enumerate(values))
    table = read_table(write(tmp_path_factory.mktemp("csv"), "id,x\n" + rows), "id")
    assert features(table, ["x"])[:, 0].tolist() == values


TEXT = st.text(string.ascii_letters + 'äß€,"; \t', max_size=8)


@given(st.lists(TEXT, min_size=1, max_size=12))
def test_text_survives_quoting(tmp_path_factory, values):
    """Whatever a CSV writer quotes, commas and quotation marks included, is read back as it was, but for blanks."""
    file = io.StringIO()
    csv.writer(file).writerows([["id", "text"], *([f"{i:02d}", "x" + value] for i, value in enumerate(values))])
    table = read_table(write(tmp_path_factory.mktemp("csv"), file.getvalue()), "id")
    assert table.arrow["text"].to_pylist() == [("x" + value).strip() for value in values]


def test_quotation_marks_inside_a_value_are_characters(tmp_path):
    """Inches in the middle of a value, names and values with a comma, an empty value in quotation marks."""
    content = '\ufeff"id","si""ze, or so"\r\na,5" or 6"\r\n"b,",""\r\nc,"""5"""\r\n'
    table = read_table(write(tmp_path, content), "id")
    assert table.ids == ["a", "b,", "c"]
    assert table.arrow['si"ze, or so'].to_pylist() == ['5" or 6"', None, '"5"']


@dataclass(frozen=True)
class Bad:
    name: str
    content: bytes | str
    says: str  # what is wrong
    where: str = ""  # the line or column, which stays with the owner
    outward: str = ""


LONG = "id,x\na,1\nb," + "9" * MAX_LINE_BYTES + "\n"

BAD_FILES = [
    Bad("empty", "", "is empty"),
    Bad("blank lines only", "\n\n\n", "is not a comma-separated table"),
    Bad("header only", "id,x\n", "has a header but no rows"),
    Bad("nul byte", b"id,x\na,1\nb,\x002\n", "NUL byte", "line 3"),
    Bad("utf-16", "id,x\na,1\n".encode("utf-16"), "NUL byte", "line 1"),
    Bad("binary", b"PAR1\x15\xff\xfe\x80" * 50, "is not text in UTF-8", "line 1"),
    Bad("latin-1 in one place", b"id,x\na,1\nb\xe9,2\n", "is not text in UTF-8", "line 3"),
    Bad("a line without end", LONG, "line longer than", "line 3"),
    Bad("prose", "Dear colleague\nplease find the data\n", "has no id column 'id'"),
    Bad("semicolons", "id;x\na;1\n", "has no id column 'id'"),
    Bad("no id column", "patient,x\na,1\n", "has no id column 'id'"),
    Bad("short row", "id,x,y\na,1,2\n\nb,3\nc,4,5\n", "more or fewer fields", "line 4"),
    Bad("long rows", "id,x\na,1\nb,2,3\nc,4,5,6\n", "more or fewer fields", "2 rows, the first on line 3"),
    Bad("open quote", 'id,x\na,"1\nb,2\nc,3\n', "line break inside a value", "line 2"),
    Bad("open quote, ragged", 'id,x\na,1\nb,"2\nc,"3\nd,4\n', "left open", "line 3"),
    Bad("open quote at the end", 'id,x\na,1\nb,"2', "left open", "line 3"),
    Bad("open quote before many rows", 'id,x\na,1\nb,"2\n' + "c,3\n" * (2 << 20), "left open", "line 3"),
    Bad("open quote after a pair", 'id,x\na,1\nb,"2""\nc,3\n', "left open", "line 3"),
    Bad("open quote in the header", '\ufeff"id,x\na,1\n', "left open", "line 1"),
    Bad("text after a quote", 'id,x\na,1\nb,"1"x\n', "text after a closing quotation mark", "line 3"),
    Bad("blanks after a quote", 'id,x\na,1\n"b" ,1\n', "text after a closing quotation mark", "line 3"),
    Bad("quoted line break", 'id,x\na,1\n\nb,"u\nv"\n', "line break inside a value", "line 4"),
    Bad("nameless column", ",id,x\n0,a,1\n", "has no name for column 1"),
    Bad("same name twice", "id,x,x\na,1,2\n", "occurs twice", "column 'x'"),
    Bad("same name twice after trimming", "id,x, x\na,1,2\n", "occurs twice", "column 'x'"),
    Bad("escape sequence for a name", "id,\x1b[2J\na,1\n", "has a name for column 2"),
    Bad("name without end", "id," + "n" * 200 + "\na,1\n", "has a name for column 2"),
    Bad("empty ids", "id,x\na,1\n,2\n ,3\n", "has empty ids", "2 rows, the first on line 3"),
    Bad("repeated id", "id,x\nb,1\na,2\n\nb,3\n", "ids that occurred before", "line 5"),
    Bad("id repeated after trimming", "id,x\nb,1\nb ,3\n", "ids that occurred before", "line 3"),
    Bad("text among numbers", "id,x\na,1\nb,oops\nc,2\n", "has text among numbers", "(line 3)"),
    Bad("decimal comma", 'id,x\na,1\nb,"2,5"\nc,2\nd,3\n', "has text among numbers", "(line 3)"),
    Bad(
        "word for missing",
        "id,x\na,1\nb,NA\nc,2\nd,n/a\ne,3\n",
        "has text among numbers",
        "2 rows, the first on line 3",
    ),
    Bad("not a number", "id,x\na,1\nb,NaN\nc,2\n", "not finite numbers", "(line 3)"),
    Bad("infinity", "id,x\na,1\nb,2\nc,-inf\n", "not finite numbers", "(line 4)"),
    Bad("too large", "id,x\na,1e300\nb,2\nc,3\n", "not finite numbers", "(line 2)"),
    Bad("overflow", "id,x\na,1e999\nb,2\nc,3\n", "not finite numbers", "(line 2)"),
]


@pytest.mark.parametrize("bad", BAD_FILES, ids=lambda bad: bad.name)
def test_bad_file_is_refused_in_one_line(tmp_path, bad):
    """A doubtful file gives one line that names the file, what is wrong, where, and what to do."""
    path = write(tmp_path, bad.content)
    with pytest.raises(DataError) as caught:
        read_table(path, "id")
    message = str(caught.value)
    assert message.startswith("clinic-a.csv")
    assert "\n" not in message
    assert bad.says in message
    assert bad.where in message
    assert caught.value.action


@pytest.mark.parametrize("bad", BAD_FILES, ids=lambda bad: bad.name)
def test_outward_sentence_tells_no_lines_counts_or_file_names(tmp_path, bad):
    """What other organisations may read says what is wrong without line numbers, counts or the file's name."""
    with pytest.raises(DataError) as caught:
        read_table(write(tmp_path, bad.content), "id")
    outward = caught.value.outward
    assert "(line" not in outward
    assert "rows, the first" not in outward
    assert "clinic-a.csv" not in outward
    assert outward.startswith("the data file")


def test_errors_carry_no_cell(tmp_path):
    """No cell of a refused file is in the error, nor in an error that it came from."""
    content = "id,x\na,1\nb,sekrit\nc,2\n"
    for text in (content, content.replace("b,", "b,sekrit,"), content.replace("sekrit", "\xff").encode("latin-1")):
        with pytest.raises(DataError) as caught:
            read_table(write(tmp_path, text), "id")
        error: BaseException | None = caught.value
        while error is not None:
            assert "sekrit" not in repr(error.args)
            error = error.__cause__ or error.__context__


@pytest.mark.parametrize("missing", ["nowhere.csv", "."])
def test_unreadable_path_is_named(tmp_path, missing):
    """A missing file or a directory gives an error with its path."""
    with pytest.raises(DataError, match="can't be read") as caught:
        read_table(tmp_path / missing, "id")
    assert str(tmp_path) in str(caught.value)


def test_line_numbers_hold_beyond_the_parser_block(tmp_path):
    """The line is right in a file of several parser blocks, blank lines included."""
    rows = [f"{i},{'7' * 60}e-50" for i in range(100_000)]
    rows[90_000] += "x"
    lines = ["id,x", "", *rows]
    with pytest.raises(DataError, match=r"column 'x', has text among numbers \(line 90003\)"):
        read_table(write(tmp_path, "\n".join(lines)), "id")


def test_mostly_text_column_is_text(tmp_path):
    """A column of codes of which some look like numbers is text, not an error."""
    table = read_table(write(tmp_path, "id,code\na,V58\nb,401\nc,E11\nd,250\n"), "id")
    assert table.columns[0].kind == "category"


def test_numbers_are_read_as_float64(tmp_path):
    """Integers, signs, exponents and bare points are numbers."""
    table = read_table(write(tmp_path, "id,x\na,1\nb,-2.50\nc,+3e2\nd,.5\ne,7.\n"), "id")
    matrix = features(table, ["x"])
    assert matrix.dtype == np.float64
    assert matrix[:, 0].tolist() == [1, -2.5, 300, 0.5, 7]


def test_a_line_without_end_is_read_in_bounded_memory(tmp_path):
    """The limit of a line holds however long it is: what is beyond it is never read."""
    path = tmp_path / "clinic-a.csv"
    with path.open("wb") as file:
        file.write(b"id,x\na,")
        file.truncate(2 << 30)  # a hole of zeros that takes no disk
    with pytest.raises(DataError, match=r"NUL byte \(line 2\)"):
        read_table(path, "id")
    path.write_bytes(b"id,x\na,1\nb," + b"9" * 2000)
    with pytest.raises(DataError, match=r"a line longer than 1000 bytes \(line 3\)"):
        CsvFile(path, max_line_bytes=1000).columns()


@pytest.mark.parametrize(("one", "other"), [("\u00e4", "a\u0308"), ("\u212b", "\u00c5"), ("\ufb01", "fi")])
def test_ids_that_differ_in_unicode_form_only_are_refused(tmp_path, one, other):
    """Two spellings that people can't tell apart, and that matching takes for one, are one id twice."""
    with pytest.raises(DataError, match=r"column 'id', has ids that differ only in their Unicode form \(line 4\)"):
        read_table(write(tmp_path, f"id,x\n{one},1\nz,2\n{other},3\n"), "id")
    with pytest.raises(DataError, match=r"column 'id', has ids that occurred before \(line 4\)"):
        read_table(write(tmp_path, f"id,x\n{other},1\nz,2\n{other},3\n"), "id")


def test_ids_are_compared_across_slices():
    """Repeats are found wherever the two rows lie, also where the sorted ids are compared in slices."""
    names = [f"p{i:03d}" for i in range(95)]
    for first in range(95):
        for slice_rows in (1, 2, 10, 95, 96, 1000):
            assert find_repeats([pa.array(names), pa.array([names[first]])], slice_rows) == Repeats(
                1, 95, only_in_form=False
            )
    assert find_repeats([pa.array(names), pa.array(["q"])], 10) is None
    assert find_repeats([pa.array([], pa.string())], 10) is None
    assert find_repeats([pa.array(["a", "a", "a"])], 1) == Repeats(2, 1, only_in_form=False)


def test_a_reading_is_told_from_its_start(tmp_path):
    """Before a large text is looked at, in its course, and in the two readings after it: parts that only grow."""
    path = write(tmp_path, "id,x\n" + "".join(f"{row},{'7' * 60}e-50\n" for row in range(200_000)))
    told: list[tuple[str, float | None]] = []
    source = CsvFile(path)
    for _ in survey(source, "id", Notes(), lambda *said: told.append(said)).batches():
        pass
    assert told[0] == ("reading", None)
    assert list(dict.fromkeys(doing for doing, _ in told)) == ["reading", "checking", "encrypting"]
    for doing in ("reading", "checking", "encrypting"):
        parts = [part for said, part in told if said == doing and part is not None]
        assert len(parts) >= 3
        assert parts == sorted(parts)
        assert 0 < parts[0] <= parts[-1] <= 1
