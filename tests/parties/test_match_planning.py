"""Plans of a matching written from files, and of the training on what it will leave."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from parties.agreement.kinds import load_plans
from parties.agreement.match_plan import MatchingPlan, parse_matching_plan
from parties.agreement.match_planning import propose_matching, rules_of
from parties.agreement.match_rules import IdRule, MatchRules
from parties.agreement.plan import Plan, parse_plan
from parties.agreement.planning import propose_plan
from parties.data.joining import common_records, common_rows
from parties.errors import DataError, PlanError
from parties.sources import read_table

ID = "patient"
A = "patient,born,age\n" + "".join(f"P{row},{1950 + row}-03-0{row % 9 + 1},{row * 7 % 50}\n" for row in range(8))
B = "patient,birthday,sick\n" + "".join(
    f"p{row},0{row % 9 + 1}.03.{1950 + row},{row % 3 % 2}\n" for row in range(3, 12)
)
FEW = MatchRules(minimum=1)


def files(directory: Path, a: str = A, b: str = B) -> dict[str, Path]:
    paths = {name: directory / f"{name}.csv" for name in ("clinic-a", "clinic-b")}
    for path, content in zip(paths.values(), (a, b), strict=True):
        path.write_text(content, encoding="utf-8")
    return paths


def plan(text: str) -> MatchingPlan:
    return parse_matching_plan(tomllib.loads(text))


def test_the_plan_matches_by_the_id(tmp_path):
    """Every default, and each party with its file's id column."""
    found = plan(propose_matching(files(tmp_path), ID, rules=FEW))
    assert [(party.name, party.data, party.id_columns) for party in found.parties] == [
        ("clinic-a", "clinic-a", (ID,)),
        ("clinic-b", "clinic-b", (ID,)),
    ]
    assert (found.result, found.rules, found.keep_days) == ("matched", FEW, 90)


def test_columns_and_rules_are_those_asked_for(tmp_path):
    """Several columns, of other names at each party, and a rule for each."""
    rules = rules_of(["exact", "date:%Y-%m-%d|%d.%m.%Y"], "last", 2)
    compared = {"clinic-a": (ID, "born"), "clinic-b": (ID, "birthday")}
    changed = files(tmp_path, b=B.replace("p", "P").replace("Patient,birthday", "patient,birthday"))
    text = propose_matching(changed, ID, compared=compared, rules=rules, result="both")
    found = plan(text)
    assert found.rules.columns == (
        IdRule(fold_case=False),
        IdRule(kind="date", formats=("%Y-%m-%d", "%d.%m.%Y")),
    )
    assert (found.rules.duplicates, found.rules.minimum, found.result) == ("last", 2, "both")
    assert [party.id_columns for party in found.parties] == [(ID, "born"), (ID, "birthday")]


def test_every_key_is_explained(tmp_path):
    """Each key stands below a comment, whatever the kinds of rules."""
    rules = rules_of(["alphanumeric", "phone:DE", "date"], "refuse", 1)
    for name in ("clinic-a", "clinic-b"):
        rows = "".join(f"P-{row},030 901820{row:02d},1950-03-0{row}\n" for row in range(1, 9))
        (tmp_path / f"{name}.csv").write_text("patient,phone,born\n" + rows)
    paths = {name: tmp_path / f"{name}.csv" for name in ("clinic-a", "clinic-b")}
    columns = (ID, "phone", "born")
    text = propose_matching(paths, ID, compared=dict.fromkeys(paths, columns), rules=rules)
    assert plan(text).rules == rules
    bare = [
        line
        for before, line in zip(["", *text.splitlines()], text.splitlines(), strict=False)
        if re.match(r"\w+ = ", line) and not before.startswith("#")
    ]
    assert bare == []


def test_rules_that_are_none_are_named():
    """What an analyst wrote for a rule, with what could stand there."""
    with pytest.raises(PlanError, match="'soundex' is no rule"):
        rules_of(["soundex"], "refuse", 1)
    with pytest.raises(PlanError, match="duplicates"):
        rules_of(["text"], "all", 1)
    with pytest.raises(PlanError, match="region"):
        rules_of(["phone:Germany"], "refuse", 1)


@pytest.mark.parametrize(
    ("compared", "rules", "error", "what"),
    [
        ({"clinic-c": (ID,)}, FEW, PlanError, "'clinic-c' brings no file"),
        (None, MatchRules(minimum=50), PlanError, "5 records in common, the matching asks for 50"),
        ({"clinic-a": ("nowhere",)}, FEW, DataError, "nowhere"),
        ({"clinic-a": ("age",)}, FEW, DataError, "ids are compared as text"),
        ({"clinic-a": (ID, "born")}, FEW, PlanError, "id columns"),
    ],
    ids=["a stranger", "too few", "no such column", "numbers", "a rule too few"],
)
def test_what_can_not_be_matched_is_said(tmp_path, compared, rules, error, what):
    """No plan is written that its session would refuse, as far as the files tell."""
    with pytest.raises(error, match=what):
        propose_matching(files(tmp_path), ID, compared=compared, rules=rules)


def test_duplicates_are_said(tmp_path):
    """Two rows of one file whose ids are one in the common form."""
    with pytest.raises(DataError, match="1 rows have ids that are another row's"):
        propose_matching(files(tmp_path, a=A + "p1,1990-01-01,5\n"), ID, rules=FEW)


def test_common_rows_are_those_of_a_join(tmp_path):
    """The same record in the same place at each party, whatever its spelling."""
    tables = {name: read_table(path, ID) for name, path in files(tmp_path).items()}
    rows = common_rows(tables, {"clinic-a": (ID,), "clinic-b": (ID,)}, FEW)
    found = {name: [tables[name].ids[row].lower() for row in each] for name, each in rows.items()}
    assert found["clinic-a"] == found["clinic-b"]
    assert sorted(found["clinic-a"]) == [f"p{row}" for row in range(3, 8)]


def test_the_simulation_takes_the_list_s_last_row(tmp_path):
    """Of two rows of one id that which stands below, as the nodes do."""
    tables = {"clinic-a": read_table(files(tmp_path, a="patient,age\np1,5\nP1,6\n")["clinic-a"], ID)}
    tables["clinic-b"] = tables["clinic-a"]
    for duplicates, age in (("first", 5.0), ("last", 6.0)):
        rules = FEW.model_copy(update={"duplicates": duplicates, "minimum": 1})
        found = common_records(tables, {"clinic-a": (ID,), "clinic-b": (ID,)}, rules)
        assert found["clinic-a"].arrow["age"].to_pylist() == [age]


def test_a_training_is_planned_on_what_a_matching_leaves(tmp_path):
    """Data sets have the matching's name; columns and row counts are those of the common records alone."""
    paths = files(tmp_path, a=A.replace("age", "age,same").replace("\n", ",1\n").replace("age,same,1", "age,same"))
    agreed = plan(propose_matching(paths, ID, rules=FEW, result="both"))
    text = propose_plan(paths, ID, "clinic-b:sick", matching=agreed)
    found = parse_plan(tomllib.loads(text))
    assert {party.data for party in found.parties} == {"both"}
    assert text.count("# 5 rows when this plan was written") == 2


def test_a_training_of_other_parties_is_refused(tmp_path):
    """The files must be those of the matching's parties, divided by columns."""
    paths = files(tmp_path)
    agreed = plan(propose_matching(paths, ID, rules=FEW))
    with pytest.raises(PlanError, match="the matching is of clinic-a, clinic-b"):
        propose_plan({"clinic-b": paths["clinic-b"]}, ID, "clinic-b:sick", matching=agreed)
    with pytest.raises(PlanError, match="the same records everywhere"):
        propose_plan(paths, ID, "sick", partition="rows", matching=agreed)


def test_plans_come_in_order(tmp_path):
    """A training's alone, or after a matching's; nothing else."""
    paths = files(tmp_path)
    matching, training = tmp_path / "matching.toml", tmp_path / "plan.toml"
    matching.write_text(propose_matching(paths, ID, rules=FEW))
    training.write_text(propose_plan(paths, ID, "clinic-b:sick"))
    before, last = load_plans([matching, training])
    assert isinstance(before, MatchingPlan)
    assert isinstance(last, Plan)
    assert load_plans([training]) == (None, last)
    for wrong in ([matching], [training, matching], [training, training], [matching, matching, training]):
        with pytest.raises(PlanError, match="give them in order"):
            load_plans(wrong)
