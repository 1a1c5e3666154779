"""A node signs nothing that its policy does not allow, and by default nothing that its operator did not read."""

from __future__ import annotations

import pytest

from mpc.program import derive
from parties.contract import spec_for
from parties.errors import PolicyRefusal, SettingsError
from parties.home import POLICY
from parties.plan import ModelPlan
from parties.policy import Policy, check, judge, load_policy

DISCLOSURES = ("coefficients", "intercept", "loss", "guard", "converged", "auc", "log-loss", "brier")


def broken(policy: Policy, contract, name: str = "clinic-a") -> list[str]:
    """Rules that a contract breaks."""
    return [finding.rule for finding in judge(policy, contract, name) if not finding.holds]


def test_the_default_policy_allows_a_default_contract(contract):
    """Every rule holds, the one on disclosures included: a first session needs no edit of the policy."""
    assert broken(Policy(), contract) == []
    assert {item.name for item in contract.disclosures} == set(DISCLOSURES)
    check(Policy(), contract, "clinic-a")


def test_the_written_policy_is_the_default_one(tmp_path):
    """The file that `init` writes states every key with the default that the model has, and asks the operator."""
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    policy = load_policy(path)
    assert policy == Policy()
    assert policy.approve == "operator"
    lines = POLICY.splitlines()
    for key in Policy.model_fields:
        (number,) = [number for number, line in enumerate(lines) if line.startswith(f"{key} = ")]
        assert lines[number - 1].startswith("# "), key


RULES = {
    "purpose allowed": ({"purposes": ("predict the outcome", "another")}, []),
    "purpose not listed": ({"purposes": ("predict the weather",)}, ["purposes"]),
    "purpose of another case": ({"purposes": ("Predict the outcome",)}, ["purposes"]),
    "one disclosure fewer": ({"disclosures": ("coefficients", "intercept", "guard")}, ["disclosures"]),
    "no disclosure": ({"disclosures": ()}, ["disclosures"]),
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
            check(policy, contract, "clinic-a")


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


def test_the_label_is_its_owner_s_column_only(contract):
    """A column of the same name at another party is not the label's."""
    assert broken(Policy(never_columns=("outcome",)), contract, "clinic-b") == []
    assert broken(Policy(never_columns=("iron",)), contract, "clinic-b") == ["never_columns"]


def test_a_refusal_says_what_and_what_to_do(contract):
    """The line names the rule, what the contract asks for, and what the policy allows."""
    with pytest.raises(PolicyRefusal, match=r"300 training rows; the policy asks for 1000; change the plan, or"):
        check(Policy(min_training_rows=1000), contract, "clinic-a")
    with pytest.raises(PolicyRefusal, match="the contract discloses auc, brier, converged, guard, log-loss, loss"):
        check(Policy(disclosures=("coefficients", "intercept")), contract, "clinic-a")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("approve = 'never'", "approve: Input should be 'operator' or 'automatic'"),
        ("aprove = 'operator'", "aprove: there is no such key"),
        ("min_training_rows = 0", "min_training_rows: Input should be greater"),
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
