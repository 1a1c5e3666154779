"""From plan to contract: what fits, and a line for everything that does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.planning.resolve import Directory, Listed, resolve
from mpc.errors import PrivityError, ProgramError
from parties.agreement.kinds import parse_contract
from parties.agreement.plan import Plan
from parties.data.schema import Column, Schema
from parties.errors import ContractError, DataError, PlanError
from parties.keys.identity import Identity
from parties.service.messages import PublishedData

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def published(*, rows: int = 100, **columns: tuple[str, bool]) -> PublishedData:
    listed = tuple(Column(name=name, kind=kind, complete=complete) for name, (kind, complete) in columns.items())
    table = Schema(name="cohort", rows=rows, id_column="patient", columns=listed)
    return PublishedData(table=table, version="ab" * 16)


def listed(name: str, role: str = "party", **data: PublishedData) -> Listed:
    return Listed(name, role, Identity.generate().public.hex(), data)


CLINIC = {
    "age": ("number", True),
    "dose": ("number", True),
    "lab": ("number", False),
    "note": ("text", True),
    "outcome": ("category", True),
}


@pytest.fixture
def directory() -> dict[str, Listed]:
    return {
        "clinic-a": listed("clinic-a", cohort=published(**CLINIC), small=published(rows=99, **CLINIC)),
        "clinic-b": listed("clinic-b", cohort=published(**CLINIC), small=published(rows=99, **CLINIC)),
        "clinic-c": Listed("clinic-c", "party", None),
        "dealer": listed("dealer", "dealer"),
    }


def run(plan: Plan, directory: dict[str, Listed]) -> Any:
    return resolve(plan, Directory(directory), NOW, b"n" * 32)


def test_contract_holds_by_itself(make_plan: Callable[..., Plan], directory):
    """A resolved contract is canonical, and what follows from it is what it says."""
    contract = run(make_plan(), directory)
    assert parse_contract(contract.canonical()) == contract
    contract.check_derived()
    assert contract.expires - contract.created == timedelta(hours=24)
    assert [p.public_key for p in contract.parties] == [directory[n].public_key for n in ("clinic-a", "clinic-b")]
    first, published = contract.parties[0], directory["clinic-a"].data["cohort"]
    assert (first.rows, first.data_version, first.schema_sha256) == (100, "ab" * 16, published.table.digest)


def test_resolving_is_pure(make_plan: Callable[..., Plan], directory):
    """The same plan, directory, time and nonce make the same contract."""
    assert run(make_plan(), directory).digest == run(make_plan(), directory).digest


def test_party_with_the_label_alone(make_plan: Callable[..., Plan], directory):
    """An organisation may bring nothing but the label."""
    parties = [
        {"name": "clinic-a", "data": "cohort"},
        {"name": "clinic-b", "data": "cohort", "columns": ["dose"]},
    ]
    assert run(make_plan(parties=parties), directory).parties[0].columns == ()


def clinics(**second: Any) -> dict[str, Any]:
    first = {"name": "clinic-a", "data": "cohort", "columns": ["age"]}
    return {"parties": [first, {"name": "clinic-b", "data": "cohort", "columns": ["dose"], **second}]}


BAD_PLANS = {
    "unknown party": (clinics(name="clinic-x"), PlanError, "parties.1.name: this gateway knows no 'clinic-x'"),
    "invited only": (clinics(name="clinic-c"), PlanError, "'clinic-c' is invited and has not joined yet"),
    "dealer as party": (
        clinics(name="dealer") | {"dealer": "clinic-b"},
        PlanError,
        "'dealer' joined as a dealer, and a dealer must hold no data",
    ),
    "unknown data": (clinics(data="other"), DataError, "parties.1.data: 'clinic-b' publishes no data set 'other'"),
    "unknown column": (clinics(columns=["weight"]), DataError, "parties.1: 'clinic-b': cohort has no column 'weight'"),
    "id as column": (clinics(columns=["patient"]), DataError, "cohort has no column 'patient'"),
    "text column": (clinics(columns=["outcome"]), DataError, "column 'outcome' of cohort holds text"),
    "missing values": (clinics(columns=["lab"]), DataError, "'clinic-b': column 'lab' of cohort has missing values"),
    "rows differ": (clinics(data="small"), DataError, "differ in rows: clinic-a 100, but clinic-b 99"),
    "unknown label": (
        {"label": {"party": "clinic-a", "column": "death", "positive": "1"}},
        DataError,
        "parties.0: 'clinic-a': cohort has no column 'death'",
    ),
    "free text as label": (
        {"label": {"party": "clinic-a", "column": "note", "positive": "1"}},
        DataError,
        "column 'note' of cohort is text without 2 to 20 values to tell apart",
    ),
    "incomplete label": (
        {"label": {"party": "clinic-a", "column": "lab", "positive": "1"}},
        DataError,
        "column 'lab' of cohort has missing values",
    ),
    "unknown dealer": ({"dealer": "nobody"}, PlanError, "dealer: this gateway knows no 'nobody'"),
    "party as dealer": ({"dealer": "clinic-c"}, PlanError, "dealer: 'clinic-c' is invited and has not joined"),
    "too few held-out rows": ({"split": {"held_out": "0.1"}}, ProgramError, "figures are of 20 to"),
    "C out of range": ({"model": {"C": "0.00001"}}, ProgramError, "C=0.00001 lies outside"),
}


@pytest.mark.parametrize("case", BAD_PLANS)
def test_bad_plans(case: str, make_plan: Callable[..., Plan], directory):
    """Everything that does not fit is named: what, where, and what to do."""
    parts, kind, what = BAD_PLANS[case]
    with pytest.raises(PrivityError) as caught:
        run(make_plan(**parts), directory)
    assert type(caught.value) is kind
    assert what in caught.value.what
    assert caught.value.action
    assert "\n" not in str(caught.value)


ROWS = {"partition": "rows", "label": {"column": "outcome", "positive": "yes"}}


def by_rows(**second: Any) -> dict[str, Any]:
    first = {"name": "clinic-a", "data": "cohort", "columns": ["age", "dose"]}
    return ROWS | {"parties": [first, first | {"name": "clinic-b", "data": "small"} | second]}


def test_parties_with_records_of_their_own(make_plan: Callable[..., Plan], directory):
    """By rows, data sets may differ in rows; the contract compares classes, no ids, and discloses joint moments."""
    contract = run(make_plan(**by_rows()), directory)
    assert parse_contract(contract.canonical()) == contract
    contract.check_derived()
    assert [party.rows for party in contract.parties] == [100, 99]
    assert contract.program.rows == 75 + 75
    assert contract.matching == "equal-classes"
    assert (contract.disclosures[0].name, contract.disclosures[0].recipient) == ("moments", "parties:clinic-a,clinic-b")


def test_a_party_that_lacks_a_column_or_the_label(make_plan: Callable[..., Plan], directory):
    """Every party must publish all columns and the label; the one that does not is named."""
    for lacking in ("dose", "outcome"):
        rest = {name: kind for name, kind in CLINIC.items() if name != lacking}
        directory["clinic-b"] = listed("clinic-b", small=published(rows=99, **rest))
        with pytest.raises(DataError, match=f"parties.1: 'clinic-b': cohort has no column '{lacking}'"):
            run(make_plan(**by_rows()), directory)


def test_joined_party_is_no_dealer(make_plan: Callable[..., Plan], directory):
    """A data party can't be asked to deal for others either: it joined as what it is."""
    directory["clinic-d"] = listed("clinic-d")
    with pytest.raises(PlanError, match=r"joined as a party, not as a dealer; name one of the dealers: dealer"):
        run(make_plan(dealer="clinic-d"), directory)


def test_dealer_with_a_party_key(make_plan: Callable[..., Plan], directory):
    """A dealer whose key is a party's is the same organisation under two names."""
    directory["dealer"] = Listed("dealer", "dealer", directory["clinic-a"].public_key)
    with pytest.raises(ContractError, match="the dealer must not be a party"):
        run(make_plan(), directory)


def test_figures_are_part_of_the_program(make_plan: Callable[..., Plan], directory):
    """What the plan asks of the held-out rows is what the program evaluates and the contract discloses."""
    contract = run(make_plan(evaluation={"figures": ["auc"]}), directory)
    assert (contract.program.evaluation.rows, contract.program.evaluation.figures) == (25, ("auc",))
    assert [item.name for item in contract.disclosures][-1] == "auc"
    few = run(make_plan(evaluation={"figures": []}, split={"held_out": "0.1"}), directory)
    assert few.program.evaluation is None


def test_columns_resolve_as_their_recipes_read_them(make_plan: Callable[..., Plan], directory):
    """Gaps and text become as many of the engine's columns as the plan says, before anybody shows a value."""
    parties = clinics(columns=["lab", "note"])
    recipes = {"lab": {"missing": "mean", "indicator": True}, "note": {"encoding": "one-hot", "most_levels": 4}}
    contract = run(make_plan(**parties, preparation={"columns": recipes}), directory)
    contract.check_derived()
    assert contract.program.held(1) == list(range(1, 1 + 2 + 5))
    told = [item.values for item in contract.disclosures if item.name == "coefficients"]
    assert told == [1, 7]
    wider = recipes | {"note": {"encoding": "one-hot", "most_levels": 5}}
    changed = contract.model_copy(
        update={"preparation": make_plan(**parties, preparation={"columns": wider}).preparation}
    )
    with pytest.raises(ContractError, match="program is not the one that follows"):
        changed.check_derived()


@pytest.mark.parametrize(
    ("recipe", "what"),
    [
        ({"encoding": "days", "since": "2020-01-01"}, "column 'lab' of cohort holds numbers where dates must be"),
        ({"winsorise": ["0.1", "0.9"]}, "column 'lab' of cohort has missing values"),
    ],
)
def test_a_recipe_that_can_t_read_a_column_is_refused(make_plan: Callable[..., Plan], directory, recipe, what):
    """Kinds and gaps are published: the line comes before anybody is asked."""
    plan = make_plan(**clinics(columns=["lab"]), preparation={"columns": {"lab": recipe}})
    with pytest.raises(DataError, match=what):
        run(plan, directory)
