"""Tables in blocks: parties with the same columns of different records, and others with more of all these records."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from mpc.errors import DisclosureRefused, PeerLost, PrivityError
from mpc.partition import check
from mpc.program import derive
from mpc.simulation import Simulation
from parties.agreement.contract import Contract, Party, beside, disclosures_for, membership, spec_for, training_rows
from parties.agreement.contract_text import _rows
from parties.agreement.joining import comparing_ids
from parties.agreement.kinds import parse_contract
from parties.agreement.leaving import inferences, leaving
from parties.agreement.plan import EvaluationPlan, LabelPlan, parse_plan
from parties.agreement.policy import Circumstances, Policy, judge
from parties.agreement.policy import check as check_policy
from parties.agreement.quote import quote
from parties.columns.division import Division
from parties.columns.preparation import split
from parties.errors import ContractError, DataError, PlanError, PolicyRefusal
from parties.process.matching import compare_classes, join_ids
from parties.process.worker import Prepared, _placed, _standardiser, choose, divide, encode
from tests.contracts.played import quiet_program
from tests.mpc.engine import few
from tests.parties.conftest import numbers

HOSPITAL, INSURER = ("age", "dose"), ("claims",)
AT_INSURER = LabelPlan(party="insurer", column="outcome", positive="yes")
AT_HOSPITALS = LabelPlan(party=("hospital-a", "hospital-b"), column="outcome", positive="yes")


def made(paper: Contract, members: list[tuple[str, tuple[str, ...], int]], label: LabelPlan) -> Contract:
    """A contract of parties with these names, columns and rows."""
    parties = tuple(
        paper.parties[0].model_copy(
            update={"name": name, "public_key": f"{rank + 40}" * 32, "columns": columns, "rows": rows}
        )
        for rank, (name, columns, rows) in enumerate(members)
    )
    facts = (parties, label, paper.model, paper.preparation, paper.split, paper.evaluation, 10)
    program = derive(spec_for(*facts, partition="blocks"))
    return Contract(
        **{name: getattr(paper, name) for name in Contract.model_fields}
        | {
            "partition": "blocks",
            "parties": parties,
            "label": label,
            "matching": "joined-ids",
            "loss_every": program.loss_every,
            "program": program,
            "quote": quote(program, beside("blocks", parties, label, paper.preparation)),
            "disclosures": disclosures_for(program, [party.name for party in parties], membership("blocks", parties)),
        }
    )


@pytest.fixture(scope="module", params=[AT_INSURER, AT_HOSPITALS], ids=["label at the insurer", "at the hospitals"])
def in_blocks(request: Any, paper: Contract) -> Contract:
    """Two hospitals with the same columns of different patients, and an insurer of all of these, in between."""
    return made(
        paper, [("hospital-a", HOSPITAL, 201), ("insurer", INSURER, 300), ("hospital-b", HOSPITAL, 99)], request.param
    )


@pytest.fixture(scope="module")
def sites(paper: Contract) -> Contract:
    """Two sites, each a hospital and a laboratory, and a register that has the label of all."""
    members = [
        ("lab-a", ("iron",), 120),
        ("hospital-a", HOSPITAL, 120),
        ("register", (), 200),
        ("hospital-b", HOSPITAL, 80),
        ("lab-b", ("iron",), 80),
    ]
    return made(paper, members, LabelPlan(party="register", column="outcome", positive="yes"))


def plan_content(**changed: Any) -> dict[str, Any]:
    return {
        "purpose": "predict the outcome",
        "partition": "blocks",
        "parties": [
            {"name": "hospital-a", "data": "cohort", "columns": list(HOSPITAL)},
            {"name": "hospital-b", "data": "cohort", "columns": list(HOSPITAL)},
            {"name": "insurer", "data": "claims", "columns": list(INSURER)},
        ],
        "label": {"party": "insurer", "column": "outcome", "positive": "yes"},
    } | changed


def members(*columns: list[str]) -> dict[str, Any]:
    names = ("hospital-a", "hospital-b", "insurer", "bank", "register")
    parties = [{"name": name, "data": "d", "columns": each} for name, each in zip(names, columns, strict=False)]
    return {"parties": parties}


def at(*parties: str) -> dict[str, Any]:
    return {"label": {"party": list(parties), "column": "outcome", "positive": "yes"}}


def test_a_plan_in_blocks_holds():
    """A party with others' columns has rows of its own; the label is of one party of all rows, or of such partners."""
    assert parse_plan(plan_content()).label.held_by("insurer")
    both = parse_plan(plan_content(**at("hospital-a", "hospital-b"))).label
    assert [both.held_by(name) for name in ("hospital-a", "hospital-b", "insurer")] == [True, True, False]
    assert both.holder == "hospital-a, hospital-b"


BAD_PLANS: dict[str, tuple[dict[str, Any], str]] = {
    "another order": (
        members(["age", "dose"], ["dose", "age"], ["claims"]),
        "'hospital-b' are those of 'hospital-a' in an",
    ),
    "some in common": (
        members(["age", "dose"], ["age", "dose"], ["dose", "claims"]),
        "'hospital-a' and 'insurer' share column 'dose' and not all",
    ),
    "all different": (
        members(["age"], ["dose"], ["claims"]),
        'no two have the same columns; write partition = "columns"',
    ),
    "all the same": (members(["age"], ["age"], ["age"]), 'all have the same columns; write partition = "rows"'),
    "nobody with all rows": (
        members(["age"], ["age"], ["iron"], ["iron"]) | at("hospital-a", "hospital-b"),
        "one at least has columns of all records",
    ),
    "parts that differ": (
        members(["age"], ["age"], ["claims"], ["age"], ["iron"])
        | {
            "parties": [*members(["age"], ["age"], ["claims"], ["age"])["parties"]]
            + [{"name": f"lab-{n}", "data": "d", "columns": ["iron"]} for n in range(2)]
        },
        "hospital-a, hospital-b, bank and lab-0, lab-1 divide their columns among different numbers",
    ),
    "label of a part": (
        {"label": {"party": "hospital-a", "column": "outcome", "positive": "yes"}},
        "label.party: name hospital-a, hospital-b, in this order",
    ),
    "label in another order": (
        at("hospital-b", "hospital-a"),
        "label.party: name hospital-a, hospital-b, in this order",
    ),
    "label of more": (at("hospital-a", "hospital-b", "insurer"), "label.party: name hospital-a, hospital-b, in this"),
    "label of nobody": (at("clinic", "hospital-b"), "label.party: 'clinic' is not one of the parties"),
    "no label": ({"label": {"column": "outcome", "positive": "yes"}}, "label.party: is missing"),
    "several by columns": ({"partition": "columns"} | at("hospital-a", "insurer"), "name one party; several"),
    "several by rows": (
        {"partition": "rows"} | members(["age"], ["age"]) | at("hospital-a", "hospital-b"),
        "label.party: leave it out",
    ),
    "label as a feature": (
        at("hospital-a", "hospital-b") | members(["outcome"], ["outcome"], ["claims"]),
        "can't be a f",
    ),
    "nothing": (members(["age"], ["age"], []) | at("hospital-a", "hospital-b"), "brings neither columns nor the label"),
}


@pytest.mark.parametrize("case", BAD_PLANS)
def test_a_bad_plan_in_blocks_is_one_line(case):
    """Each layout that is none says what is wrong, and names the parties."""
    changed, says = BAD_PLANS[case]
    with pytest.raises(PlanError, match=says) as caught:
        parse_plan(plan_content(**changed))
    assert str(caught.value).isprintable()


def test_a_contract_in_blocks_says_all_that_is_opened(in_blocks):
    """Moments and coefficients of shared columns to those who have them, others' to their owner, not to the gateway."""
    hospitals = "parties:hospital-a,hospital-b"
    owner = "party:insurer" if in_blocks.label == AT_INSURER else hospitals
    assert [(item.name, item.recipient, item.values) for item in in_blocks.disclosures[:4]] == [
        ("moments", hospitals, 4),
        ("coefficients", hospitals, 2),
        ("coefficients", "party:insurer", 1),
        ("intercept", owner, 1),
    ]
    assert {item.recipient for item in in_blocks.disclosures[4:-1]} == {"session"}
    told = in_blocks.disclosures[-1]
    assert (told.name, told.recipient, told.count, told.values) == ("membership", "party:insurer", 1, 300)
    assert parse_contract(in_blocks.canonical()) == in_blocks
    in_blocks.check_derived()


def test_each_part_holds_out_some_of_its_rows(in_blocks):
    """The same records everywhere: who has all of them trains on each partner's, in the partners' order."""
    counts = [training_rows(rows, in_blocks.split.held_out) for rows in (201, 99)]
    assert counts == [151, 75]
    assert [in_blocks.training_rows(party.name) for party in in_blocks.parties] == [151, 226, 75]
    program = in_blocks.program
    assert [(block.owner, block.rows, block.columns) for block in program.blocks] == [
        (0, (0, 151), (0, 2)),
        (2, (151, 226), (0, 2)),
        (1, (0, 226), (2, 3)),
    ]
    assert [part.owner for part in program.labels] == ([1] if in_blocks.label == AT_INSURER else [0, 2])


@few
@given(
    st.lists(st.sampled_from(["a", "b", "c", "", "a", "b"]), min_size=2, max_size=8).filter(any),
    st.lists(st.integers(1, 5), min_size=8, max_size=8),
)
def test_blocks_tile_the_table(columns, rows):
    """Whatever columns parties share, if the layout is one its blocks are a table's, exactly once."""
    parties = [
        Party(
            name=f"p{rank}",
            public_key=f"{rank + 10}" * 32,
            data="d",
            data_version="ab" * 16,
            schema_sha256="5a" * 32,
            id_column="id",
            columns=tuple(each),
            rows=1,
        )
        for rank, each in enumerate(columns)
    ]
    division = Division.of("blocks", parties)
    if not division.whole or len({len(side) for side in division.divided}) > 1:
        return
    counts = rows[: division.parts]
    parties = [
        party.model_copy(update={"rows": sum(counts[part] for part in division.parts_of(rank))})
        for rank, party in enumerate(parties)
    ]
    division.check_rows(parties)
    assert division.counts(parties) == tuple(counts)
    for side in division.sides:
        found = division.partition(counts, [len(party.columns) for party in parties], side)
        if all(party.columns or rank in side for rank, party in enumerate(parties)):
            check(found)
            assert found.rows == sum(counts)


BAD_CONTRACTS: dict[str, tuple[dict[str, Any], str]] = {
    "ids compared": ({"matching": "equal-ids"}, "matching: a table in blocks needs joined-ids"),
    "by columns": ({"partition": "columns"}, "divided by columns needs equal-ids"),
    "another label": (
        {"label": {"party": "hospital-b", "column": "outcome", "positive": "yes"}},
        "name hospital-a, hospital-b",
    ),
}


@pytest.mark.parametrize("case", BAD_CONTRACTS)
def test_a_bad_contract_in_blocks_is_refused(in_blocks, case):
    """A contract of one kind with parts of another does not parse."""
    changed, says = BAD_CONTRACTS[case]
    with pytest.raises(ContractError, match=says):
        parse_contract(rfc8785.dumps(json.loads(in_blocks.canonical()) | changed))


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_rows_that_do_not_add_up_are_refused(in_blocks, rank):
    """Partners' rows together are those of who has all."""
    content = json.loads(in_blocks.canonical())
    content["parties"][rank]["rows"] += 1
    with pytest.raises(
        ContractError, match=r"differ in rows: hospital-a \d+, hospital-b \d+, but insurer \d+; all must"
    ):
        parse_contract(rfc8785.dumps(content))


def test_parts_have_as_many_rows_at_every_party(sites):
    """Of two sides that are divided, each part."""
    content = json.loads(sites.canonical())
    content["parties"][3]["rows"], content["parties"][1]["rows"] = 81, 119
    with pytest.raises(ContractError, match="lab-a 120, lab-b 80, but hospital-a 119, hospital-b 81"):
        parse_contract(rfc8785.dumps(content))


def ids(first: int, last: int) -> tuple[str, ...]:
    return tuple(sorted(f"patient {number}" for number in range(first, last)))


def joined(contract: Contract, lists: list[tuple[str, ...]]) -> list[Any]:
    """What each party finds, or the error that it ends with."""
    contract = contract.model_copy(
        update={
            "parties": tuple(
                party.model_copy(update={"rows": len(each)})
                for party, each in zip(contract.parties, lists, strict=True)
            )
        }
    )

    def party(runtime: Any) -> Any:
        try:
            return join_ids(runtime.channel, runtime.keys, lists[runtime.rank], contract, lambda: None)
        except PrivityError as error:
            runtime.channel._channel.close()
            return error

    return Simulation(quiet_program(len(lists))).run(party)


def test_who_has_all_records_learns_which_are_whose(in_blocks):
    """In the partners' order, as places in its own list; partners find their own rows, in order."""
    a, b, everyone = ids(0, 40), ids(40, 55), ids(0, 55)
    first, whole, second = joined(in_blocks, [a, everyone, b])
    assert [[everyone[place] for place in part] for part in whole] == [list(a), list(b)]
    assert [part.tolist() for part in (*first, *second)] == [list(range(40)), list(range(15))]


def test_sites_are_joined(sites):
    """Of several divided sides, the same part has the same records at each."""
    a, b, everyone = ids(0, 20), ids(20, 31), ids(0, 31)
    found = joined(sites, [a, a, everyone, b, b])
    assert [[everyone[place] for place in part] for part in found[2]] == [list(a), list(b)]


BAD_IDS = {
    "one that both have": [ids(0, 40), ids(0, 55), ids(39, 55)],
    "one that both have, of as many": [ids(0, 40), ids(0, 55), ids(39, 54)],
    "one too few": [ids(0, 40), ids(0, 55), ids(41, 55)],
    "one too many": [ids(0, 40), ids(0, 55), ids(40, 56)],
    "another": [ids(0, 40), ids(0, 55), (*ids(40, 54), "patient x")],
    "none in common": [ids(100, 140), ids(0, 55), ids(140, 155)],
}


@pytest.mark.parametrize("case", BAD_IDS)
def test_ids_that_do_not_fit_end_the_session(in_blocks, case):
    """Every party says whose lists do not fit, by name and count, and no id; nobody learns which record is whose."""
    for error in joined(in_blocks, BAD_IDS[case]):
        assert isinstance(error, DataError)
        assert "hospital-a (40 rows) and hospital-b" in str(error)
        assert "insurer (55 rows)" in str(error)
        assert "are not the same" in str(error)
        assert "patient" not in str(error)


def test_records_at_another_site_end_the_session(sites):
    """A laboratory whose list is of the other site's records, of as many, is named."""
    a, b, everyone = ids(0, 20), ids(20, 40), ids(0, 40)
    found = joined(sites, [b, a, everyone, b, a])
    assert any("lab-a (20 rows) and of hospital-a (20 rows)" in str(error) for error in found)
    assert all(isinstance(error, DataError | PeerLost) for error in found)


def test_nobody_is_told_of_records_that_it_lacks(in_blocks):
    """A modified insurer that sends back what it was sent, to seem to have the same records, is told of none."""
    lists = [ids(0, 201), (), ids(201, 300)]

    def party(runtime: Any) -> int:
        channel = runtime.channel
        if runtime.rank != 1:
            with pytest.raises(DataError, match="are not the same"):
                join_ids(channel, runtime.keys, lists[runtime.rank], in_blocks, lambda: None)
            return channel.counters.sent_by_name.get("records", 0)
        expected = {0: ("u1", (32,)), 2: ("u1", (32,))}
        heard = channel.exchange("id totals", {}, expected)
        channel.exchange("id totals", {0: heard[2], 2: heard[0]}, {})
        return 0

    assert Simulation(quiet_program(3)).run(party) == [0, 0, 0]


def test_nobody_is_told_whose_a_record_is_unless_that_is_recorded(in_blocks):
    """A node that refuses the disclosure ends the session before anything of a record leaves its party."""
    lists = [ids(0, 201), ids(0, 300), ids(201, 300)]

    def refuse() -> None:
        raise DisclosureRefused("not recorded")

    def party(runtime: Any) -> int:
        with pytest.raises(DisclosureRefused):
            join_ids(runtime.channel, runtime.keys, lists[runtime.rank], in_blocks, refuse)
        return runtime.channel.counters.sent_by_name.get("records", 0)

    assert Simulation(quiet_program(3)).run(party) == [0, 0, 0]


def test_a_policy_may_refuse_membership(in_blocks):
    """Who does not want it told names its disclosures without it."""
    others = tuple(name for name in Policy().disclosures if name != "membership")
    judged = judge(Policy(disclosures=others), in_blocks, "hospital-a", Circumstances(datetime.now(UTC)))
    with pytest.raises(PolicyRefusal, match="the contract discloses membership"):
        check_policy(judged)


def test_what_joining_costs(in_blocks):
    """Three rounds at each party; only who has all records is sent anything of each record."""
    lists = [ids(0, 40), ids(0, 55), ids(40, 55)]
    contract = in_blocks.model_copy(
        update={
            "parties": tuple(
                p.model_copy(update={"rows": len(i)}) for p, i in zip(in_blocks.parties, lists, strict=True)
            )
        }
    )

    def party(runtime: Any) -> tuple[int, int]:
        counters = runtime.channel.counters
        before = counters.rounds, counters.bytes_sent
        join_ids(runtime.channel, runtime.keys, lists[runtime.rank], contract, lambda: None)
        return counters.rounds - before[0], counters.bytes_sent - before[1]

    header, digest = 124, 32
    assert Simulation(quiet_program(3)).run(party) == [
        (3, 3 * (header + digest) + header + 16 * 40),
        (3, 2 * (header + digest)),
        (3, 3 * (header + digest) + header + 16 * 15),
    ]


TWICE_DIVIDED = [
    ("ward-a", HOSPITAL, 80),
    ("lab-a", INSURER, 80),
    ("bank", ("income",), 140),
    ("ward-b", HOSPITAL, 60),
    ("lab-b", INSURER, 60),
]
ONCE_DIVIDED = [("ward-a", HOSPITAL, 80), ("insurer", INSURER, 140), ("ward-b", HOSPITAL, 60)]


@pytest.mark.parametrize("members", [ONCE_DIVIDED, TWICE_DIVIDED], ids=["one side divided", "two"])
def test_joining_costs_what_the_quote_says(paper, members):
    """Its commitment included, at every party, to the byte."""
    holder = tuple(name for name, columns, _ in members if columns == HOSPITAL)
    contract = made(paper, members, LabelPlan(party=holder, column="outcome", positive="yes"))
    lists = [ids(80, 140) if rows == 60 else ids(0, rows) for _, _, rows in members]

    def party(runtime: Any) -> tuple[int, int]:
        counters = runtime.channel.counters
        before = counters.rounds, counters.bytes_sent
        join_ids(runtime.channel, runtime.keys, lists[runtime.rank], contract, runtime.commitments.commit)
        return counters.rounds - before[0], counters.bytes_sent - before[1]

    said = comparing_ids(contract.division, contract.parties)
    assert Simulation(quiet_program(len(members))).run(party) == [(each.rounds, each.bytes_sent) for each in said]


def test_classes_are_compared_among_those_who_have_the_label(paper):
    """The insurer is not asked; a hospital that writes another class is named."""
    contract = made(
        paper, [("hospital-a", HOSPITAL, 201), ("insurer", INSURER, 300), ("hospital-b", HOSPITAL, 99)], AT_HOSPITALS
    )

    def party(runtime: Any) -> str:
        if runtime.rank == 1:
            return ""
        try:
            compare_classes(runtime.channel, runtime.keys, ("no", "yes" if runtime.rank else "si"), contract)
        except DataError as error:
            return str(error)
        return "none"

    first, insurer, second = Simulation(quiet_program(3)).run(party)
    assert insurer == ""
    assert "classes at hospital-a and at hospital-b are not the same" in first
    assert "hospital-b and at hospital-a" in second


def shuffled() -> tuple[tuple[str, ...], list[list[str]]]:
    """Ids of all records and of each part, as shuffled as real ones."""
    everyone = ids(0, 300)
    order = np.random.default_rng(3).permutation(everyone).tolist()
    return everyone, [sorted(order[:201]), sorted(order[201:])]


def test_records_stand_in_the_same_rows_everywhere(in_blocks):
    """Training and held-out rows of who has all parts are, row by row, the partners' records."""
    everyone, parts = shuffled()
    places = tuple(np.array([everyone.index(record) for record in part]) for part in parts)
    values = np.random.default_rng(1).normal(size=(300, 1))
    whole = Prepared(everyone, numbers(INSURER, values), None, None, None)
    chosen = choose(in_blocks, whole, divide(in_blocks, whole, places), {})
    for kind in (0, 1):
        of_partners = [
            record for part in parts for record in np.array(part)[split(part, in_blocks.split_key, "0.25")[kind]]
        ]
        own = chosen.training if kind == 0 else chosen.held_out
        assert [everyone[row] for row in own] == of_partners
    rank = in_blocks.rank("insurer")
    encoded = encode(in_blocks, rank, whole.columns, chosen, chosen.encoding)
    assert encoded.standardiser is not None
    assert np.allclose(encoded.standardiser.mean, values[chosen.training].mean(axis=0))


def test_columns_of_partners_are_standardised_together(in_blocks):
    """Means and deviations of shared columns are of all training rows; the others' owner keeps its own to itself."""
    everyone, parts = shuffled()
    facts = (in_blocks.parties, in_blocks.label, in_blocks.model, in_blocks.preparation, in_blocks.split)
    changes = {"engine": "reference", "solver": None}
    quiet = derive(spec_for(*facts, EvaluationPlan(figures=()), 0, partition="blocks").model_copy(update=changes))
    contract = in_blocks.model_copy(update={"program": quiet})
    values = dict(zip(everyone, np.random.default_rng(1).normal(size=(300, 3)) * [1, 1e3, 7] + [5, -1, 2], strict=True))
    lists = [parts[0], list(everyone), parts[1]]
    columns = [slice(0, 2), slice(2, 3), slice(0, 2)]

    def party(runtime: Any) -> Any:
        rank = runtime.rank
        own = lists[rank]
        places = [range(len(own))] if rank != 1 else [[own.index(record) for record in part] for part in parts]
        X = np.array([values[record][columns[rank]] for record in own])
        prepared = Prepared(tuple(own), numbers(contract.parties[rank].columns, X), None, None, None)
        chosen = choose(contract, prepared, divide(contract, prepared, tuple(map(np.array, places))), {})
        encoded = encode(contract, rank, prepared.columns, chosen, chosen.encoding)
        found = _standardiser(contract, chosen, encoded, runtime)
        placed = _placed(quiet, quiet, rank, X, None, chosen.training).block
        return found, placed, [own[row] for row in chosen.training]

    found = Simulation(quiet).run(party)
    order = [*found[0][2], *found[2][2]]
    assert found[1][2] == order
    pooled = np.array([values[record] for record in order])
    assert found[0][0] == found[2][0]
    assert np.allclose(found[0][0].mean, pooled[:, :2].mean(axis=0), rtol=1e-9)
    assert np.allclose(found[0][0].deviation, pooled[:, :2].std(axis=0), rtol=1e-7)
    assert np.allclose(found[1][0].mean, pooled[:, 2:].mean(axis=0), rtol=1e-9)
    assert (found[0][1] + found[2][1] == pooled[:, :2]).all()
    assert (found[1][1] == pooled[:, 2:]).all()


def test_an_operator_reads_how_many_rows_train(in_blocks):
    """Of the joint table, and of each party."""
    assert _rows(in_blocks) == (
        "226 for training, each at one of those with the same columns: hospital-a 151, insurer 226, hospital-b 75"
    )


def test_an_operator_reads_who_learns_what(in_blocks):
    """Before signing: who can tell which record is whose, and what joint sums tell partners."""
    said = {party.name: " ".join(inferences(in_blocks, party.name)) for party in in_blocks.parties}
    assert "hospital-b can subtract from the joint sums" in said["hospital-a"]
    assert "hospital-b, if guessing our whole list" in said["hospital-a"]
    assert "subtract" not in said["insurer"]
    assert all("those with the same columns together are those of the others" in each for each in said.values())
    lines = [line.what for line in leaving(in_blocks, "hospital-a")]
    (told,) = [line for line in leaving(in_blocks, "hospital-a") if line.clause == in_blocks.disclosures[-1].clause]
    assert (told.what, told.to) == ("Which of the parties with the same columns has each record", "insurer alone")
    assert "The model’s coefficients of the columns of hospital-a and hospital-b" in lines
    assert "The model’s coefficients of insurer’s own columns" in lines
