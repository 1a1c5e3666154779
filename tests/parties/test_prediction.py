"""Predictions on paper: the plan, the contract between a model's parties, the policy, and the recipient's file."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rfc8785

from mpc.errors import PrivityError, ProgramError
from parties.agreement.contract import Approval, check_approvals, sign_approval
from parties.agreement.contract_text import leaves
from parties.agreement.kinds import load_any_plan, parse_contract, training
from parties.agreement.plan import RetentionPlan
from parties.agreement.policy import Circumstances, Policy, judge
from parties.agreement.prediction import PredictionContract, parse_prediction_plan
from parties.errors import ContractError, LifecycleError, PlanError
from parties.outcome.predictions import Predictions, predictions_of
from parties.process.job import Predicted
from tests.parties import test_contract as bytes_of
from tests.parties.conftest import draft_prediction

ROWS = 60
NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
EXAMPLE = Path(__file__).parents[2] / "examples" / "prediction.toml"


@pytest.fixture(scope="session")
def trained(contract):
    """A training that keeps its model."""
    return contract.model_copy(update={"retention": RetentionPlan(model_days=30)})


@pytest.fixture(scope="session")
def prediction(trained) -> PredictionContract:
    """New rows of both clinics, of which clinic-b is told."""
    parties = tuple(party.model_copy(update={"data": "new", "rows": ROWS}) for party in trained.parties)
    return draft_prediction(trained, parties)


def altered(prediction, **changes) -> bytes:
    return rfc8785.dumps(json.loads(prediction.canonical()) | changes)


def test_a_prediction_survives_its_bytes(prediction):
    """It is told from a training by its kind, and is the same bytes again."""
    found = parse_contract(prediction.canonical())
    assert found == prediction
    found.check_derived()
    with pytest.raises(ContractError, match="no training"):
        training(found)


def test_its_one_disclosure_is_to_the_recipient(prediction):
    """Probabilities of all rows, once, to the party that the contract names."""
    assert [(item.name, item.recipient, item.count, item.values) for item in prediction.disclosures] == [
        ("probabilities", "party:clinic-b", 1, ROWS)
    ]


def test_signatures_hold_for_its_bytes_alone(consortium, prediction):
    """Everybody signs a prediction as they sign a training; any change of it voids the signatures."""
    envelopes = {
        name: sign_approval(
            identity,
            Approval(
                contract=prediction.digest,
                name=name,
                role="dealer" if name == "dealer" else "party",
                certificate=consortium.keys[name].certificate,
                endpoint="127.0.0.1:9",
            ),
        )
        for name, identity in consortium.identities.items()
    }
    check_approvals(prediction, envelopes)
    for path in bytes_of.leaves(json.loads(prediction.canonical())):
        try:
            changed = parse_contract(rfc8785.dumps(bytes_of.change(json.loads(prediction.canonical()), path)))
        except ContractError:
            continue
        with pytest.raises(ContractError):
            check_approvals(changed, envelopes)


def test_an_altered_program_is_not_believed(prediction):
    """Program, quote and disclosures are derived again: another recipient, digit, cost or coefficient is refused."""
    content = json.loads(prediction.canonical())
    for path in bytes_of.leaves(content):
        if path[0] in {"program", "quote", "disclosures"}:
            with pytest.raises(PrivityError):
                parse_contract(rfc8785.dumps(bytes_of.change(json.loads(prediction.canonical()), path))).check_derived()
    with pytest.raises(ContractError, match="program is not the one that follows"):
        parse_contract(altered(prediction, recipient="clinic-a")).check_derived()


def test_it_must_fit_the_model(prediction, trained):
    """Another model, party, key, column or preparation than the training's is refused by whoever keeps a share."""
    prediction.check_model(trained)
    first, second = prediction.parties
    cases = {
        "another model": {"model": "ab" * 32},
        "not those of the training": {"parties": (second, first)},
        "or their columns": {"parties": (first.model_copy(update={"columns": ("dose", "age")}), second)},
        "the parties": {"parties": (first.model_copy(update={"public_key": "ab" * 32}), second)},
        "prepares rows in another way": {"fit_intercept": False},
    }
    for what, changes in cases.items():
        with pytest.raises(ContractError, match=what):
            prediction.model_copy(update=changes).check_model(trained)


BAD = {
    "a recipient who is no party": ({"recipient": "clinic-c"}, "recipient: 'clinic-c' is not one of the parties"),
    "the dealer as recipient": ({"recipient": "dealer"}, "recipient: 'dealer' is not one"),
    "another matching": ({"matching": "equal-classes"}, "matching: Input should be 'equal-ids'"),
    "a label": ({"label": {"column": "outcome"}}, "label: there is no such key"),
    "half a model's id": ({"model": "ab" * 16}, "model: String should match"),
}


@pytest.mark.parametrize(("changes", "says"), BAD.values(), ids=BAD)
def test_a_bad_prediction_is_refused(prediction, changes, says):
    """One line that names the key."""
    with pytest.raises(ContractError, match=says):
        parse_contract(altered(prediction, **changes))


def test_rows_that_differ_are_refused(prediction):
    """All parties hold the same records: counts must be equal."""
    parties = json.loads(prediction.canonical())["parties"]
    parties[1]["rows"] = ROWS - 1
    with pytest.raises(ContractError, match=f"clinic-a {ROWS}, but clinic-b {ROWS - 1}"):
        parse_contract(altered(prediction, parties=parties))


def test_the_operator_reads_who_is_told(prediction):
    """One screen names the model, the rows, the recipient and the one thing that is opened."""
    screen = leaves(prediction, "clinic-a")
    assert f"predicts by the model of session {prediction.model}" in screen
    assert "told     clinic-b, and nobody else" in screen
    assert f"probability by the kept model: {ROWS} numbers, once at most, to clinic-b alone" in screen


POLICIES = {
    "the default": ({}, []),
    "no probabilities": ({"disclosures": ("coefficients",)}, ["disclosures"]),
    "as many rows as allowed": ({"max_predicted_rows": ROWS}, []),
    "a row too many": ({"max_predicted_rows": ROWS - 1}, ["max_predicted_rows"]),
    "another purpose": ({"purposes": ("predict the outcome",)}, ["purposes"]),
    "a column that never takes part": ({"never_columns": ("age",)}, ["never_columns"]),
    "few training rows": ({"min_training_rows": 1000}, []),  # of trainings alone
}


@pytest.mark.parametrize(("changed", "expected"), POLICIES.values(), ids=POLICIES)
def test_a_policy_judges_predictions(prediction, changed, expected):
    """Each rule that a prediction can break, at its edge."""
    findings = judge(Policy(approve="automatic", **changed), prediction, "clinic-a", Circumstances(NOON))
    assert [finding.rule for finding in findings if finding.verdict == "refuses"] == expected
    assert [finding.rule for finding in findings if finding.verdict == "asks"] == []
    assert not {"min_training_rows", "solvers", "whole_pass"} & {finding.rule for finding in findings}


def test_the_example_holds_and_explains_every_key():
    """examples/prediction.toml parses, and has each key below a comment."""
    plan = load_any_plan(EXAMPLE)
    assert plan.recipient == "clinic-error"
    text = EXAMPLE.read_text(encoding="utf-8")
    lines = text.splitlines()
    keys = [key for key in type(plan).model_fields if key not in {"parties", "retention"}]
    for key in [*keys, "replay_days", "name", "data"]:
        number = next(number for number, line in enumerate(lines) if line.startswith(f"{key} = "))
        assert lines[number - 1].startswith("# "), key


PLANS = {
    "no model": ({"model": None}, "model"),
    "a short id": ({"model": "ab"}, "model: String should match"),
    "a recipient who is no party": ({"recipient": "x"}, "'x' is not one of the parties"),
    "one party": ({"parties": [{"name": "a", "data": "d"}]}, "at least 2"),
    "a party twice": ({"parties": [{"name": "a", "data": "d"}] * 2, "recipient": "a"}, "a name stands twice"),
    "the dealer as a party": ({"dealer": "clinic-mean"}, "is also a party"),
    "columns": ({"columns": ["x"]}, "columns: there is no such key"),
}


@pytest.mark.parametrize(("changes", "says"), PLANS.values(), ids=PLANS)
def test_a_bad_plan_is_refused(changes, says):
    """One line that names the key."""
    with pytest.raises(PlanError, match=says):
        parse_prediction_plan(tomllib.loads(EXAMPLE.read_text(encoding="utf-8")) | changes)


def test_nobody_has_no_columns_at_all(prediction):
    """Of a prediction without a column no program follows."""
    parties = tuple(party.model_copy(update={"columns": ()}) for party in prediction.parties)
    with pytest.raises(ProgramError, match="a feature column"):
        prediction.model_copy(update={"parties": parties}).check_derived()


SESSION = "cd" * 32


def strip(*rows):
    ids, probabilities = zip(*rows, strict=True)
    return Predicted(
        ids=ids, probabilities=tuple(each if isinstance(each, tuple) else (each,) for each in probabilities)
    )


def test_a_recipient_s_file_is_whole_or_absent(tmp_path):
    """Strips are written to another name; the file is there once the session ended well."""
    predictions = Predictions(tmp_path)
    predictions.begin(SESSION, "patient", ("yes",))
    predictions.append(SESSION, strip(("p1", 0.25), ('p"2,', 1.0)))
    with pytest.raises(LifecycleError, match="0 predictions"):
        predictions_of(tmp_path, SESSION)
    predictions.append(SESSION, strip(("p3", 1 / 3)))
    digest = predictions.finish(SESSION)
    path = predictions_of(tmp_path, SESSION[:5])
    assert path.read_text() == 'patient,probability\np1,0.250000\n"p""2,",1.000000\np3,0.333333\n'
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(digest) == 64
    assert {each.name for each in tmp_path.iterdir()} == {f"{SESSION}.csv", f"{SESSION}.salt"}


def test_what_did_not_end_is_gone(tmp_path):
    """A session that failed leaves no file, nor does one whose daemon died, once it starts again."""
    predictions = Predictions(tmp_path)
    predictions.begin(SESSION, "patient", ("yes",))
    predictions.discard(SESSION)
    assert not list(tmp_path.iterdir())
    predictions.begin(SESSION, "patient", ("yes",))
    predictions.sweep()
    assert not list(tmp_path.iterdir())


def test_probabilities_are_hidden_in_print():
    """Ids and probabilities stand in no log by accident."""
    assert "p1" not in repr(strip(("p1", 0.25)))
    assert "0.25" not in repr(strip(("p1", 0.25)))
