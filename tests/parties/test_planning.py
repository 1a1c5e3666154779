"""Plans written from files: complete, commented, and parsed by the plan's own model."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from parties.agreement.plan import (
    DisclosurePlan,
    EvaluationPlan,
    LabelPlan,
    ModelPlan,
    PartyPlan,
    Plan,
    RetentionPlan,
    SplitPlan,
    parse_plan,
)
from parties.agreement.planning import propose_plan
from parties.columns.recipe import PreparationPlan, Recipe
from parties.errors import DataError, PlanError

A = "patient,radius,texture\np1,1.5,3\np2,2.5,1\np3,0.5,2\n"
B = "patient,diagnosis,area,note,gap,same\np1,M,10,u,1,7\np2,B,20,v,,7\np3,M,15,w,3,7\n"


def files(directory: Path, **contents: str) -> dict[str, Path]:
    paths = {name.replace("_", "-"): directory / f"{name}.csv" for name in contents}
    for path, content in zip(paths.values(), contents.values(), strict=True):
        path.write_text(content, encoding="utf-8")
    return paths


def proposed(directory: Path, positive: str | None = None, label: str = "clinic-b:diagnosis", **changed: str) -> str:
    return propose_plan(files(directory, **({"clinic_a": A, "clinic_b": B} | changed)), "patient", label, positive)


def test_the_plan_trains_on_every_column_that_can_be(tmp_path):
    """Columns that vary are features in file order; label and id are not; the defaults are the model's."""
    plan = parse_plan(tomllib.loads(proposed(tmp_path, "M")))
    assert [(party.name, party.columns) for party in plan.parties] == [
        ("clinic-a", ("radius", "texture")),
        ("clinic-b", ("area", "note", "gap")),
    ]
    assert plan.preparation.columns == {
        "note": Recipe(encoding="one-hot", most_levels=3),
        "gap": Recipe(missing="mean", indicator=True),
    }
    assert plan.label == LabelPlan(party="clinic-b", column="diagnosis", positive="M")
    assert plan.model == ModelPlan()
    assert plan.split == SplitPlan()


def test_columns_left_out_are_listed_with_the_reason(tmp_path):
    """No column disappears silently: each that can't be trained on has a line that says why."""
    lines = [f"p{row},{'MB'[row % 2]},{row},free text {row},7,{'' if row % 3 else 'x'}" for row in range(30)]
    text = proposed(tmp_path, "M", clinic_b="patient,diagnosis,area,note,same,once\n" + "\n".join(lines))
    assert "# Left out: column 'note' of clinic-b holds text" in text
    assert "# Left out: column 'once' of clinic-b holds text" in text
    assert "# Left out: column 'same' of clinic-b has the same value in every row." in text


def leaves(content: dict[str, object]) -> set[str]:
    """Names of all keys that hold no table."""
    found: set[str] = set()
    for key, value in content.items():
        tables = value if isinstance(value, list) else [value]
        inner = [leaves(table) for table in tables if isinstance(table, dict)]
        found |= set().union(*inner) if inner else {key}
    return found


def test_every_key_is_written_with_a_comment(tmp_path):
    """Each key of the format stands in the text with its meaning above it: the plan is its own manual."""
    text = proposed(tmp_path, "M")
    settings: list[type[BaseModel]] = [ModelPlan, PreparationPlan, SplitPlan, EvaluationPlan, DisclosurePlan]
    models = [PartyPlan, LabelPlan, *settings, Recipe, RetentionPlan]
    sections = {"parties", "label", "model", "preparation", "split", "evaluation", "disclosures", "retention"}
    keys = set(Plan.model_fields) - sections
    every = keys.union(*(model.model_fields for model in models))
    left_out = {"classes", "default"}  # of more than two classes, instead of the positive one; a table
    assert leaves(tomllib.loads(text)) == every - left_out
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if " = " in line and not line.startswith("#"):
            assert re.fullmatch(r"# .*(No default|Default: .+)\.", lines[number - 1]), line


@pytest.mark.parametrize(
    ("values", "expected"),
    [("010", "1"), (("no", "yes", "no"), "yes"), (("True", "False", "True"), "True"), (("1.0", "0.0", "1"), "1")],
)
def test_an_obvious_positive_class_is_taken(tmp_path, values, expected):
    """0 and 1, no and yes, false and true need no --positive, in any case."""
    rows = "".join(f"p{i},{value},{i}\n" for i, value in enumerate(values))
    plan = parse_plan(tomllib.loads(proposed(tmp_path, clinic_b="patient,diagnosis,area\n" + rows)))
    assert plan.label.positive == expected


def test_any_other_positive_class_must_be_named(tmp_path):
    """Of two classes without an obvious positive one, the analyst is shown both and asked."""
    with pytest.raises(PlanError, match=r"has the classes 'B' and 'M'; .*--positive"):
        proposed(tmp_path)
    with pytest.raises(DataError, match="the class 'X' does not occur"):
        proposed(tmp_path, "X")


def test_of_several_classes_all_are_named(tmp_path):
    """Each of more than two classes gets a model, without a question; a positive class does not fit there."""
    plan = parse_plan(tomllib.loads(proposed(tmp_path, label="clinic-b:note")))
    assert (plan.label.positive, plan.label.classes) == (None, ("u", "v", "w"))
    with pytest.raises(DataError, match="the plan names 2 classes"):
        proposed(tmp_path, "u", label="clinic-b:note")


def test_a_class_that_looks_like_a_version_is_shown_in_full(tmp_path):
    """Classes that are text are never reformatted, or they could not be named."""
    rows = "p1,v1.0,1\np2,w,2\np3,w,4\n"
    with pytest.raises(PlanError, match=r"'v1\.0' and 'w'"):
        proposed(tmp_path, clinic_b="patient,diagnosis,area\n" + rows)


@pytest.mark.parametrize(
    ("label", "error", "says"),
    [
        ("diagnosis", PlanError, "is not PARTY:COLUMN"),
        ("clinic-b:", PlanError, "is not PARTY:COLUMN"),
        ("clinic-c:diagnosis", PlanError, "party 'clinic-c' brings no file; name one of clinic-a, clinic-b"),
        ("clinic-b:stage", DataError, "clinic-b has no column 'stage'"),
        ("clinic-b:patient", DataError, "clinic-b has no column 'patient'"),
        ("clinic-b:gap", DataError, "has missing values"),
    ],
)
def test_an_unfit_label_is_refused(tmp_path, label, error, says):
    """A label that no party has, or that has not two values, is refused before a plan is written."""
    with pytest.raises(error, match=says):
        proposed(tmp_path, label=label)


ONE = "patient,age,dose,note,diagnosis\np1,50,1,u,M\np2,60,1,v,B\np3,70,1,w,M\n"
TWO = "patient,dose,age,diagnosis,note\nq1,1,40,B,x\nq2,1,41,B,y\nq3,1,42,M,z\nq4,1,42,M,z\n"


def by_rows(directory: Path, two: str = TWO, positive: str | None = "M") -> str:
    return propose_plan(files(directory, clinic_a=ONE, clinic_b=two), "patient", "diagnosis", positive, "rows")


def test_files_of_the_same_columns_are_a_table_by_rows(tmp_path):
    """Both parties list the same columns in the first one's order; the label is everybody's."""
    text = by_rows(tmp_path)
    plan = parse_plan(tomllib.loads(text))
    assert plan.partition == "rows"
    assert [party.columns for party in plan.parties] == [("age",), ("age",)]
    assert plan.label == LabelPlan(column="diagnosis", positive="M")
    assert "# Left out: column 'note' of clinic-a and clinic-b has no level that enough records have" in text
    assert "# Left out: column 'dose' of clinic-a and clinic-b has the same value in every row." in text


def test_a_column_may_be_constant_in_one_file(tmp_path):
    """By rows it is kept if it varies over all files."""
    plan = parse_plan(tomllib.loads(by_rows(tmp_path, TWO.replace("q1,1,", "q1,2,"))))
    assert plan.parties[0].columns == ("age", "dose")


def test_shared_categories_have_levels_that_can_be_told(tmp_path):
    """By rows a category gets as many columns as both parties' levels of enough records; dates become days; gaps are
    filled with the mean of all rows, unless a party has so few values that it tells nothing of them."""

    def rows(first: int, levels: str) -> str:
        wards = [level for level in levels for _ in range(20)] + ["rare"]
        lines = (
            f"p{first + row},{ward},2021-02-{row % 28 + 1:02d},{row % 7 or ''},{'' if row % 3 else row},"
            f"{'MB'[row % 2]}\n"
            for row, ward in enumerate(wards)
        )
        return f"patient,ward,visit,dose,rarely,diagnosis\n{''.join(lines)}"

    paths = files(tmp_path, clinic_a=rows(0, "uv"), clinic_b=rows(1000, "vwx"))
    text = propose_plan(paths, "patient", "diagnosis", "M", "rows")
    assert parse_plan(tomllib.loads(text)).preparation.columns == {
        "ward": Recipe(encoding="one-hot", most_levels=4),
        "visit": Recipe(encoding="days", since="2000-01-01"),
        "dose": Recipe(missing="mean", indicator=True),
    }
    assert "# Left out: column 'rarely' of clinic-a has too few values to fill gaps with a joint mean." in text


@pytest.mark.parametrize(
    ("two", "error", "says"),
    [
        ("patient,age,note,diagnosis\nq1,1,u,M\nq2,2,v,B\n", PlanError, "'clinic-b' lacks column 'dose' of 'clinic-a'"),
        (
            "patient,age,dose,extra,note,diagnosis\nq1,1,1,1,u,M\nq2,2,2,2,v,B\n",
            PlanError,
            "'clinic-a' lacks column 'extra' of 'clinic-b'",
        ),
        (TWO.replace(",B,", ",benign,"), PlanError, "'diagnosis' has other classes at 'clinic-b' than at 'clinic-a'"),
        (TWO.replace(",M,", ",m,"), DataError, "the class 'M' does not occur"),
        (TWO.replace(",B,", ",M,"), DataError, "clinic-b is text without 2 to 20 values to tell apart"),
    ],
)
def test_files_that_are_no_one_table_are_refused(tmp_path, two, error, says):
    """A party that lacks a column, or writes other classes, is named before a plan is written."""
    with pytest.raises(error, match=says):
        by_rows(tmp_path, two)


PART_A = "patient,age,dose,note\np1,50,1,u\np2,60,1,v\n"
PART_B = "patient,dose,age,note\nq1,1,40,x\nq2,1,41,y\n"
WHOLE = "patient,claims,diagnosis\np1,5,M\np2,6,B\nq1,7,M\nq2,8,B\n"


def in_blocks(directory: Path, label: str = "whole:diagnosis", positive: str = "M", **changed: str) -> str:
    contents = {"part_a": PART_A, "whole": WHOLE, "part_b": PART_B} | changed
    return propose_plan(files(directory, **contents), "patient", label, positive, "blocks")


def test_files_of_the_same_columns_are_partners_in_blocks(tmp_path):
    """They list the same columns in the first one's order, in the order of the files; the others list their own."""
    text = in_blocks(tmp_path)
    plan = parse_plan(tomllib.loads(text))
    assert plan.partition == "blocks"
    assert [party.columns for party in plan.parties] == [("age",), ("claims",), ("age",)]
    assert plan.label == LabelPlan(party="whole", column="diagnosis", positive="M")
    assert "# Left out: column 'dose' of part-a and part-b has the same value in every row." in text


def test_the_label_in_blocks_may_be_of_all_partners(tmp_path):
    """Whichever of them is named, all that have the same columns have it, and the plan lists them."""
    part_a = "patient,age,diagnosis\np1,50,M\np2,60,B\n"
    part_b = "patient,age,diagnosis\nq1,40,B\nq2,41,M\n"
    whole = "patient,claims\np1,5\np2,6\nq1,7\nq2,8\n"
    contents = {"part_a": part_a, "part_b": part_b, "whole": whole}
    plan = parse_plan(tomllib.loads(in_blocks(tmp_path, "part-b:diagnosis", **contents)))
    assert plan.label == LabelPlan(party=("part-a", "part-b"), column="diagnosis", positive="M")
    assert [party.columns for party in plan.parties] == [("age",), ("claims",), ("age",)]
    with pytest.raises(PlanError, match="'diagnosis' has other classes at 'part-b' than at 'part-a'"):
        in_blocks(tmp_path, "part-b:diagnosis", **(contents | {"part_b": part_b.replace("B", "C")}))


def test_files_that_make_no_blocks_are_refused(tmp_path):
    """Files that share some columns and not all, or none at all."""
    with pytest.raises(PlanError, match="'part-a' and 'part-b' share column 'age' and not all"):
        in_blocks(tmp_path, part_b=PART_B.replace("dose", "weight").replace("q1,1", "q1,3"))
    with pytest.raises(PlanError, match="no two have the same columns"):
        in_blocks(tmp_path, part_b="patient,weight\nq1,3\nq2,4\n")


def test_a_party_without_a_usable_column_is_refused(tmp_path):
    """A party that could contribute nothing is named, with the reasons."""
    with pytest.raises(PlanError, match="no column of 'clinic-a' can be trained on: column 'x' of clinic-a holds text"):
        proposed(tmp_path, "M", clinic_a="patient,x\np1,u\np2,u\n")
    with pytest.raises(PlanError, match="it has only ids"):
        proposed(tmp_path, "M", clinic_a="patient\np1\np2\n")


def test_a_party_may_bring_the_label_alone(tmp_path):
    """The label's owner needs no features of its own."""
    text = proposed(tmp_path, "M", clinic_b="patient,diagnosis\np1,M\np2,B\np3,M\n")
    assert parse_plan(tomllib.loads(text)).parties[1].columns == ()


def test_a_party_name_that_is_none_is_refused(tmp_path):
    """Names that the plan's format refuses never get into a file."""
    paths = {
        "Clinic A" if name == "clinic-a" else name: path
        for name, path in files(tmp_path, clinic_a=A, clinic_b=B).items()
    }
    with pytest.raises(PlanError, match=r"parties\.0\.name"):
        propose_plan(paths, "patient", "clinic-b:diagnosis", "M")


def test_a_class_that_hides_on_the_screen_is_refused(tmp_path):
    """Operators read the positive class before they sign: one that moves the cursor is not taken over into a plan."""
    with pytest.raises(PlanError, match=r"label\.positive: must be one line of printable characters"):
        proposed(tmp_path, "a\x7fb", clinic_b="patient,diagnosis\np1,a\x7fb\np2,c\np3,c\n")


words = (
    st.text(st.characters(codec="utf-8", exclude_characters=',"'), min_size=1, max_size=12)
    .map(str.strip)
    .filter(lambda word: word.isprintable() and word not in ("", "patient"))
)


@given(words, words)
@example("a#b = [c]\\", "#\\u0041")
def test_any_name_survives_the_round_trip(tmp_path_factory, column, positive):
    """Whatever a column or class is called, the plan's text parses back to it."""
    other = positive + "'"
    content = f"patient,{column}\np1,{positive}\np2,{other}\np3,{other}\n"
    text = proposed(tmp_path_factory.mktemp("plan"), positive, f"clinic-b:{column}", clinic_b=content)
    plan = parse_plan(tomllib.loads(text))
    assert (plan.label.column, plan.label.positive) == (column, positive)


def test_recipes_fit_what_the_files_hold(tmp_path):
    """Dates become days, gaps are filled and told, categories get as many columns as they have levels, none by name."""
    rows = "".join(f"p{row},{'MB'[row % 2]},2021-02-{row + 1:02d},{'uvw'[row % 3]},{row}\n" for row in range(9))
    gaps = "p10,M,,,\np11,B,2021-03-01,u,4\n"
    text = proposed(tmp_path, "M", clinic_b=f"patient,diagnosis,visit,ward,dose\n{rows}{gaps}")
    assert parse_plan(tomllib.loads(text)).preparation.columns == {
        "visit": Recipe(encoding="days", since="2000-01-01", missing="mean", indicator=True),
        "ward": Recipe(encoding="one-hot", most_levels=3, missing="own"),
        "dose": Recipe(missing="mean", indicator=True),
    }
    assert not [line for line in text.splitlines() if '"u"' in line]


def test_one_name_has_one_recipe(tmp_path):
    """Columns of one name that would be prepared in two ways are named; what is complete takes the other's recipe."""
    b = "patient,diagnosis,radius\np1,M,{}\np2,B,{}\np3,M,{}\n"
    plan = parse_plan(tomllib.loads(proposed(tmp_path, "M", clinic_b=b.format(1, "", 3))))
    assert plan.preparation.columns == {"radius": Recipe(missing="mean", indicator=True)}
    a = "patient,radius,texture\np1,u,3\np2,v,1\np3,u,2\n"
    with pytest.raises(PlanError, match="column 'radius' of 'clinic-b' needs another preparation"):
        proposed(tmp_path, "M", clinic_a=a, clinic_b=b.format(1, "", 3))
