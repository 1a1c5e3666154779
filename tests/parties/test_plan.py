"""A bad plan is answered with one line that names the key and what to do, and repeats nothing that it held."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import pytest

from parties.agreement.kinds import load_any_plan
from parties.agreement.plan import Plan, load_plan, parse_plan
from parties.agreement.planning import propose_plan
from parties.errors import PlanError

EXAMPLES = Path(__file__).parents[2] / "examples"
SECRET = "Hemoglobin 13.2"  # stands where a value of data could have slipped in


def content(**changed: Any) -> dict[str, Any]:
    """A plan that holds, with parts replaced."""
    return {
        "purpose": "predict the outcome",
        "parties": [
            {"name": "clinic-a", "data": "cohort", "columns": ["age"]},
            {"name": "clinic-b", "data": "labs", "columns": ["iron", "zinc"]},
        ],
        "label": {"party": "clinic-a", "column": "outcome", "positive": "yes"},
    } | changed


def party(name: str = "clinic-a", **changed: Any) -> dict[str, Any]:
    return {"name": name, "data": "cohort", "columns": ["age"]} | changed


B = party("clinic-b", columns=["iron"])
LABEL = {"party": "clinic-a", "column": "outcome", "positive": "yes"}

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"epsilon": SECRET}, "epsilon: there is no such key"),
    "unknown key of a party": ({"parties": [party(), B | {"rows": SECRET}]}, "parties.1.rows: there is no such key"),
    "another version": ({"version": 2}, "version: Input should be 1"),
    "no purpose": ({"purpose": "   "}, "purpose: String should have at least 1 character"),
    "purpose of another type": ({"purpose": [SECRET]}, "purpose: Input should be a valid string"),
    "purpose of two lines": ({"purpose": f"a\n{SECRET}"}, "purpose: must be one line of printable characters"),
    "purpose that hides": ({"purpose": f"a\x1b[2K{SECRET}"}, "purpose: must be one line of printable characters"),
    "assessment that hides": ({"impact_assessment": "a\u202eb"}, "impact_assessment: must be one line"),
    "assessment without title": ({"impact_assessment_sha256": "ab" * 32}, "needs its title as well"),
    "assessment's short digest": (
        {"impact_assessment": "a", "impact_assessment_sha256": "ab" * 31},
        "impact_assessment_sha256: String should match pattern",
    ),
    "assessment's file, unread": ({"impact_assessment_file": SECRET}, "impact_assessment_file: there is no such key"),
    "purpose without end": ({"purpose": "x" * 501}, "purpose: String should have at most 500 characters"),
    "one party": ({"parties": [party()]}, "parties: at least 2 items are needed, here are 1;"),
    "seventeen parties": ({"parties": [party(f"p{i}") for i in range(17)]}, "parties: .* at most 16 items"),
    "a party twice": ({"parties": [party(), party()]}, "parties: a name stands twice"),
    "a party's name": ({"parties": [party("Clinic A"), B]}, "parties.0.name: String should match pattern"),
    "a data set's name": ({"parties": [party(data="../x"), B]}, "parties.0.data: String should match pattern"),
    "dealer is a party": ({"dealer": "clinic-b"}, "dealer: 'clinic-b' is also a party; the dealer must hold no data"),
    "label of nobody": ({"label": LABEL | {"party": "clinic-c"}}, "label.party: 'clinic-c' is not one of the parties"),
    "label as a feature": ({"label": LABEL | {"column": "age"}}, "'age' is the label and can't be a feature as well"),
    "no positive class": ({"label": LABEL | {"positive": ""}}, "label.positive: String should have at least 1"),
    "label without column": ({"label": {"party": "clinic-a", "positive": "yes"}}, "label.column: is missing"),
    "a column twice": ({"parties": [party(columns=["age", "age"]), B]}, "a column of 'clinic-a' stands twice"),
    "a column that hides": ({"parties": [party(columns=["a\rb"]), B]}, "parties.0.columns.0: .*printable"),
    "nothing brought": ({"parties": [party(), B | {"columns": []}]}, "'clinic-b' brings neither columns nor the label"),
    "C as a number": ({"model": {"C": 1.0}}, 'model.C: must be a decimal number in quotes, such as "0.5"'),
    "C with an exponent": ({"model": {"C": "1e3"}}, "model.C: must be a decimal number in quotes"),
    "C as a word": ({"model": {"C": SECRET}}, "model.C: must be a decimal number in quotes"),
    "C below zero": ({"model": {"C": "-1"}}, "model.C: must be a decimal number in quotes"),
    "C of other digits": ({"model": {"C": "\u0661"}}, "model.C: must be a decimal number in quotes"),
    "C of zero": ({"model": {"C": "0.0"}}, "model.C: must lie above 0"),
    "C of one in a list": ({"model": {"C": ["1.0"]}}, "model.C: as a list, write 2 to 16 different ones"),
    "C twice in a list": ({"model": {"C": ["1.0", "1.00"]}}, "model.C: as a list, write 2 to 16 different ones"),
    "C as a list of a word": ({"model": {"C": ["1.0", SECRET]}}, "model.C: must be a decimal number in quotes"),
    "one fold": ({"model": {"folds": 1}}, "model: folds: 2 at least; 0 is no"),
    "folds without losses": (
        {"model": {"folds": 3}, "disclosures": {"loss_reports": 0}},
        "model.folds: a cross-validation is told with the losses; loss_reports must be above 0",
    ),
    "two classes": ({"label": {"party": "clinic-a", "column": "outcome", "classes": ["a", "b"]}}, "name 3 to 20"),
    "a class twice": (
        {"label": {"party": "clinic-a", "column": "outcome", "classes": ["a", "b", "a"]}},
        "name 3 to 20",
    ),
    "classes and a positive one": (
        {"label": LABEL | {"classes": ["a", "b", "c"]}},
        "label: name the positive class of two, or all classes of more than two",
    ),
    "no iteration": ({"model": {"max_iter": -1}}, "model.max_iter: Input should be greater than or equal to 0"),
    "batches without sgd": ({"model": {"batch_size": 32}}, 'batch_size: of solver = "sgd" alone; leave them out'),
    "sgd without batches": ({"model": {"solver": "sgd", "epochs": 1}}, "needs batch_size and learning_rate"),
    "sgd without an end": (
        {"model": {"solver": "sgd", "batch_size": 32, "learning_rate": "0.1"}},
        "needs either epochs or max_iter",
    ),
    "another model": ({"model": {"kind": SECRET}}, "model.kind: Input should be 'logistic-regression'"),
    "clipped to a word": ({"preparation": {"clip_bits": SECRET}}, "preparation.clip_bits: Input should be a valid int"),
    "clipped too far out": ({"preparation": {"clip_bits": 9}}, "preparation.clip_bits: Input should be less than or"),
    "not standardised": ({"preparation": {"standardise": False}}, "preparation.standardise: Input should be True"),
    "noise that leaves no model": ({"model": {"noise": "1.5"}}, "model.noise: must lie within 0.0001 and 1"),
    "noise below a unit": ({"model": {"noise": "0.00001"}}, "model.noise: must lie within 0.0001 and 1"),
    "nothing to train on": ({"split": {"held_out": "1"}}, "split.held_out: must lie above 0 and be at most 0.9"),
    "nothing held out": ({"split": {"held_out": "0.0"}}, "split.held_out: must lie above 0"),
    "an unknown figure": ({"evaluation": {"figures": [SECRET]}}, "evaluation.figures.0: Input should be 'auc'"),
    "a cell of few rows": ({"evaluation": {"smallest_cell": 4}}, "evaluation.smallest_cell: Input should be greater"),
    "a figure twice": ({"evaluation": {"figures": ["auc", "auc"]}}, "evaluation.figures: a figure stands twice"),
    "less than no loss": ({"disclosures": {"loss_reports": -1}}, "disclosures.loss_reports: Input should be greater"),
    "expired at once": ({"expires_in_hours": 0}, "expires_in_hours: Input should be greater than or equal to 1"),
}


@pytest.mark.parametrize(("changed", "says"), BAD.values(), ids=BAD)
def test_a_bad_plan_is_one_line_that_names_the_key(changed, says):
    """Each way to go wrong has a line with the key and the next step, and repeats no value."""
    with pytest.raises(PlanError, match=says) as caught:
        parse_plan(content(**changed))
    line = str(caught.value)
    assert line.isprintable()
    assert line.endswith("; mend the plan and try again")
    assert SECRET not in line


@pytest.mark.parametrize("key", ["purpose", "parties", "label"])
def test_what_has_no_default_must_be_there(key):
    """A missing key is named."""
    rest = content()
    del rest[key]
    with pytest.raises(PlanError, match=f"{key}: is missing"):
        parse_plan(rest)


def test_a_party_that_does_not_hold_is_not_called_missing():
    """A mistake in an item is named alone, not with a list that is too short without the item."""
    wrong = content(parties=[party(), B | {"colour": "red"}])
    with pytest.raises(PlanError, match=r"the plan does not hold: parties\.1\.colour: there is no such key; mend"):
        parse_plan(wrong)


def test_a_thousand_mistakes_are_still_one_short_line():
    """Nobody has to read a page: the first mistakes are named, the others counted."""
    wrong = {f"key-{number}": number for number in range(1000)}
    with pytest.raises(PlanError, match="; and 995 more; mend") as caught:
        parse_plan(content(**wrong))
    assert len(str(caught.value)) < 1000


def test_a_key_can_not_write_on_the_terminal():
    """A key's name is shown, since it must be found; what would move the cursor in it is not."""
    with pytest.raises(PlanError, match=r"a\?\[2Kb: there is no such key"):
        parse_plan(content(**{"a\x1b[2Kb": 1}))


def test_defaults_are_those_that_are_documented():
    """The least that can be written is a plan; no legal basis is said to be none."""
    plan = parse_plan(content())
    assert (plan.legal_basis, plan.impact_assessment, plan.dealer) == ("none stated yet", "", "dealer")
    assert (plan.model.C, plan.model.max_iter, plan.split.held_out) == ("1.0", 0, "0.25")
    assert plan.disclosures.loss_reports == 15


def test_the_label_owner_may_bring_the_label_alone():
    """Only who has the label needs no features; somebody must have some."""
    plan = parse_plan(content(parties=[party(columns=[]), B]))
    assert plan.parties[0].columns == ()
    with pytest.raises(PlanError, match="'clinic-b' brings neither"):
        parse_plan(content(parties=[party(columns=[]), party("clinic-b", columns=[])]))


def test_a_plan_does_not_change():
    """What was read once stays as it was read."""
    with pytest.raises(ValueError, match="frozen"):
        parse_plan(content()).purpose = "another"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"version = 1\npurpose = predict\n", "is not TOML: .*line 2"),
        (b"[label\n", "is not TOML: .*line 1"),
        (b'purpose = "\xff"\n', "is not TOML"),
        (b'purpose = "a"\npurpose = "b"\n', "is not TOML: .*line 2"),
    ],
)
def test_a_file_that_is_not_toml_is_told_the_line(tmp_path, text, says):
    """Whoever mistyped learns the file and the line."""
    path = tmp_path / "plan.toml"
    path.write_bytes(text)
    with pytest.raises(PlanError, match=says) as caught:
        load_plan(path)
    assert str(path) in str(caught.value)
    assert "mend the line" in str(caught.value)


def test_a_plan_that_is_not_there_is_said_so(tmp_path):
    """A wrong path is no traceback."""
    with pytest.raises(PlanError, match=r"there is no plan at .*`privity plan new`"):
        load_plan(tmp_path / "plan.toml")
    with pytest.raises(PlanError, match="can't be read"):
        load_plan(tmp_path)


def test_what_plan_new_writes_is_the_default_plan(tmp_path: Path):
    """The file that `privity plan new` writes states every default as the model has it."""
    (tmp_path / "a.csv").write_text("id,x\n1,1\n2,2\n3,4\n")
    (tmp_path / "b.csv").write_text("id,y\n1,0\n2,1\n3,1\n")
    text = propose_plan({"a": tmp_path / "a.csv", "b": tmp_path / "b.csv"}, "id", "b:y", None)
    (tmp_path / "plan.toml").write_text(text)
    plan = load_plan(tmp_path / "plan.toml")
    stated = tomllib.loads(text)
    assert stated["legal_basis"] == Plan.model_fields["legal_basis"].default
    assert plan == parse_plan({key: stated[key] for key in ("purpose", "parties", "label")})


def test_tables_are_asked_for():
    """Nobody is told a table that the plan does not name; cells have ten rows unless it says otherwise."""
    assert parse_plan(content()).evaluation.smallest_cell == 10
    asked = parse_plan(content(evaluation={"figures": ["calibration", "roc", "auc"], "smallest_cell": 5})).evaluation
    assert (asked.figures, asked.smallest_cell) == (("auc", "roc", "calibration"), 5)


def test_figures_have_one_order():
    """Plans that ask for the same figures lead to the same contract; without a word all are asked for."""
    asked = parse_plan(content(evaluation={"figures": ["brier", "auc"]})).evaluation.figures
    assert asked == ("auc", "brier")
    assert parse_plan(content()).evaluation.figures == ("auc", "log-loss", "brier")
    assert parse_plan(content(evaluation={"figures": []})).evaluation.figures == ()


def with_document(tmp_path: Path, line: str) -> Path:
    """A plan in a directory of its own, beside the assessment's document."""
    (tmp_path / "dpia.pdf").write_bytes(b"%PDF an assessment")
    path = tmp_path / "plan.toml"
    path.write_text(f"{line}\n{(EXAMPLES / 'plan.toml').read_text()}".replace('impact_assessment_sha256 = ""', ""))
    path.write_text(path.read_text().replace('impact_assessment = ""', 'impact_assessment = "DPIA 7"'))
    return path


def test_an_assessment_is_named_by_its_documents_digest(tmp_path):
    """The file is read from the plan's own directory, wherever the analyst is; the plan holds its digest alone."""
    path = with_document(tmp_path, 'impact_assessment_file = "dpia.pdf"')
    digest = hashlib.sha256(b"%PDF an assessment").hexdigest()
    for plan in (load_plan(path), load_any_plan(path)):
        assert (plan.impact_assessment, plan.impact_assessment_sha256) == ("DPIA 7", digest)
        assert "dpia.pdf" not in plan.model_dump_json()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('impact_assessment_file = "absent.pdf"', "the document can't be read"),
        ("impact_assessment_file = 7", "the document can't be read"),
        (
            f'impact_assessment_file = "dpia.pdf"\nimpact_assessment_sha256 = "{"ab" * 32}"',
            "the document's digest stands there too",
        ),
    ],
)
def test_an_assessment_that_can_t_be_read_is_an_error(tmp_path, line, complaint):
    """Of a file that is missing, or beside a digest: each its own sentence."""
    with pytest.raises(PlanError, match=complaint):
        load_any_plan(with_document(tmp_path, line))
