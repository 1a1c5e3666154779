"""Matchings on paper: the plan, the contract, the policy, and what an operator and an officer read."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rfc8785

from gateway.planning.resolve import Directory, Listed
from gateway.planning.resolve_matching import resolve_matching
from mpc.errors import ProgramError
from mpc.matching_program import MAX_RECORDS, derive_matching
from mpc.requests import counts
from parties.agreement.contract import check_approvals, sign_approval
from parties.agreement.contract_text import leaves
from parties.agreement.kinds import load_any_plan, parse_contract, training
from parties.agreement.leaving import inferences, leaving
from parties.agreement.match_plan import MatchingContract, MatchingPlan, parse_matching_plan
from parties.agreement.plan import RecordingPlan
from parties.agreement.policy import Circumstances, Policy, Signed, Unasked, judge, verdict
from parties.data.schema import Column, Schema
from parties.errors import ContractError, DataError, PlanError
from parties.keys.identity import Identity
from parties.service.lifecycle import Step
from parties.service.messages import PublishedData
from parties.service.store import SessionStore
from tests.parties import test_contract as bytes_of
from tests.parties.conftest import draft_matching

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
EXAMPLE = Path(__file__).parents[2] / "examples" / "matching.toml"


@pytest.fixture(scope="session")
def matching(contract) -> MatchingContract:
    return draft_matching(contract)


def altered(matching, **changes) -> bytes:
    return rfc8785.dumps(json.loads(matching.canonical()) | changes)


def test_a_matching_survives_its_bytes(matching):
    """It is told from other sessions by its kind, and is the same bytes again."""
    found = parse_contract(matching.canonical())
    assert found == matching
    found.check_derived()
    with pytest.raises(ContractError, match="no training"):
        training(found)


def test_its_disclosures_are_counts_to_all_and_own_records_to_each(matching):
    """Nothing goes to the session, so nothing to the gateway; the number of common records is bounded."""
    rows = min(party.rows for party in matching.parties)
    assert [(item.name, item.recipient, item.count, item.values) for item in matching.disclosures] == [
        ("matches", "parties:clinic-a,clinic-b", 1, 1),
        ("matched", "party:clinic-a", 1, rows),
        ("matched", "party:clinic-b", 1, rows),
    ]


def test_the_dealer_has_nothing_to_deal(matching):
    """Its program lists no request of any kind; the quote says so."""
    assert not counts(matching.program)
    assert matching.quote.requests.total == 0


def test_signatures_hold_for_its_bytes_alone(consortium, matching):
    """Everybody signs a matching as they sign a training; any change of it voids the signatures."""
    envelopes = {
        name: sign_approval(identity, consortium.approval(name, contract=matching.digest))
        for name, identity in consortium.identities.items()
    }
    check_approvals(matching, envelopes)
    for path in bytes_of.leaves(json.loads(matching.canonical())):
        try:
            changed = parse_contract(rfc8785.dumps(bytes_of.change(json.loads(matching.canonical()), path)))
        except ContractError:
            continue
        with pytest.raises(ContractError):
            check_approvals(changed, envelopes)


PARTIES = [{"name": "a", "data": "d", "id_columns": ["x", "y"]}, {"name": "b", "data": "d", "id_columns": ["x", "y"]}]
PLANS = {
    "no name for the result": ({"result": None}, "result: what the matched data set is called"),
    "a result of an estimate": ({"reveal": "estimate"}, "result: an estimate leaves no data set"),
    "another thing to reveal": ({"reveal": "all"}, "reveal: Input should be"),
    "a path as the result": ({"result": "../x"}, "result: String should match"),
    "for ever": ({"keep_days": 0}, "keep_days: Input should be greater"),
    "one party": ({"parties": PARTIES[:1]}, "at least 2"),
    "a party twice": ({"parties": PARTIES[:1] * 2}, "a name stands twice"),
    "the dealer as a party": ({"dealer": "clinic-mean"}, "is also a party"),
    "a column too few": (
        {"parties": [PARTIES[0], {"name": "b", "data": "d", "id_columns": ["x"]}]},
        "'b' has 1 id columns, and there are 2 rules",
    ),
    "a column twice": (
        {"parties": [PARTIES[0], {"name": "b", "data": "d", "id_columns": ["x", "x"]}]},
        "an id column of 'b' stands twice",
    ),
    "no minimum": ({"rules": {"minimum": 0}}, "rules.minimum: Input should be greater"),
    "no such rule": ({"rules": {"columns": [{"kind": "soundex"}]}}, "rules.columns.0.kind"),
    "a label": ({"label": {}}, "label: there is no such key"),
}


@pytest.mark.parametrize(("changes", "says"), PLANS.values(), ids=PLANS)
def test_a_bad_plan_is_refused(changes, says):
    """One line that names the key."""
    with pytest.raises(PlanError, match=says):
        parse_matching_plan(tomllib.loads(EXAMPLE.read_text(encoding="utf-8")) | changes)


BAD = {
    "a model": ({"model": "ab" * 32}, "model: there is no such key"),
    "more common records than anybody has": (
        {"rules": {"columns": [{}, {"kind": "date"}], "minimum": 10**6}},
        "rules.minimum: 1000000 common records",
    ),
    "a rule less": ({"rules": {"columns": [{}]}}, "has 2 id columns, and there are 1 rules"),
}


@pytest.mark.parametrize(("changes", "says"), BAD.values(), ids=BAD)
def test_a_bad_contract_is_refused(matching, changes, says):
    """One line that names the key."""
    content = json.loads(matching.canonical()) | changes
    if "rules" in changes:
        content["rules"] = json.loads(type(matching.rules).model_validate(changes["rules"]).model_dump_json())
    with pytest.raises(ContractError, match=says):
        parse_contract(rfc8785.dumps(content))


def test_smaller_shards_are_refused(matching):
    """Counts of few records would tell which they are: how many a shard has follows from nothing that a plan says."""
    program = json.loads(matching.program.model_dump_json()) | {"shard_records": 1}
    with pytest.raises(ContractError, match="program is not the one that follows"):
        parse_contract(altered(matching, program=program)).check_derived()


def test_what_can_not_be_matched_has_no_program():
    """Too many records, or one party."""
    with pytest.raises(ProgramError, match="a list has"):
        derive_matching([10, MAX_RECORDS + 1])
    with pytest.raises(ProgramError, match="1 parties can't match"):
        derive_matching([10])


POLICIES = {
    "the default": ({}, []),
    "no matching": ({"disclosures": ("coefficients",)}, ["disclosures"]),
    "as few matches as allowed": ({"min_matches": 50}, []),
    "one too few": ({"min_matches": 51}, ["min_matches"]),
    "a column that never takes part": ({"never_columns": ("birthday",)}, ["never_columns"]),
    "few training rows": ({"min_training_rows": 1000}, []),  # of trainings alone
    "few predicted rows": ({"max_predicted_rows": 0}, []),  # of predictions alone
}


@pytest.mark.parametrize(("changed", "expected"), POLICIES.values(), ids=POLICIES)
def test_a_policy_judges_matchings(matching, changed, expected):
    """Each rule that a matching can break, at its edge."""
    unasked = Unasked(disclosures=("matches", "matched"))
    policy = Policy(approve="automatic", automatic=unasked, **changed)
    findings = judge(policy, matching, "clinic-a", Circumstances(NOON))
    assert [finding.rule for finding in findings if finding.verdict == "refuses"] == expected
    assert [finding.rule for finding in findings if finding.verdict == "asks"] == []
    assert not {"min_training_rows", "solvers", "max_predicted_rows"} & {finding.rule for finding in findings}


def test_a_policy_judges_recordings(matching):
    """As those of trainings: for no longer than it says, and unasked for no longer than it says of that."""
    kept = matching.model_copy(update={"retention": RecordingPlan(replay_days=3)})
    for most, unasked, expected in ((2, 2, "refuses"), (3, 2, "asks"), (3, 3, "holds")):
        automatic = Unasked(disclosures=("matches", "matched"), max_replay_days=unasked)
        policy = Policy(approve="automatic", automatic=automatic, max_replay_days=most)
        findings = {one.rule: one.verdict for one in judge(policy, kept, "clinic-a", Circumstances(NOON))}
        assert findings["max_replay_days"] == expected


def test_unasked_no_node_signs_what_tells_of_persons(matching, contract):
    """A default policy that signs trainings by itself leaves matchings and estimates to its operator."""
    policy, when = Policy(approve="automatic"), Circumstances(NOON)
    assert verdict(judge(policy, contract, "clinic-a", when)) == "holds"
    for asked in (matching, draft_matching(contract, estimate=True)):
        findings = judge(policy, asked, "clinic-a", when)
        assert [(one.rule, one.verdict) for one in findings if one.verdict != "holds"] == [("disclosures", "asks")]


def test_an_estimate_tells_a_number_and_leaves_nothing(contract):
    """Its contract: a count of a sample to the parties, a rounded one to all; the steps follow from the lists."""
    estimate = draft_matching(contract, estimate=True)
    assert parse_contract(estimate.canonical()) == estimate
    estimate.check_derived()
    assert [(item.name, item.recipient, item.values) for item in estimate.disclosures] == [
        ("sample-matches", "parties:clinic-a,clinic-b", 1),
        ("estimate", "session", 1),
    ]
    assert (estimate.program.one_in, estimate.program.round_to, estimate.least_told) == (2, 20, 50)
    assert [estimate.told(sampled) for sampled in (0, 24, 25, 100, 104, 105)] == [0, 0, 60, 200, 200, 220]
    with pytest.raises(ContractError, match="leaves no data set"):
        assert estimate.leaves
    screen = leaves(estimate, "clinic-a")
    for words in ("of these a random one in 2", "kept     nothing", "in steps of 20, or that there are fewer than 50"):
        assert words in screen
    said = " ".join(inferences(estimate, "clinic-a"))
    for words in ("random one in 2", "exactly how many of these", "Each further estimate"):
        assert words in said
    assert "Each party keeps" not in said


@pytest.mark.parametrize(
    ("field", "value"), [("one_in", 1), ("one_in", 3), ("round_to", 1), ("shard_records", 9)], ids=str
)
def test_another_sample_or_step_is_refused(contract, field, value):
    """How much an estimate compares, and how finely it tells, is nobody's choice."""
    estimate = draft_matching(contract, estimate=True)
    program = json.loads(estimate.program.model_dump_json()) | {field: value}
    with pytest.raises(ContractError, match="program is not the one that follows"):
        parse_contract(altered(estimate, program=program)).check_derived()


def test_a_plan_is_asked_as_an_estimate_first():
    """The same parties, columns and rules; no result, and no recording."""
    wanted = plan(retention={"replay_days": 3})
    asked = wanted.as_estimate()
    assert (asked.reveal, asked.result, asked.rules, asked.parties) == ("estimate", None, wanted.rules, wanted.parties)
    assert (wanted.retention.replay_days, asked.retention.replay_days) == (3, 0)
    found = resolve_matching(asked, directory(x="text", y="category"), NOON, b"n" * 32)
    found.check_derived()
    assert found.is_estimate
    with pytest.raises(PlanError, match="leaves no data set"):
        assert asked.leaves


def test_estimates_with_a_partner_are_counted(contract):
    """As many on one data set with one partner as the policy allows; other data sets and partners do not count."""
    estimate = draft_matching(contract, estimate=True)

    def signed(data: str, partner: str, count: int) -> tuple[Signed, ...]:
        return tuple(Signed(f"{number:x}" * 4, NOON, data, "p", frozenset({partner})) for number in range(count))

    for earlier, expected in (
        (signed("patients", "clinic-b", 2), "holds"),
        (signed("patients", "clinic-b", 3), "refuses"),
        (signed("patients", "clinic-c", 3), "holds"),
        (signed("others", "clinic-b", 3), "holds"),
    ):
        findings = {one.rule: one for one in judge(Policy(), estimate, "clinic-a", Circumstances(NOON, earlier))}
        assert findings["estimates_a_partner"].verdict == expected


def test_what_was_estimated_is_read_from_the_store(contract, tmp_path):
    """A signed estimate counts with its partners, a matching with nobody."""
    store = SessionStore(tmp_path / "state.sqlite")
    for digest, asked in (("aa", draft_matching(contract, estimate=True)), ("bb", draft_matching(contract))):
        store.receive(digest, asked.canonical().decode())
        store.step(digest, Step.APPROVE)
    found = Circumstances.of(store, "clinic-a").signed
    assert [one.estimated_with for one in found] == [{"clinic-b"}, set()]


def test_the_operator_reads_what_is_compared_told_and_kept(matching):
    """One screen, and the page's words."""
    screen = leaves(matching, "clinic-a")
    rows = matching.parties[0].rows
    assert f"matches  clinic-a {rows} by patient and birthday, clinic-b {rows} by number and born" in screen
    assert "rules    text in either case, date (%Y-%m-%d); duplicates: refuse" in screen
    assert "kept     common records as data set matched-patients, for 30 days, at each party" in screen
    assert "if there are 50: which of its own records all others have" in screen
    assert "recording" not in screen
    kept = leaves(matching.model_copy(update={"retention": RecordingPlan(replay_days=3)}), "clinic-a")
    assert "kept     a sealed recording of what came in, about " in kept
    assert "at each party, for 3 days" in kept
    told = leaving(matching, "clinic-a")
    assert [(one.to, one.outside) for one in told] == [
        ("us, clinic-b", True),
        ("us alone", False),
        ("clinic-b alone", True),
    ]
    said = " ".join(inferences(matching, "clinic-a"))
    for words in ("made-up identifiers", "With fewer than 50 common records", "matched-patients", "30 days"):
        assert words in said


def test_the_example_holds_and_explains_every_key():
    """examples/matching.toml parses, and has each key below a comment."""
    plan = load_any_plan(EXAMPLE)
    assert isinstance(plan, MatchingPlan)
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    keys = [key for key in type(plan).model_fields if key not in {"parties", "rules", "retention"}]
    for key in [
        *keys,
        "replay_days",
        "duplicates",
        "minimum",
        "kind",
        "fold_case",
        "only_alphanumeric",
        "formats",
        "data",
    ]:
        number = next(number for number, line in enumerate(lines) if re.match(rf"{key} = ", line))
        assert lines[number - 1].startswith("# "), key


def published(**kinds: str) -> PublishedData:
    columns = tuple(Column(name=name, kind=kind, complete=False) for name, kind in kinds.items())
    return PublishedData(
        version="ab" * 16, table=Schema(name="patients", rows=70, id_column="patient", columns=columns)
    )


def directory(**kinds: str) -> Directory:
    data = {"patients": published(**kinds)}
    parties = {name: Listed(name, "party", Identity.generate().public.hex(), data) for name in ("a", "b")}
    return Directory(parties | {"dealer": Listed("dealer", "dealer", Identity.generate().public.hex())})


def plan(**changes) -> MatchingPlan:
    content = {
        "kind": "matching",
        "purpose": "p",
        "result": "r",
        "parties": [{**one, "data": "patients"} for one in PARTIES],
    }
    return MatchingPlan.model_validate(content | {"rules": {"columns": [{}, {}]}} | changes)


def test_a_plan_becomes_a_contract():
    """Columns may lack values; without columns a data set's own id is what is compared."""
    contract = resolve_matching(plan(), directory(x="text", y="category"), NOON, b"n" * 32)
    contract.check_derived()
    assert [party.columns for party in contract.parties] == [("x", "y")] * 2
    assert contract.replay_days == 0
    asked = plan(retention={"replay_days": 3})
    assert resolve_matching(asked, directory(x="text", y="category"), NOON, b"n" * 32).replay_days == 3
    bare = [{"name": name, "data": "patients"} for name in ("a", "b")]
    contract = resolve_matching(plan(parties=bare, rules={}), directory(), NOON, b"n" * 32)
    assert [party.columns for party in contract.parties] == [("patient",)] * 2


def test_columns_that_do_not_fit_are_refused():
    """Unknown ones; numbers, of which text is lost; fewer than there are rules."""
    for kinds, says in (({"x": "text"}, "has no column 'y'"), ({"x": "text", "y": "number"}, "'y' .* holds numbers")):
        with pytest.raises(DataError, match=says):
            resolve_matching(plan(), directory(**kinds), NOON, b"n" * 32)
    bare = [{"name": name, "data": "patients"} for name in ("a", "b")]
    with pytest.raises(ContractError, match="has 1 id columns, and there are 2 rules"):
        resolve_matching(plan(parties=bare), directory(), NOON, b"n" * 32)
