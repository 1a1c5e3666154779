"""A node signs nothing that its policy does not allow, and by default nothing that its operator did not read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mpc.program import derive
from parties.agreement.contract import spec_for
from parties.agreement.plan import EvaluationPlan, ModelPlan
from parties.agreement.policy import Circumstances, Policy, Signed, Unasked, check, judge, load_policy, verdict
from parties.errors import PolicyRefusal, SettingsError
from parties.service.home import POLICY
from parties.service.lifecycle import Step
from parties.service.store import SessionStore

DISCLOSURES = ("coefficients", "intercept", "loss", "guard", "converged", "auc", "log-loss", "brier")


NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def broken(policy: Policy, contract, name: str = "clinic-a", signed=(), now=NOON) -> list[str]:
    """Rules that refuse a contract."""
    findings = judge(policy, contract, name, Circumstances(now, signed))
    return [finding.rule for finding in findings if finding.verdict == "refuses"]


def checked(policy: Policy, contract) -> None:
    check(judge(policy, contract, "clinic-a", Circumstances(NOON)))


def test_the_default_policy_allows_a_default_contract(contract):
    """Every rule holds, the one on disclosures included: a first session needs no edit of the policy."""
    assert broken(Policy(), contract) == []
    assert {item.name for item in contract.disclosures} == set(DISCLOSURES)
    checked(Policy(), contract)


@pytest.mark.parametrize(("noise", "held"), [("0.049", False), ("0.05", True), ("0.1", True)])
def test_noise_is_held_against_what_is_asked_for(contract, noise, held):
    """A training's noise is the policy's at least; the refusal says both."""
    noised = contract.model_copy(update={"model": contract.model.model_copy(update={"noise": noise})})
    assert broken(Policy(min_noise=0.05), noised) == ([] if held else ["min_noise"])
    if not held:
        with pytest.raises(PolicyRefusal, match=r"adds noise of 0\.049; the policy asks for 0\.05"):
            checked(Policy(min_noise=0.05), noised)


def test_the_written_policy_is_the_default_one(tmp_path):
    """The file that `init` writes states every key with the default that the model has, and asks the operator."""
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    policy = load_policy(path)
    assert policy == Policy()
    assert policy.approve == "operator"
    lines = POLICY.splitlines()
    for key in Policy.model_fields:
        (number,) = [number for number, line in enumerate(lines) if line.startswith((f"{key} = ", f"[{key}]"))]
        assert lines[number - 1].startswith("# "), key


RULES = {
    "purpose allowed": ({"purposes": ("predict the outcome", "another")}, []),
    "purpose not listed": ({"purposes": ("predict the weather",)}, ["purposes"]),
    "purpose of another case": ({"purposes": ("Predict the outcome",)}, ["purposes"]),
    "as many losses": ({"max_loss_reports": 2}, []),
    "one loss too many": ({"max_loss_reports": 1}, ["max_loss_reports"]),
    "no noise asked for": ({"min_noise": 0.0}, []),
    "noise asked for": ({"min_noise": 0.001}, ["min_noise"]),
    "one disclosure fewer": ({"disclosures": ("coefficients", "intercept", "guard")}, ["disclosures"]),
    "no disclosure": ({"disclosures": ()}, ["disclosures"]),
    "partners and dealer listed": ({"partners": ("clinic-b",), "dealers": ("dealer",)}, []),
    "a partner not listed": ({"partners": ("clinic-c",)}, ["partners"]),
    "a dealer not listed": ({"dealers": ("clinic-b",)}, ["dealers"]),
    "no digest of an assessment": ({"impact_assessment_digest": True}, ["impact_assessment_digest"]),
    "no impact assessment": ({"impact_assessment": True}, ["impact_assessment"]),
    "its solver": ({"solvers": ("newton",)}, []),
    "another solver": ({"solvers": ("nesterov", "sgd")}, ["solvers"]),
    "within its hours": ({"hours": "12:00-12:01"}, []),
    "after its hours": ({"hours": "08:00-12:00"}, ["hours"]),
    "within hours over midnight": ({"hours": "11:59-03:00"}, []),
    "outside hours over midnight": ({"hours": "22:00-12:00"}, ["hours"]),
    "as many rows as asked for": ({"min_training_rows": 300}, []),
    "a row too few": ({"min_training_rows": 301}, ["min_training_rows"]),
    "as many columns as allowed": ({"max_columns_per_100_rows": 1}, []),
    "too many columns": ({"max_columns_per_100_rows": 0}, ["max_columns_per_100_rows"]),
    "a feature that never takes part": ({"never_columns": ("dose", "x")}, ["never_columns"]),
    "a label that never takes part": ({"never_columns": ("outcome",)}, ["never_columns"]),
    "another party's column": ({"never_columns": ("iron",)}, []),
}


@pytest.mark.parametrize(("changed", "expected"), RULES.values(), ids=RULES)
def test_each_rule_breaks_for_its_own_reason(contract, changed, expected):
    """300 training rows and three columns of a default contract, against each rule alone and at its edge."""
    policy = Policy(**changed)
    assert broken(policy, contract) == expected
    if expected:
        with pytest.raises(PolicyRefusal, match=f"rule '{expected[0]}'"):
            checked(policy, contract)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"batch_size": 20, "epochs": 1}, []),
        ({"batch_size": 19, "epochs": 1}, ["min_batch_rows"]),
        ({"batch_size": 100, "max_iter": 2}, ["whole_pass"]),
        ({"batch_size": 100, "max_iter": 3}, []),
    ],
    ids=str,
)
def test_batches_are_neither_small_nor_few(contract, model, expected):
    """A few steps on few rows would be these rows: batches have a size, and go through the whole table."""
    plan = ModelPlan(solver="sgd", learning_rate="0.1", **model)
    facts = (contract.preparation, contract.split, contract.evaluation)
    program = derive(spec_for(contract.parties, contract.label, plan, *facts, 0))
    assert program.rows == 300
    assert broken(Policy(), contract.model_copy(update={"model": plan, "program": program})) == expected


@pytest.mark.parametrize(
    ("figures", "cell", "expected"),
    [(("roc",), 10, []), (("calibration",), 9, ["min_cell_rows"]), (("auc",), 9, [])],
    ids=str,
)
def test_tables_have_cells_of_a_size(contract, figures, cell, expected):
    """Counts in steps of too few rows are refused, and a cell is asked of tables alone."""
    evaluation = EvaluationPlan(figures=figures, smallest_cell=cell)
    facts = (contract.model, contract.preparation, contract.split, evaluation)
    program = derive(spec_for(contract.parties, contract.label, *facts, 0))
    assert broken(Policy(), contract.model_copy(update={"evaluation": evaluation, "program": program})) == expected


PURPOSE = "predict the outcome"


def earlier(hours: int, data: str = "cohort", purpose: str = PURPOSE, session: str = "aa") -> Signed:
    """A session that was signed so many hours before noon."""
    return Signed(session, NOON - timedelta(hours=hours), data, purpose)


SEEN = {
    "nothing": ((), []),
    "today, another data set": ((earlier(23, "other"),), ["sessions_a_day"]),
    "yesterday, this data set": ((earlier(25, purpose="another"),), ["sessions_a_data_set"]),
    "yesterday, this data set for the same": ((earlier(25),), ["sessions_a_data_set", "sessions_a_purpose"]),
    "yesterday, another data set for the same": ((earlier(25, "other"),), []),
}


@pytest.mark.parametrize(("signed", "expected"), SEEN.values(), ids=SEEN)
def test_earlier_sessions_count(contract, signed, expected):
    """One session a day, on each data set, and on one for a purpose: the next one is refused for what it breaks."""
    policy = Policy(sessions_a_day=1, sessions_a_data_set=1, sessions_a_purpose=1)
    assert broken(policy, contract, signed=signed) == expected


def test_a_contract_does_not_count_against_itself(contract):
    """A session is judged once more when its operator signs."""
    policy = Policy(sessions_a_day=1, sessions_a_data_set=1, sessions_a_purpose=1)
    assert broken(policy, contract, signed=(earlier(0, session=contract.digest),)) == []


def test_what_was_signed_is_read_from_the_store(contract, tmp_path):
    """A session that failed may have disclosed something and counts; one that was refused, or still waits, does not."""
    store = SessionStore(tmp_path / "state.sqlite")
    steps = {"aa": [Step.REFUSE], "bb": [], "cc": [Step.APPROVE, Step.START, Step.FAIL], "dd": [Step.APPROVE]}
    for digest, taken in steps.items():
        store.receive(digest, contract.canonical().decode())
        for step in taken:
            store.step(digest, step)
    found = Circumstances.of(store, "clinic-b")
    told = [(one.session, one.data, one.purpose) for one in found.signed]
    assert told == [("cc", "labs", PURPOSE), ("dd", "labs", PURPOSE)]
    assert all(timedelta(0) <= found.now - one.received < timedelta(hours=1) for one in found.signed)


AUTOMATIC = {
    "an operator signs everything": ({"approve": "operator"}, "asks", ["approve"]),
    "all rules hold": ({"approve": "automatic"}, "holds", []),
    "a rule for what is signed unasked": (
        {"approve": "automatic", "automatic": Unasked(partners=("clinic-c",))},
        "asks",
        ["partners"],
    ),
    "such a rule where an operator signs anyway": ({"automatic": Unasked(partners=("clinic-c",))}, "asks", ["approve"]),
    "both rules": (
        {"approve": "automatic", "min_training_rows": 301, "automatic": Unasked(min_training_rows=1000)},
        "refuses",
        ["min_training_rows"],
    ),
}


@pytest.mark.parametrize(("changed", "expected", "rules"), AUTOMATIC.values(), ids=AUTOMATIC)
def test_what_is_signed_unasked_keeps_tighter_rules(contract, changed, expected, rules):
    """What breaks a rule of [automatic] waits for the operator; what breaks the policy's own is refused."""
    findings = judge(Policy(**changed), contract, "clinic-a", Circumstances(NOON))
    assert verdict(findings) == expected
    assert [finding.rule for finding in findings if finding.verdict != "holds"] == rules


def test_a_refusal_s_code_names_the_rule(contract):
    """Logs and partners' programs tell rules apart without reading sentences."""
    with pytest.raises(PolicyRefusal) as refused:
        checked(Policy(min_training_rows=1000), contract)
    assert refused.value.code == "policy.min-training-rows"
    assert PolicyRefusal("the operator refused").code == "policy"


def test_the_label_is_its_owner_s_column_only(contract):
    """A column of the same name at another party is not the label's."""
    assert broken(Policy(never_columns=("outcome",)), contract, "clinic-b") == []
    assert broken(Policy(never_columns=("iron",)), contract, "clinic-b") == ["never_columns"]


def test_a_refusal_says_what_and_what_to_do(contract):
    """The line names the rule, what the contract asks for, and what the policy allows."""
    with pytest.raises(PolicyRefusal, match=r"300 training rows; the policy asks for 1000; change the plan, or"):
        checked(Policy(min_training_rows=1000), contract)
    with pytest.raises(PolicyRefusal, match="the contract discloses auc, brier, converged, guard, log-loss, loss"):
        checked(Policy(disclosures=("coefficients", "intercept")), contract)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("approve = 'never'", "approve: Input should be 'operator' or 'automatic'"),
        ("aprove = 'operator'", "aprove: there is no such key"),
        ("min_training_rows = 0", "min_training_rows: Input should be greater"),
        ("hours = '8-18'", r'hours: must be two times such as "08:00-18:00"'),
        ("[automatic]\npartner = ['clinic-b']", "automatic.partner: there is no such key"),
        ("purposes = 'any'", "purposes: Input should be a valid tuple"),
        ("approve = ", "is not TOML"),
        ("approve = '\udcff'", "is not TOML"),
    ],
)
def test_a_policy_with_a_mistake_is_no_policy(tmp_path, text, says):
    """A misspelt rule does not silently allow more: nothing is signed until it is mended."""
    path = tmp_path / "policy.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SettingsError, match=says):
        load_policy(path)


def test_without_a_policy_nothing_is_signed(tmp_path):
    """A policy that is gone is an error, not the default."""
    with pytest.raises(SettingsError, match=r"there is no policy at .*; restore it"):
        load_policy(tmp_path / "policy.toml")
