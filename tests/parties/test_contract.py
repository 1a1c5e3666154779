"""A contract is the same bytes everywhere, and a signature holds for those bytes, that signer and that role alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from mpc.errors import PrivityError, ProgramError
from mpc.program import derive
from parties.agreement.contract import (
    APPROVAL_TYPE,
    Contract,
    beside,
    check_approval,
    check_approvals,
    disclosures_for,
    sign_approval,
    spec_for,
)
from parties.agreement.kinds import MAX_CONTRACT_BYTES, parse_contract
from parties.agreement.plan import EvaluationPlan
from parties.agreement.quote import quote
from parties.errors import ContractError
from parties.keys.identity import Identity

VECTOR = Path(__file__).parent / "vectors" / "contract.json"
VECTOR_SHA256 = "85a199fc19d5fbafdc2a03b69c28e53a2e3cf0e9dc6ef05d538936fba9b397a0"


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything in a JSON document that holds nothing further."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        for number in {0, len(value) - 1}:  # the ends of a list stand for its middle
            yield from leaves(value[number], (*path, number))
    else:
        yield path


def other(value: Any) -> Any:
    """A value of the same type that is another; of the same form, as far as that can be guessed."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value[:-1] + ("1" if value[-1:] != "1" else "2")
    return [1]


def change(content: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(content))
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = other(place[path[-1]])
    return changed


def test_the_digest_is_the_hash_of_canonical_json():
    """The committed contract has the committed digest: SHA-256 of keys in order and no spaces."""
    content = VECTOR.read_bytes()
    contract = parse_contract(content)
    assert contract.digest == hashlib.sha256(content).hexdigest() == VECTOR_SHA256
    plain = json.dumps(json.loads(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert contract.canonical() == plain.encode()


def test_a_contract_says_all_that_is_opened(contract):
    """The list of disclosures is the program's, every opening with its recipient and its most."""
    listed = [(item.name, item.recipient, item.values) for item in contract.disclosures]
    assert listed == [
        ("coefficients", "party:clinic-a", 2),
        ("coefficients", "party:clinic-b", 1),
        ("intercept", "party:clinic-a", 1),
        ("guard", "session", 1),
        ("loss", "session", 1),
        ("converged", "session", 1),
        ("auc", "session", 1),
        ("log-loss", "session", 1),
        ("brier", "session", 1),
    ]
    assert [item.clause for item in contract.disclosures] == [f"disclosures.{n}" for n in range(len(listed))]
    openings = contract.program.disclosures()
    assert [(item.count, item.values) for item in contract.disclosures] == [(o.count, o.values) for o in openings]
    contract.check_derived()


def test_an_altered_contract_is_another_contract(contract, consortium):
    """Whatever one changes, the bytes are refused or have another digest, and no approval holds for them."""
    content = json.loads(contract.canonical())
    envelopes = consortium.envelopes()
    check_approvals(contract, envelopes)
    paths = list(leaves(content))
    assert len(paths) > 50
    for path in paths:
        try:
            altered = parse_contract(rfc8785.dumps(change(content, path)))
        except ContractError:
            continue
        assert altered.digest != contract.digest, path
        with pytest.raises(ContractError):
            check_approvals(altered, envelopes)


def test_an_altered_program_is_not_believed(contract):
    """A node derives program and disclosures again: a change of either is refused, whoever signed it."""
    content = json.loads(contract.canonical())
    paths = [path for path in leaves(content) if path[0] in {"program", "disclosures"}]
    for path in paths:
        with pytest.raises(PrivityError):
            parse_contract(rfc8785.dumps(change(content, path))).check_derived()


@pytest.mark.parametrize(
    "path",
    [
        ("model", "C"),
        ("model", "max_iter"),
        ("model", "solver"),
        ("split", "held_out"),
        ("loss_every",),
        ("evaluation", "figures"),
        ("preparation", "clip_bits"),
    ],
)
def test_a_program_follows_from_the_plan(contract, path):
    """What the plan asks for can't be changed under a program that was derived from something else."""
    content = json.loads(contract.canonical())
    if path == ("preparation", "clip_bits"):
        content["preparation"]["clip_bits"] = 4
    elif path == ("evaluation", "figures"):
        content["evaluation"]["figures"] = ["auc"]
    elif path == ("model", "solver"):
        content["model"]["solver"] = "nesterov"
    else:
        content = change(content, path)
    with pytest.raises(ContractError, match="program is not the one that follows"):
        parse_contract(rfc8785.dumps(content)).check_derived()


def test_a_table_s_cell_follows_from_the_plan(contract):
    """Counts are not told in smaller steps than those that the contract's readers see."""
    asked = EvaluationPlan(figures=("roc",), smallest_cell=10)
    facts = (contract.parties, contract.label, contract.model, contract.preparation, contract.split)
    program = derive(spec_for(*facts, EvaluationPlan(figures=("roc",), smallest_cell=5), contract.loss_every))
    with pytest.raises(ContractError, match="program is not the one that follows"):
        contract.model_copy(update={"evaluation": asked, "program": program}).check_derived()


@pytest.mark.parametrize("figure", ["rounds", "dealer_bytes", "memory_bytes", "seconds", "most_rounds"])
def test_a_quote_follows_from_the_program(altered, figure):
    """Nobody is talked into a session by costs that are not its own."""
    with pytest.raises(ContractError, match="quote is not what its program costs"):
        parse_contract(altered(lambda content: content["quote"].update({figure: 1}))).check_derived()


@pytest.mark.parametrize("requests", ["requests", "most_requests"])
@pytest.mark.parametrize("kind", ["triple", "binary", "b2a"])
def test_a_count_of_requests_follows_from_the_program(altered, requests, kind):
    """What the dealer will be asked for is not more and not less than the program lists, of each kind."""
    with pytest.raises(ContractError, match="quote is not what its program costs"):
        parse_contract(altered(lambda content: content["quote"][requests].update({kind: 1}))).check_derived()


def test_a_disclosure_can_not_be_added_or_left_out(altered):
    """The list that operators read is complete: one more or one less is refused."""
    for edit in (
        lambda content: content["disclosures"].pop(),
        lambda content: content["disclosures"].append(content["disclosures"][0] | {"clause": "disclosures.9"}),
        lambda content: content["disclosures"].reverse(),
        lambda content: content["disclosures"][1].update(recipient="party:clinic-a"),
        lambda content: content["disclosures"][0].update(recipient="session"),
    ):
        with pytest.raises(ContractError, match="list of disclosures is not the one"):
            parse_contract(altered(edit)).check_derived()


BAD = {
    "unknown key": (lambda c: c.update(extra=1), "extra: there is no such key"),
    "no version": (lambda c: c.update(version=0), "version: Input should be 1"),
    "another version": (lambda c: c.update(version=2), "of version 2; this release knows version 1"),
    "no time zone": (lambda c: c.update(expires="2026-11-02T12:00:00"), "a time needs its time zone"),
    "expired when made": (lambda c: c.update(expires="2026-10-31T12:00:00Z"), "expires before it was created"),
    "short key": (lambda c: c["dealer"].update(public_key="11"), "dealer.public_key: String should match"),
    "one party": (lambda c: c["parties"].pop(), "parties: .*at least 2 items"),
    "rows differ": (lambda c: c["parties"][1].update(rows=399), "differ in rows: clinic-a 400, but clinic-b 399"),
    "a name twice": (lambda c: c["parties"][1].update(name="clinic-a"), "a name or a key stands twice"),
    "dealer is a party": (lambda c: c["dealer"].update(name="clinic-b"), "a name or a key stands twice"),
    "dealer has a party's key": (
        lambda c: c["dealer"].update(public_key=c["parties"][0]["public_key"]),
        "a name or a key stands twice",
    ),
    "label of nobody": (
        lambda c: c["label"].update(party="clinic-c"),
        "label.party: 'clinic-c' is not one of the parties",
    ),
    "label as a feature": (lambda c: c["label"].update(column="age"), "'age' is the label and can't be a feature"),
    "a column twice": (lambda c: c["parties"][0].update(columns=["age", "age"]), "column of 'clinic-a' stands twice"),
    "a purpose that fakes a line": (lambda c: c.update(purpose="a\nopened nothing"), "one line of printable"),
    "a column that fakes a line": (lambda c: c["label"].update(column="a\x1b[1A"), "printable"),
    "held out of words": (lambda c: c["split"].update(held_out="x"), "split.held_out: must be a decimal"),
    "held out of an exponent": (lambda c: c["split"].update(held_out="1e-99999999"), "must be a decimal"),
    "loss of every minus one": (lambda c: c.update(loss_every=-1), "loss_every: Input should be greater"),
    "no rows": (lambda c: [party.update(rows=0) for party in c["parties"]], "rows: Input should be greater"),
    "rows without end": (lambda c: [party.update(rows=2**40) for party in c["parties"]], "rows: Input should be less"),
    "kept for ever": (lambda c: c["retention"].update(model_days=10**6), "retention.model_days: Input should be less"),
    "another matching": (lambda c: c.update(matching="psi"), "matching: Input should be 'equal-ids'"),
}


@pytest.mark.parametrize(("edit", "says"), BAD.values(), ids=BAD)
def test_a_bad_contract_is_refused_before_it_is_kept(altered, edit, says):
    """A gateway that sends nonsense gets one line, never a crash of the daemon."""
    with pytest.raises(ContractError, match=says) as caught:
        parse_contract(altered(edit))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"[" * 100_000, b'"\\ud800"', b"\xff", b'{"version": 1e400}'],
)
def test_bytes_that_are_no_contract_are_refused(content):
    """Not every byte string is JSON, and not every JSON a contract."""
    with pytest.raises(ContractError, match="the contract does not hold"):
        parse_contract(content)


def test_only_canonical_bytes_are_a_contract(contract):
    """Spaces, another order of keys, an escape or another way to write a time would make two digests of one meaning."""
    content = contract.canonical()
    for same in (
        content + b"\n",
        json.dumps(json.loads(content), indent=1).encode(),
        json.dumps(dict(reversed(json.loads(content).items())), separators=(",", ":")).encode(),
        content.replace(b"predict the", b"predict\\u0020the"),
        content.replace(b"12:00:00Z", b"12:00:00+00:00"),
    ):
        assert same != content
        with pytest.raises(ContractError, match="not in canonical form"):
            parse_contract(same)


def test_a_number_without_a_canonical_form_is_refused(contract):
    """JSON's whole numbers end at 2**53: a greater one would be read differently elsewhere."""
    content = contract.canonical()
    first = contract.program.models[0].residual_unit
    with pytest.raises(ContractError, match="no canonical form"):
        parse_contract(content.replace(f'"residual_unit":{first}'.encode(), f'"residual_unit":{2**53}'.encode()))


def test_a_contract_has_a_limit():
    """Bytes beyond the limit are not even parsed."""
    with pytest.raises(ContractError, match=f"{MAX_CONTRACT_BYTES} is the limit"):
        parse_contract(b" " * (MAX_CONTRACT_BYTES + 1))


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(
    lambda text: text.isprintable() and text.strip() == text
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    purpose=words,
    columns=st.lists(words, min_size=1, max_size=6, unique=True),
    rows=st.integers(60, 1_000_000),
    strength=st.decimals("0.001", "100", places=3).map(str),
    max_iter=st.integers(10, 500),
    loss_every=st.integers(0, 50),
    hours=st.integers(1, 2000),
    microseconds=st.integers(0, 999_999),
    intercept=st.booleans(),
)
def test_every_contract_survives_its_bytes(
    paper, purpose, columns, rows, strength, max_iter, loss_every, hours, microseconds, intercept
):
    """parse(canonical(contract)) is the contract, for any names, sizes and times; and its program follows."""
    parties = (
        paper.parties[0].model_copy(update={"rows": rows, "columns": ()}),
        paper.parties[1].model_copy(update={"rows": rows, "columns": tuple(columns)}),
    )
    model = paper.model.model_copy(update={"C": strength, "max_iter": max_iter, "fit_intercept": intercept})
    created = datetime(2026, 1, 1, microsecond=microseconds, tzinfo=UTC)
    try:
        program = derive(
            spec_for(parties, paper.label, model, paper.preparation, paper.split, paper.evaluation, loss_every)
        )
    except ProgramError:
        reject()  # such as a penalty too weak for so few iterations: no contract comes of it
    made = Contract(
        **{name: getattr(paper, name) for name in Contract.model_fields}
        | {
            "purpose": purpose,
            "parties": parties,
            "model": model,
            "loss_every": program.loss_every,
            "created": created,
            "expires": created + timedelta(hours=hours),
            "program": program,
            "quote": quote(program, beside("columns", parties, paper.label, paper.preparation)),
            "disclosures": disclosures_for(program, ["clinic-a", "clinic-b"]),
        }
    )
    again = parse_contract(made.canonical())
    assert again == made
    assert again.canonical() == made.canonical()
    again.check_derived()


def test_everybody_must_have_approved(contract, consortium):
    """With each participant's own approval the session may start; without one it may not, and the line says whose."""
    envelopes = consortium.envelopes()
    assert {name: a.name for name, a in check_approvals(contract, envelopes).items()} == {n: n for n in envelopes}
    for name in envelopes:
        rest = {other: envelope for other, envelope in envelopes.items() if other != name}
        with pytest.raises(ContractError, match=f"no approval of {name} came"):
            check_approvals(contract, rest)
    with pytest.raises(ContractError, match="no approval of clinic-a, clinic-b, dealer came"):
        check_approvals(contract, {})


def test_an_approval_by_another_key_is_refused(contract, consortium):
    """Only the key in the contract signs for a participant; not a stranger's, and not another participant's."""
    approval = consortium.approval("clinic-a")
    for identity in (Identity.generate(), consortium.identities["clinic-b"]):
        with pytest.raises(ContractError, match="does not verify under the key") as refused:
            check_approval(contract, "clinic-a", sign_approval(identity, approval))
        assert refused.value.code == "contract.signature"


@pytest.mark.parametrize(
    ("changed", "code", "says"),
    [
        ({"contract": "00" * 32}, "contract.altered", "clinic-a approved another contract"),
        ({"role": "dealer"}, "contract", "an approval by 'clinic-a' as dealer came in clinic-a's place"),
        ({"name": "clinic-b"}, "contract", "an approval by 'clinic-b' as party came in clinic-a's place"),
    ],
)
def test_an_approval_of_something_else_is_refused(contract, consortium, changed, code, says):
    """A true signature over another contract, role or name approves nothing here."""
    envelope = sign_approval(consortium.identities["clinic-a"], consortium.approval("clinic-a", **changed))
    with pytest.raises(ContractError, match=says) as refused:
        check_approval(contract, "clinic-a", envelope)
    assert refused.value.code == code


def test_an_approval_by_nobody_of_the_session_is_refused(contract, consortium):
    """A name that the contract does not know has no key to verify with."""
    envelope = sign_approval(consortium.identities["clinic-a"], consortium.approval("clinic-a"))
    with pytest.raises(ContractError, match="'clinic-c' is not a party of this session"):
        check_approval(contract, "clinic-c", envelope)


def test_a_signature_over_another_kind_of_document_approves_nothing(contract, consortium):
    """The same bytes signed as something else, or with the type exchanged afterwards, are refused."""
    identity, approval = consortium.identities["clinic-a"], consortium.approval("clinic-a")
    sealed = identity.seal("application/vnd.privity.introduction.v1+json", rfc8785.dumps(approval.model_dump()))
    with pytest.raises(ContractError, match="another type"):
        check_approval(contract, "clinic-a", sealed)
    with pytest.raises(ContractError, match="does not verify"):
        check_approval(contract, "clinic-a", sealed | {"payloadType": APPROVAL_TYPE})


@pytest.mark.parametrize("payload", [b"", b"{}", b"null", b'{"contract": 1}', b"\xff"])
def test_a_signed_approval_that_is_none_is_refused(contract, consortium, payload):
    """A signature does not make sense of nonsense."""
    with pytest.raises(ContractError, match="clinic-a's approval does not hold"):
        check_approval(contract, "clinic-a", consortium.identities["clinic-a"].seal(APPROVAL_TYPE, payload))


@pytest.mark.parametrize("endpoint", ["host", "host:", ":9", "a b:9", "host:123456", 'h"x:9', "h\x1b:9", "h:9\n"])
def test_an_endpoint_is_host_and_port(consortium, endpoint):
    """What a worker will dial, and what may stand in an error, is HOST:PORT and nothing else."""
    with pytest.raises(ValueError, match="endpoint"):
        consortium.approval("clinic-a", endpoint=endpoint)


def test_two_participants_can_not_share_a_tls_key(contract, consortium):
    """Who copies another's certificate into its own approval is found out before anybody dials."""
    copied = consortium.approval("clinic-b", certificate=consortium.keys["clinic-a"].certificate)
    envelopes = consortium.envelopes() | {"clinic-b": sign_approval(consortium.identities["clinic-b"], copied)}
    with pytest.raises(ContractError, match="two approvals name the same TLS key"):
        check_approvals(contract, envelopes)


def test_ranks_are_places_in_the_list(contract):
    """A party's rank is its place; the dealer has none."""
    assert (contract.rank("clinic-a"), contract.rank("clinic-b")) == (0, 1)
    with pytest.raises(ContractError, match="'dealer' is not a party"):
        contract.rank("dealer")
