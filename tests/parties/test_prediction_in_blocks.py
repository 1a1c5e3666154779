"""Predictions by models of tables in blocks: whose new records are scored, and how they are found at each party."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rfc8785

from mpc.errors import PrivityError
from mpc.prediction_program import derive_prediction
from mpc.simulation import Simulation
from parties.agreement.contract import Contract, disclosures_for, membership
from parties.agreement.contract_text import leaves
from parties.agreement.joining import comparing_ids
from parties.agreement.kinds import parse_contract
from parties.agreement.leaving import inferences
from parties.agreement.plan import RetentionPlan
from parties.agreement.prediction import PredictionContract, spec_for
from parties.agreement.quote import quote
from parties.columns.division import Division
from parties.errors import ContractError, DataError
from parties.process.job import Answer
from parties.process.predicting import _placed, _scored
from parties.process.signer import NodeSigner
from tests.contracts.played import quiet_program
from tests.parties.test_in_blocks import AT_INSURER, HOSPITAL, INSURER, made

NEW = {"hospital-a": 5, "insurer": 12, "hospital-b": 7}


@pytest.fixture(scope="module")
def trained(paper: Contract) -> Contract:
    """A training in blocks that keeps its model."""
    rows = [("hospital-a", HOSPITAL, 201), ("insurer", INSURER, 300), ("hospital-b", HOSPITAL, 99)]
    return made(paper, rows, AT_INSURER).model_copy(update={"retention": RetentionPlan(model_days=30)})


def drafted(trained: Contract, recipient: str) -> PredictionContract:
    """New records, held as those of the training."""
    parties = tuple(each.model_copy(update={"data": "new", "rows": NEW[each.name]}) for each in trained.parties)
    facts = trained.preparation, trained.model.fit_intercept, trained.label.told_apart
    program = derive_prediction(spec_for("blocks", parties, recipient, *facts))
    told = disclosures_for(program, [party.name for party in parties], membership("blocks", parties))
    return PredictionContract(
        **{name: getattr(trained, name) for name in ("nonce", "created", "expires", "purpose", "legal_basis")},
        dealer=trained.dealer,
        impact_assessment="",
        parties=parties,
        quote=quote(program, comparing_ids(Division.of("blocks", parties), parties)),
        disclosures=told,
        partition="blocks",
        matching="joined-ids",
        model=trained.digest,
        recipient=recipient,
        preparation=trained.preparation,
        fit_intercept=trained.model.fit_intercept,
        told_apart=trained.label.told_apart,
        program=program,
    )


@pytest.mark.parametrize("recipient", NEW)
def test_rows_are_those_that_the_recipient_has(trained, recipient):
    """Who has all records is told of all, a hospital of its own alone; the contract is derived again by everybody."""
    contract = drafted(trained, recipient)
    found = parse_contract(contract.canonical())
    assert found == contract
    found.check_derived()
    found.check_model(trained)
    assert contract.program.rows == NEW[recipient]
    assert [(item.name, item.recipient, item.values) for item in contract.disclosures] == [
        ("probabilities", f"party:{recipient}", NEW[recipient]),
        ("membership", "party:insurer", 12),
    ]
    others = {"hospital-a": 2, "hospital-b": 0}.get(recipient)
    assert others is None or contract.program.held(others) == []


def test_it_must_be_divided_as_the_training(trained):
    """Another division than the training's is refused by whoever keeps a share."""
    by_columns = {"partition": "columns", "matching": "equal-ids"}
    with pytest.raises(ContractError, match="not those of the training"):
        drafted(trained, "insurer").model_copy(update=by_columns).check_model(trained)


BAD = {
    "ids compared": ({"matching": "equal-ids"}, "matching: a table in blocks needs joined-ids"),
    "by columns": ({"partition": "columns"}, "divided by columns needs equal-ids"),
    "by rows": ({"partition": "rows"}, "partition: Input should be 'columns' or 'blocks'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_contract_is_refused(trained, case):
    """One line that names the key."""
    changed, says = BAD[case]
    content = drafted(trained, "insurer").model_dump(mode="json") | changed
    with pytest.raises(ContractError, match=says):
        parse_contract(rfc8785.dumps(content))


def test_the_operator_reads_which_rows(trained):
    """One screen says whose records are matched and which of them are scored; joint sums are no matter here."""
    contract = drafted(trained, "hospital-b")
    assert (
        "rows     7, which hospital-b has, of the records that are matched: hospital-a 5, insurer 12, hospital-b 7"
        in leaves(contract, "hospital-a")
    )
    said = " ".join(inferences(contract, "hospital-a"))
    assert "those with the same columns together are those of the others" in said
    assert "joint sums" not in said


def played(contract: PredictionContract, lists: list[list[str]]) -> list[Any]:
    """Each party's rows that are scored, or what it ended with, and what it said to its node."""

    def party(runtime: Any) -> Any:
        said: list[Any] = []

        def request(report: Any) -> Answer:
            said.append(report)
            return Answer(signature="00" * 64)

        voice = SimpleNamespace(ask=said.append, say=said.append, request=request)
        commitments = runtime.keys.commitments(runtime.channel, runtime.entropy, NodeSigner(contract, voice))
        try:
            ids = tuple(lists[runtime.rank])
            wires = SimpleNamespace(channel=runtime.channel, keys=runtime.keys, commitments=commitments)
            rows = _scored(contract, wires, ids, voice)
        except PrivityError as exc:
            return exc, said
        return rows, said

    return Simulation(quiet_program(3)).run(party)


@pytest.mark.parametrize("recipient", NEW)
def test_the_same_records_stand_in_the_same_rows_everywhere(trained, recipient):
    """Rows at the insurer are, one by one, the hospitals'; of a hospital that is not told none is scored."""
    contract, everyone = drafted(trained, recipient), [f"N{number:02}" for number in range(12)]
    mixed = np.random.default_rng(5).permutation(everyone).tolist()
    lists = [sorted(mixed[:5]), everyone, sorted(mixed[5:])]
    found = played(contract, lists)
    scored = [[lists[rank][row] for row in rows] for rank, (rows, _) in enumerate(found)]
    assert scored[1] == [*scored[0], *scored[2]]
    assert scored[contract.rank(recipient)] == (lists[0] + lists[2] if recipient == "insurer" else scored[1])
    for _, each in found:  # what was sent is signed and compared before anybody is told whose a record is
        assert [said.type for said in each[:5]] == ["key-signed", "commit", "committed", "committed", "intent"]
        assert each[4].name == "membership"
    X = {record: np.array([place, -place, place / 2]) for place, record in enumerate(everyone, 1)}
    columns = [slice(0, 2), slice(2, 3), slice(0, 2)]
    blocks = [
        _placed(contract.program, rank, np.array([X[each] for each in scored[rank]]).reshape(-1, 3)[:, columns[rank]])
        for rank in range(3)
    ]
    joint = np.zeros((contract.program.rows, 3))
    for rank, block in enumerate(blocks):
        joint[:, contract.program.held(rank)] += block
    assert (joint == np.array([X[record] for record in scored[1]])).all()


def test_records_that_do_not_fit_end_it(trained):
    """A record of a hospital that the insurer lacks: nobody is told whose any record is."""
    lists = [["a", "b", "c", "d", "x"], [f"{each}" for each in "abcdefghijkl"], list("fghijkl")]
    for error, said in played(drafted(trained, "insurer"), lists):
        assert isinstance(error, DataError)
        assert "are not the same" in str(error)
        assert said == []
