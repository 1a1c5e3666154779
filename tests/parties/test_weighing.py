"""Weight of evidence in plan, contract and policy: what is told, to whom, who may refuse it, and what can't be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mpc.errors import ProgramError
from mpc.evidence_program import told
from mpc.program import derive
from parties.agreement.contract import Contract, beside, disclosures_for, spec_for
from parties.agreement.contract_text import leaves
from parties.agreement.kinds import parse_contract
from parties.agreement.leaving import leaving
from parties.agreement.plan import LabelPlan, ModelPlan
from parties.agreement.policy import Circumstances, Policy, Unasked, judge, verdict
from parties.agreement.quote import quote
from parties.columns.recipe import PreparationPlan
from parties.errors import ContractError
from tests.parties.test_by_rows import altered

IRON = {"quantile_bins": 6, "missing": "own", "weight_of_evidence": True}
DOSE = {"edges": ["1", "2"], "weight_of_evidence": True}


def weighed(paper: Contract, folds: int = 0, **changes: Any) -> Contract:
    """clinic-a has the labels and a column that it weighs at home, clinic-b one that it can't."""
    model = ModelPlan.model_validate(paper.model.model_dump() | {"folds": folds})
    preparation = PreparationPlan.model_validate(
        {"columns": {"iron": IRON, "dose": DOSE}, "information_value": True} | changes
    )
    facts = (paper.parties, paper.label, model, preparation, paper.split, paper.evaluation, 10)
    program = derive(spec_for(*facts))
    fields = {name: getattr(paper, name) for name in Contract.model_fields} | {
        "model": model,
        "preparation": preparation,
        "program": program,
        "quote": quote(program, beside("columns", paper.parties, paper.label, preparation)),
        "disclosures": disclosures_for(program, [party.name for party in paper.parties]),
    }
    return Contract(**fields)


def test_a_contract_says_who_is_told_what(paper):
    """Seven counts of clinic-b's column go to clinic-b; clinic-a's own column needs nobody; two values go to all."""
    contract = weighed(paper)
    contract.check_derived()
    assert parse_contract(contract.canonical()) == contract
    first, second, *_ = contract.disclosures
    assert (first.name, first.recipient, first.count, first.values) == ("weight-of-evidence", "party:clinic-b", 1, 7)
    assert (second.name, second.recipient, second.values) == ("information-value", "session", 2)
    assert [(each.party, each.name, each.column, each.bins) for each in contract.weighed] == [
        ("clinic-a", "dose", 1, 3),
        ("clinic-b", "iron", 2, 7),
    ]
    assert told(contract.program, contract.program.evidence) == 7
    assert contract.quote.requests.total > paper.quote.requests.total
    assert contract.quote.rounds > paper.quote.rounds


def test_values_are_told_only_where_the_plan_asks(paper):
    """By default the session is told nothing of a column."""
    contract = weighed(paper, information_value=False)
    assert not contract.discloses("information-value")
    assert contract.discloses("weight-of-evidence")


@pytest.mark.parametrize(
    "change", [{"smallest_cell": 5}, {"tells_values": False}, {"columns": [{"column": 2, "bins": 7}]}]
)
def test_what_is_told_follows_from_the_recipes(paper, change):
    """Whoever writes the contract can't have smaller cells, or other bins, than its preparation says."""
    contract = weighed(paper)
    program = contract.program.model_dump(mode="json")
    program["evidence"] |= change
    with pytest.raises(ContractError, match="program is not the one that follows"):
        parse_contract(altered(contract, program=program)).check_derived()


def test_an_operator_reads_that_labels_are_told_of(paper):
    """In words, with whom it goes to: the label's owner before it signs."""
    (line,) = [one for one in leaving(weighed(paper), "clinic-a") if "bin of its columns" in one.what]
    assert (line.to, line.outside, line.numbers) == ("clinic-b alone", True, 7)
    words = weighed(paper).preparation.in_words(paper.parties)
    assert any("iron as numbers; 6 bins of equal counts" in one and "weight of evidence" in one for one in words)


def judged(policy: Policy, contract: Contract) -> tuple[str, list[str]]:
    findings = judge(policy, contract, "clinic-a", Circumstances(datetime(2026, 11, 2, 12, tzinfo=UTC)))
    return verdict(findings), [one.rule for one in findings if one.verdict != "holds"]


def test_a_node_asks_its_operator_and_may_refuse(paper):
    """What is signed unasked has no counts of labels unless a policy says so; a policy may forbid them at all."""
    contract, automatic = weighed(paper), {"approve": "automatic"}
    assert judged(Policy(**automatic), paper) == ("holds", [])
    assert judged(Policy(**automatic), contract) == ("asks", ["disclosures"])
    every = Unasked(disclosures=Policy().disclosures)
    assert judged(Policy(**automatic, automatic=every), contract) == ("holds", [])
    fewer = tuple(name for name in Policy().disclosures if name != "weight-of-evidence")
    assert judged(Policy(disclosures=fewer), contract)[0] == "refuses"


def test_counts_of_bins_are_bounded(paper):
    """They stand beside coefficients in what a session may tell of so many rows; their steps are a policy's too."""
    contract = weighed(paper)
    assert contract.program.rows == 300
    assert judged(Policy(max_columns_per_100_rows=4), contract) == ("asks", ["approve"])
    assert judged(Policy(max_columns_per_100_rows=3), contract) == (
        "refuses",
        ["max_columns_per_100_rows", "approve"],
    )
    assert judged(Policy(), weighed(paper, smallest_bin=5)) == ("refuses", ["min_cell_rows", "approve"])


def test_a_contract_says_that_rows_outside_the_folds_weigh(paper):
    """Beside a cross-validation the program weighs by every other three rows, as operators read before they sign."""
    contract = weighed(paper, folds=3)
    contract.check_derived()
    assert contract.program.evidence.folds == 3
    assert contract.program.validating_rows == 150
    assert [(each.name, each.values) for each in contract.disclosures][:1] == [("weight-of-evidence", 7)]
    assert "validates 3 folds of every other 3 rows; the other 150 rows weigh columns" in leaves(contract, "clinic-a")
    assert "validates" not in leaves(weighed(paper), "clinic-a")


def test_whoever_writes_the_contract_can_t_weigh_by_left_out_rows(paper):
    """That would make the cross-validated losses look better than they are."""
    contract = weighed(paper, folds=3)
    program = contract.program.model_dump(mode="json")
    program["evidence"]["folds"] = 0
    with pytest.raises(ContractError, match="program is not the one that follows"):
        parse_contract(altered(contract, program=program)).check_derived()


def test_counts_of_fewer_rows_are_bounded_by_these(paper):
    """Half as many rows stand behind what is told of bins beside folds; a policy's bound holds for these too."""
    allowed = Policy(max_columns_per_100_rows=4, disclosures=(*Policy().disclosures, "cross-validation"))
    assert judged(allowed, weighed(paper)) == ("asks", ["approve"])
    assert judged(allowed, weighed(paper, folds=3)) == ("refuses", ["max_columns_per_100_rows", "approve"])


def test_no_contract_comes_of_more_classes(paper):
    """Counts of all classes add up to the rows of a bin, which its owner knows."""
    preparation = PreparationPlan.model_validate({"columns": {"iron": IRON}})
    three = LabelPlan(party="clinic-a", column="outcome", classes=("a", "b", "c"))
    with pytest.raises(ProgramError, match="two classes"):
        derive(spec_for(paper.parties, three, paper.model, preparation, paper.split, paper.evaluation, 10))
