"""Tables that are divided by rows: what plan, contract, policy and worker make of parties with records of their own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import rfc8785
from sklearn.preprocessing import StandardScaler

from mpc.errors import RangeExceeded
from mpc.program import derive
from mpc.simulation import Simulation
from parties.agreement.contract import Contract, Disclosure, beside, disclosures_for, spec_for, training_rows
from parties.agreement.kinds import parse_contract
from parties.agreement.plan import EvaluationPlan, LabelPlan, parse_plan, partition_of
from parties.agreement.policy import Circumstances, Policy, check, judge
from parties.agreement.quote import quote
from parties.columns.encoding import Encoding
from parties.columns.preparation import Standardiser
from parties.columns.recipe import PreparationPlan, Recipe
from parties.errors import ContractError, DataError, PlanError, PolicyRefusal
from parties.process.matching import compare_classes, compare_ids
from parties.process.worker import Chosen, Encoded, Prepared, _placed, _standardiser
from tests.contracts.played import quiet_program
from tests.parties.conftest import numbers, plain

ROWS = (200, 100, 61)
NAMES = ("clinic-a", "clinic-b", "clinic-c")
COLUMNS = ("age", "dose")


def checked(policy: Policy, contract: Contract, name: str) -> None:
    check(judge(policy, contract, name, Circumstances(datetime.now(UTC))))


def plan_content(**changed: Any) -> dict[str, Any]:
    return {
        "purpose": "predict the outcome",
        "partition": "rows",
        "parties": [{"name": name, "data": "cohort", "columns": list(COLUMNS)} for name in NAMES[:2]],
        "label": {"column": "outcome", "positive": "yes"},
    } | changed


@pytest.fixture(scope="module")
def by_rows(paper: Contract) -> Contract:
    return made(paper, paper.preparation)


def made(paper: Contract, preparation: PreparationPlan) -> Contract:
    """Three clinics with records of their own and the same columns."""
    parties = tuple(
        paper.parties[0].model_copy(
            update={"name": name, "public_key": f"{number + 4}{number + 4}" * 32, "rows": rows, "columns": COLUMNS}
        )
        for number, (name, rows) in enumerate(zip(NAMES, ROWS, strict=True))
    )
    label = LabelPlan(column="outcome", positive="yes")
    facts = (parties, label, paper.model, preparation, paper.split, paper.evaluation, 10)
    program = derive(spec_for(*facts, partition="rows"))
    return Contract(
        **{name: getattr(paper, name) for name in Contract.model_fields}
        | {
            "partition": "rows",
            "parties": parties,
            "label": label,
            "matching": "equal-classes",
            "preparation": preparation,
            "loss_every": program.loss_every,
            "program": program,
            "quote": quote(program, beside("rows", parties, label, preparation)),
            "disclosures": disclosures_for(program, list(NAMES)),
        }
    )


def altered(contract: Contract, **changed: Any) -> bytes:
    return rfc8785.dumps(json.loads(contract.canonical()) | changed)


def test_a_plan_by_rows_holds():
    """Parties list the same columns; nobody is named as the label's party, because all are."""
    plan = parse_plan(plan_content())
    assert plan.label.held_by("clinic-a")
    assert plan.label.held_by("clinic-b")
    assert plan.label.holder == "every party"


BAD_PLANS: dict[str, tuple[dict[str, Any], str]] = {
    "other columns": (
        {
            "parties": [
                {"name": "clinic-a", "data": "cohort", "columns": ["age"]},
                {"name": "clinic-b", "data": "cohort", "columns": ["dose"]},
            ]
        },
        "columns of 'clinic-b' are not those of 'clinic-a', in the same order",
    ),
    "another order": (
        {
            "parties": [
                {"name": "clinic-a", "data": "cohort", "columns": ["age", "dose"]},
                {"name": "clinic-b", "data": "cohort", "columns": ["dose", "age"]},
            ]
        },
        "in the same order",
    ),
    "the label's party": (
        {"label": {"party": "clinic-a", "column": "outcome", "positive": "yes"}},
        "label.party: leave it out",
    ),
    "label as a feature": ({"label": {"column": "dose", "positive": "yes"}}, "can't be a feature"),
    "no label's party by columns": ({"partition": "columns"}, "label.party: is missing"),
    "another partition": ({"partition": "both"}, "partition: Input should be 'columns', 'rows' or 'blocks'"),
    "no columns": (
        {"parties": [{"name": name, "data": "cohort"} for name in NAMES]},
        "parties: 'clinic-a' names no columns",
    ),
}


@pytest.mark.parametrize("case", BAD_PLANS)
def test_a_bad_plan_by_rows_is_one_line(case):
    """Each way to go wrong names the key."""
    changed, says = BAD_PLANS[case]
    with pytest.raises(PlanError, match=says) as caught:
        parse_plan(plan_content(**changed))
    assert str(caught.value).isprintable()


def test_a_partition_has_a_name():
    """What the command line takes."""
    assert [partition_of(kind) for kind in ("rows", "columns", "blocks")] == ["rows", "columns", "blocks"]
    with pytest.raises(PlanError, match="write columns, rows or blocks"):
        partition_of("both")


def test_a_contract_by_rows_says_all_that_is_opened(by_rows):
    """Moments, coefficients and intercept to all parties and not to the gateway; it survives its bytes."""
    everybody = "parties:clinic-a,clinic-b,clinic-c"
    assert [(item.name, item.recipient, item.values) for item in by_rows.disclosures[:3]] == [
        ("moments", everybody, 4),
        ("coefficients", everybody, 2),
        ("intercept", everybody, 1),
    ]
    assert {item.recipient for item in by_rows.disclosures[3:]} == {"session"}
    assert parse_contract(by_rows.canonical()) == by_rows
    by_rows.check_derived()


def test_each_party_holds_out_some_of_its_own_rows(by_rows):
    """Training rows of all parties, one below the other, are the program's; a label belongs to its row's owner."""
    counts = [training_rows(rows, by_rows.split.held_out) for rows in ROWS]
    assert counts == [150, 75, 46] == [by_rows.training_rows(name) for name in NAMES]
    assert by_rows.program.rows == sum(counts)
    assert [block.rows for block in by_rows.program.blocks] == [(0, 150), (150, 225), (225, 271)]
    assert [part.rows for part in by_rows.program.labels] == [block.rows for block in by_rows.program.blocks]


BAD_CONTRACTS: dict[str, tuple[dict[str, Any], str]] = {
    "by columns": ({"partition": "columns", "matching": "equal-ids"}, "label.party: is missing"),
    "ids compared": ({"matching": "equal-ids"}, "a table divided by rows needs equal-classes"),
    "classes of a table by columns": ({"partition": "columns"}, "needs equal-ids"),
    "label's party": (
        {"label": {"party": "clinic-a", "column": "outcome", "positive": "yes"}},
        "label.party: leave it out",
    ),
}


@pytest.mark.parametrize("case", BAD_CONTRACTS)
def test_a_bad_contract_by_rows_is_refused(by_rows, case):
    """A contract of one kind with parts of the other does not parse."""
    changed, says = BAD_CONTRACTS[case]
    with pytest.raises(ContractError, match=says):
        parse_contract(altered(by_rows, **changed))


def test_a_party_s_other_columns_are_refused(by_rows):
    """Whoever writes the contract can't have parties bring different columns under one name of a coefficient."""
    parties = [json.loads(party.model_dump_json()) for party in by_rows.parties]
    parties[2]["columns"] = ["dose", "age"]
    with pytest.raises(ContractError, match="columns of 'clinic-c' are not those of 'clinic-a'"):
        parse_contract(altered(by_rows, parties=parties))


@pytest.mark.parametrize("path", ["rows", "owner"])
def test_blocks_follow_from_the_parties(by_rows, path):
    """Rows can't be moved from one party to another under the program."""
    program = json.loads(by_rows.program.model_dump_json())
    if path == "rows":
        program["blocks"][0]["rows"][1], program["blocks"][1]["rows"][0] = 149, 149
    else:
        program["labels"][2]["owner"] = 0
    with pytest.raises(ContractError, match="program is not the one that follows"):
        parse_contract(altered(by_rows, program=program)).check_derived()


@pytest.mark.parametrize(
    "recipient",
    [
        "parties:",
        "parties:a",
        "parties:a,",
        "parties:a,B",
        "parties:a,b ",
        "party:a,b",
        "parties:" + ",".join("a" * 17),
    ],
)
def test_recipients_are_names(recipient):
    """One party is `party:NAME`, several `parties:NAME,NAME`, up to sixteen."""
    with pytest.raises(ValueError, match="recipient"):
        Disclosure(clause="disclosures.0", name="moments", recipient=recipient, count=1, values=1)


def test_a_policy_asks_for_own_rows(by_rows):
    """The least number of training rows is of this organisation's: its moments tell of them alone."""
    allowed = Policy(min_training_rows=75)
    checked(allowed, by_rows, "clinic-a")
    checked(allowed, by_rows, "clinic-b")
    with pytest.raises(PolicyRefusal, match="46 training rows; the policy asks for 75"):
        checked(allowed, by_rows, "clinic-c")
    others = tuple(name for name in Policy().disclosures if name != "moments")
    with pytest.raises(PolicyRefusal, match="discloses moments"):
        checked(Policy(disclosures=others), by_rows, "clinic-a")
    with pytest.raises(PolicyRefusal, match="outcome never takes part"):
        checked(Policy(never_columns=("outcome",)), by_rows, "clinic-b")


def test_what_needs_no_fitting_is_standardised_together(paper):
    """Bins and gaps of all owners: as scikit-learn standardises the pooled columns; levels nobody has are zeros."""
    recipe = Recipe(edges=("0", "99"), missing="own")  # nobody has the highest bin
    contract = made(paper, PreparationPlan(columns={"dose": recipe}))
    assert [contract.program.held(rank) for rank in range(3)] == [[0, 1, 2, 3, 4]] * 3
    generator = np.random.default_rng(6)
    raw = generator.normal(size=(contract.program.rows, 2))
    raw[generator.random(len(raw)) < 0.2, 1] = np.nan
    encoding = Encoding.fit(contract.preparation, numbers(COLUMNS, raw), np.arange(len(raw)))
    values = encoding.apply(numbers(COLUMNS, raw), len(raw))
    first, *others = played(contract, values, encoding)
    assert others == [first, first]
    assert first.names == ("age", "dose below 0", "dose from 0 to below 99", "dose from 99", "dose is missing")
    assert first.used.tolist() == [True, True, True, False, True]
    np.testing.assert_allclose(first.apply(values), StandardScaler().fit_transform(values), atol=1e-9)


def test_a_column_that_varies_nowhere_is_refused_by_all(paper):
    """Where all values of all owners lie in one bin, everybody who has the column is told so."""
    contract = made(paper, PreparationPlan(columns={"dose": Recipe(edges=("99",))}))
    raw = np.random.default_rng(6).normal(size=(contract.program.rows, 2))
    encoding = Encoding.fit(contract.preparation, numbers(COLUMNS, raw), np.arange(len(raw)))
    with pytest.raises(DataError, match="column 'dose' has the same value in every training row"):
        played(contract, encoding.apply(numbers(COLUMNS, raw), len(raw)), encoding)


def prepared(by_rows: Contract, rank: int, values: np.ndarray, encoding: Encoding | None = None) -> Prepared:
    part = by_rows.program.blocks[rank].place[0]
    labels = (np.arange(by_rows.program.rows) % 2)[part].astype(np.int64)
    made_of = encoding or plain(*by_rows.parties[rank].columns)
    chosen = Chosen(np.arange(len(labels)), np.arange(0), made_of)
    return Prepared((), (), labels, ("no", "yes"), chosen, Encoded(made_of, values[part], None))


def played(by_rows: Contract, values: np.ndarray, encoding: Encoding | None = None) -> list[Standardiser]:
    """Every party's joint standardiser, beside a dealer that only answers."""
    facts = (
        by_rows.parties,
        by_rows.label,
        by_rows.model,
        by_rows.preparation,
        by_rows.split,
        EvaluationPlan(figures=()),
    )
    changes = {"engine": "reference", "solver": None}
    quiet = derive(spec_for(*facts, 0, partition="rows").model_copy(update=changes))
    contract = by_rows.model_copy(update={"program": quiet})

    def party(runtime: Any) -> Standardiser:
        ready = prepared(by_rows, runtime.rank, values, encoding)
        return _standardiser(contract, ready.chosen, ready.encoded, runtime)

    return Simulation(quiet).run(party)


def test_all_standardise_alike(by_rows):
    """Means and deviations are those of all training rows, the same bits at every party, in the columns' order."""
    values = np.random.default_rng(1).normal(size=(by_rows.program.rows, 2)) * [1e-3, 1e6] + [0.5, -3e7]
    first, *others = played(by_rows, values)
    assert others == [first, first]
    assert first.names == COLUMNS
    assert np.allclose(first.mean, values.mean(axis=0), rtol=1e-9)
    assert np.allclose(first.deviation, values.std(axis=0), rtol=1e-7)
    assert first.clip == 32


def test_a_column_may_be_constant_at_one_party_but_not_at_all(by_rows):
    """What matters is whether it varies among all training rows; if not, everybody hears which column it is."""
    values = np.ones((by_rows.program.rows, 2))
    values[:, 0] = np.arange(len(values)) < 150  # constant at each of the three
    values[0, 1] = 2
    assert played(by_rows, values)[0].deviation[0] > 0.4
    values[0, 1] = 1
    with pytest.raises(DataError, match="column 'dose' has the same value in every training row"):
        played(by_rows, values)


def test_values_too_great_for_joint_moments_are_refused(by_rows):
    """Before anything is opened, and without the value."""
    values = np.random.default_rng(1).normal(size=(by_rows.program.rows, 2))
    values[3, 1] = 2e12
    with pytest.raises(RangeExceeded, match="larger units"):
        played(by_rows, values)


def test_own_rows_stand_at_their_places(by_rows):
    """Over all parties, placed rows and labels add up to the joint table."""
    values = np.random.default_rng(1).normal(size=(by_rows.program.rows, 2))
    parts = [prepared(by_rows, rank, values) for rank in range(3)]
    program = by_rows.program
    placed = [
        _placed(program, program, rank, part.encoded.values, part.labels, part.chosen.training)
        for rank, part in enumerate(parts)
    ]
    assert (sum(each.block for each in placed) == values).all()
    assert (np.sum([each.labels for each in placed], axis=0) == np.arange(program.rows) % 2).all()
    assert _placed(program, program, 0, parts[0].encoded.values, None, parts[0].chosen.training).labels is None
    assert "0." not in repr(parts[0])


@pytest.mark.parametrize("classes", [("ja", "nein"), ("no", "yes "), ("n", "oyes"), ("yes", "no")])
def test_classes_that_differ_end_the_session(by_rows, classes):
    """Every party hears whose labels are of other classes, and no class is in the sentence."""

    def party(runtime: Any) -> str:
        own = classes if runtime.rank == 1 else ("no", "yes")
        with pytest.raises(DataError) as caught:
            compare_classes(runtime.channel, runtime.keys, own, by_rows)
        return str(caught.value)

    said = Simulation(quiet_program(3)).run(party)
    assert all("clinic-b" in line and "same values" in line for line in said)
    assert not any(word.strip() in line.split() for word in classes for line in said)


def test_classes_that_are_the_same_cost_one_round(by_rows):
    """Digests alone travel: 32 bytes to each peer."""

    def party(runtime: Any) -> tuple[int, int]:
        counters = runtime.channel.counters
        before = counters.rounds, counters.bytes_sent
        compare_classes(runtime.channel, runtime.keys, ("no", "yes"), by_rows)
        return counters.rounds - before[0], counters.bytes_sent - before[1]

    assert Simulation(quiet_program(3)).run(party) == [(1, 2 * (124 + 32))] * 3


def test_ids_that_differ_end_the_session(by_rows):
    """The comparison of a table by columns names both parties and both counts."""

    def party(runtime: Any) -> str:
        ids = ("a", "b") if runtime.rank else ("a", "b", "c")
        try:
            compare_ids(runtime.channel, runtime.keys, ids, by_rows)
        except DataError as error:
            return str(error)
        return ""

    said = Simulation(quiet_program(3)).run(party)
    assert "clinic-a (3 rows) and of clinic-b (2 rows)" in said[0]
    assert "clinic-b (2 rows) and of clinic-a (3 rows)" in said[1]
