"""A contract that is not what it should be is refused by a node with a sentence that names the first bad thing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import rfc8785

from parties.agreement.contract import Participant
from parties.agreement.match_rules import MatchRules
from parties.agreement.plan import RetentionPlan
from parties.audit import events
from parties.audit.log import AuditLog
from parties.audit.snapshot import locate, take
from parties.errors import ContractError
from parties.keys.identity import Identity
from parties.keys.tls import Invitation, utc_now
from parties.service.dealer import Dealer
from parties.service.home import Home, init
from parties.service.lifecycle import Step
from parties.service.messages import Fault, Finished, Refuse, Start, decode_from_daemon
from tests.parties.conftest import draft_matching, draft_prediction
from tests.parties.page.conftest import Clinic

STRANGER = Identity.generate()


@pytest.fixture(scope="module")
def clinic(tmp_path_factory) -> Iterator[Clinic]:
    made = Clinic(tmp_path_factory.mktemp("clinic"))
    yield made
    made.stop()


def recorded(clinic, kind, digest):
    found = [entry.event for entry in take(locate(clinic.home.directory)).entries()]
    return [event for event in found if isinstance(event, kind) and event.session == digest]


def refusals(clinic):
    said = [decode_from_daemon(content) for content in clinic.node.stream._outbox]
    return [message for message in said if isinstance(message, Refuse)]


def over(contract):
    ended = datetime.now(UTC) - timedelta(minutes=1)
    contract["expires"] = ended.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def for_another(contract):
    contract["parties"][0]["name"] = contract["label"]["party"] = "clinic-c"


def one_byte(contract):
    version = contract["parties"][0]["data_version"]
    contract["parties"][0]["data_version"] = ("1" if version[0] != "1" else "2") + version[1:]


BAD = {
    "one byte of a data set's version": (one_byte, "contract.data", "'cohort' is not in the version that the contract"),
    "another schema of a data set": (
        lambda c: c["parties"][0].update(schema_sha256="5a" * 32),
        "contract.schema",
        "from another schema of data set 'cohort' than clinic-a publishes",
    ),
    "one byte of a program": (
        lambda c: c["program"].update(max_iter=c["program"]["max_iter"] + 1),
        "contract.derived",
        "program is not the one that follows",
    ),
    "another key for this node": (
        lambda c: c["parties"][0].update(public_key=STRANGER.public.hex()),
        "contract.key",
        "names another key for clinic-a than its own",
    ),
    "another key for a partner": (
        lambda c: c["parties"][1].update(public_key=STRANGER.public.hex()),
        "partner.key",
        "clinic-b",
    ),
    "another dealer": (lambda c: c["dealer"].update(name="dealer-b"), "partner.unknown", "dealer-b"),
    "another key for the dealer": (
        lambda c: c["dealer"].update(public_key=STRANGER.public.hex()),
        "partner.key",
        "dealer",
    ),
    "not for this node": (for_another, "contract.party", "'clinic-a' is not a party"),
    "its time is over": (over, "contract.expired", "the contract has expired"),
    "an unknown field": (lambda c: c.update(addendum=1), "contract.fields", "addendum: there is no such key"),
    "a newer version": (
        lambda c: c.update(version=2),
        "contract.version",
        "of version 2; this release knows version 1",
    ),
}


@pytest.mark.parametrize(("edit", "code", "says"), BAD.values(), ids=BAD)
def test_each_bad_contract_has_its_own_refusal(clinic, edit, code, says):
    """The gateway that sent it hears one sentence, the log has the code, and nothing waits for the operator."""
    content = json.loads(clinic.contract().canonical())
    content["created"] = "2026-01-01T12:00:00Z"
    edit(content)
    before, altered = len(refusals(clinic)), rfc8785.dumps(content)
    clinic.do(clinic.node.receive(altered))
    refusal = refusals(clinic)[before]
    assert says in refusal.fault.what
    assert refusal.fault.code == code
    assert "\n" not in refusal.fault.line()
    (recorded_as,) = recorded(clinic, events.ContractRefused, refusal.session)
    assert recorded_as.reason == code
    known = clinic.node.store.find(refusal.session)
    assert known is None or known.state == "refused"


@pytest.mark.parametrize("kind", ["training", "prediction", "matching"])
def test_a_schema_that_was_altered_since_it_was_published_is_refused(clinic, kind):
    """Each kind of session: whoever planned by a unit that the gateway made up gets no signature, and the log why."""
    (told,) = clinic.node._published().data
    dose = told.table.columns[1]
    altered = (told.table.columns[0], dose.model_copy(update={"unit": "g"}), *told.table.columns[2:])
    made_up = told.table.model_copy(update={"columns": altered})
    honest = clinic.contract(nonce="0a" * 32)
    assert honest.parties[0].schema_sha256 == told.table.digest != made_up.digest
    own = honest.parties[0].model_copy(update={"schema_sha256": made_up.digest})
    contract = honest.model_copy(update={"parties": (own, honest.parties[1])})
    if kind == "prediction":
        kept = honest.model_copy(update={"retention": RetentionPlan(model_days=30)})
        clinic.keep_share(kept)
        contract = draft_prediction(kept, contract.parties)
    elif kind == "matching":
        parties = tuple(party.model_copy(update={"columns": (party.id_column,)}) for party in contract.parties)
        contract = draft_matching(contract, parties=parties, rules=MatchRules())
    before = len(refusals(clinic))
    clinic.do(clinic.node.receive(contract.canonical()))
    (refusal,) = refusals(clinic)[before:]
    assert (refusal.session, refusal.fault.code) == (contract.digest, "contract.schema")
    assert [event.reason for event in recorded(clinic, events.ContractRefused, contract.digest)] == ["contract.schema"]


def test_a_schema_that_changes_while_a_contract_waits_is_refused_at_signing(clinic):
    """The node looks again when its operator signs, at what its vault says then."""
    session, vault = clinic.proposed(purpose="by the schema of then"), clinic.node.vault
    manifest = vault.manifest("cohort")
    described = manifest.table.columns[0].model_copy(update={"description": "in months"})
    table = manifest.table.model_copy(update={"columns": (described, *manifest.table.columns[1:])})
    vault._rewrite(manifest.model_copy(update={"table": table}))
    try:
        with pytest.raises(ContractError, match="from another schema of data set 'cohort'"):
            clinic.do(clinic.node.sign(session, by="operator"))
    finally:
        vault._rewrite(manifest)
    assert clinic.state(session) == "refused"
    assert [event.reason for event in recorded(clinic, events.ContractRefused, session)] == ["contract.schema"]


@pytest.fixture
def dealer_home(tmp_path) -> Home:
    """A dealer's home, with its log."""
    token = Invitation.create("dealer", "127.0.0.1:1", "ab" * 32).token()
    home = init(tmp_path / "dealer", "dealer", token, "127.0.0.1:0", utc_now())
    AuditLog.open(home.path("audit.sqlite"), home.identity, "dealer").close()
    return home


@pytest.fixture
def dealer(clinic, dealer_home) -> Iterator[Dealer]:
    """A dealer of that name that has confirmed both clinics."""
    made = Dealer(dealer_home)
    made.partners.add("clinic-a", clinic.home.identity.fingerprint)
    made.partners.add("clinic-b", clinic.others["clinic-b"].fingerprint)
    yield made
    made.journal.close()


@pytest.mark.parametrize(
    ("named", "code", "says"),
    [
        ("dealer-b", "contract.party", "'dealer' is not the dealer of this session"),
        ("dealer", "contract.key", "names another key for dealer than its own"),
    ],
)
def test_a_contract_for_another_dealer_is_refused_by_this_one(clinic, dealer, named, code, says):
    """By its name, or by a key that is not its own; the log has the code."""
    content = json.loads(clinic.contract().canonical())
    content["dealer"] = {"name": named, "public_key": STRANGER.public.hex()}
    asyncio.run(dealer.receive(rfc8785.dumps(content)))
    (refusal,) = (decode_from_daemon(content) for content in dealer.stream._outbox)
    assert (refusal.fault.code, refusal.fault.who) == (code, "dealer")
    assert says in refusal.fault.what
    found = [entry.event for entry in take(locate(dealer.home.directory)).entries()]
    assert [event.reason for event in found if isinstance(event, events.ContractRefused)] == [code]


@pytest.mark.parametrize("end", [Step.COMPLETE, Step.FAIL, Step.CANCEL])
def test_a_contract_that_has_run_is_refused_as_replayed(clinic, end):
    """However its session ended: the code says so each time, the log once, and nothing begins again."""
    session = clinic.proposed()
    content, store = clinic.node.store.get(session).contract.encode(), clinic.node.store
    store.step(session, Step.APPROVE)
    store.begin_epoch(session, 1)
    for step in (Step.START, end):
        store.step(session, step)
    state, before = clinic.state(session), len(refusals(clinic))
    for _ in range(2):
        clinic.do(clinic.node.receive(content))
    again = refusals(clinic)[before:]
    assert [(one.session, one.fault.code, one.fault.who) for one in again] == [
        (session, "contract.replayed", "clinic-a")
    ] * 2
    assert f"session {session[:12]} has run at clinic-a already" in again[0].fault.what
    assert len(recorded(clinic, events.ContractReplayed, session)) == 1
    assert clinic.state(session) == state
    assert recorded(clinic, events.ContractRefused, session) == []


def test_an_end_before_the_run_is_told_again(clinic):
    """What a daemon that started anew has ended, or its operator refused, keeps the reason that it had."""
    interrupted, refused = clinic.proposed(purpose="one"), clinic.proposed(purpose="two")
    clinic.node.store.step(interrupted, Step.APPROVE)
    clinic.node.store.step(interrupted, Step.FAIL, Fault(code="worker", who="clinic-a", what="it was restarted"))
    clinic.node.refuse_for(refused, "purpose")
    before = len(refusals(clinic))
    for session in (interrupted, refused):
        clinic.do(clinic.node.receive(clinic.node.store.get(session).contract.encode()))
    assert [one.fault.code for one in refusals(clinic)[before:]] == ["worker", "operator.purpose"]
    assert recorded(clinic, events.ContractReplayed, interrupted) == []


def test_a_contract_that_comes_again_is_no_other_session(clinic):
    """A digest is accepted once: replayed while it waits, once it is over, and with all approvals to start it."""
    session = clinic.proposed()
    content = clinic.node.store.get(session).contract.encode()
    clinic.do(clinic.node.receive(content))
    assert clinic.state(session) == "proposed"
    clinic.completed(session)
    clinic.do(clinic.node.start(Start(session=session, approvals={})))
    assert clinic.state(session) == "completed"
    assert len(recorded(clinic, events.ContractReceived, session)) == 1
    assert recorded(clinic, events.SessionStarted, session) == []


def test_a_start_that_comes_late_is_refused(clinic):
    """A gateway that keeps the approvals back until the contract is over starts nothing: that is recorded and told."""
    session = clinic.proposed(purpose="in good time")
    clinic.do(clinic.node.sign(session, by="operator"))
    assert clinic.state(session) == "approved"
    clinic.ahead = timedelta(hours=1, seconds=1)
    try:
        clinic.do(clinic.node.start(Start(session=session, approvals={})))
    finally:
        clinic.ahead = timedelta(0)
    assert_expired(clinic.home, clinic.node, session)


def test_a_dealer_refuses_a_late_start_too(clinic, dealer_home):
    """It looks at the time itself."""
    ahead = timedelta(0)
    dealer = Dealer(dealer_home, lambda: utc_now() + ahead)
    dealer.partners.add("clinic-a", clinic.home.identity.fingerprint)
    dealer.partners.add("clinic-b", clinic.others["clinic-b"].fingerprint)
    contract = clinic.contract()
    contract = contract.model_copy(
        update={"dealer": Participant(name="dealer", public_key=dealer.identity.public.hex())}
    )

    async def late() -> None:
        nonlocal ahead
        await dealer.door.open()
        await dealer.receive(contract.canonical())
        assert dealer.store.get(contract.digest).state == "approved"
        ahead = timedelta(hours=1, seconds=1)
        await dealer.start(Start(session=contract.digest, approvals={}))
        dealer.door.close()

    asyncio.run(late())
    assert_expired(dealer_home, dealer, contract.digest)
    dealer.journal.close()


def test_certificates_that_end_are_noticed_each_hour(clinic, dealer_home):
    """Connected or not, a node and a dealer record once that a certificate ends: at their hourly look."""
    years = timedelta(days=365 * 50)
    clinic.ahead = years
    try:
        for _ in range(2):
            clinic.do(looked(clinic.node))
    finally:
        clinic.ahead = timedelta(0)
    dealer = Dealer(dealer_home, lambda: utc_now() + years)
    asyncio.run(looked(dealer))
    dealer.journal.close()
    for home in (clinic.home, dealer_home):
        found = [entry.event for entry in take(locate(home.directory)).entries()]
        ending = [event.certificate for event in found if isinstance(event, events.CertificateExpiring)]
        assert ending == ["own"]


async def looked(daemon) -> None:
    """The watch began, looked, and waits for the next hour."""
    watch = asyncio.create_task(daemon.keep_watch())
    await asyncio.sleep(0)
    watch.cancel()


def assert_expired(home, daemon, session) -> None:
    """It ended by its time, never began, and the gateway was told why."""
    about = [entry.event for entry in take(locate(home.directory)).entries()]
    kinds = [type(event) for event in about if getattr(event, "session", None) == session]
    assert kinds[-1] is events.ContractExpired
    assert not {events.SessionStarted, events.SessionFailed} & set(kinds)
    found = daemon.store.get(session)
    assert (found.state, found.fault.code) == ("expired", "contract.expired")
    assert session not in daemon.live
    said = [decode_from_daemon(content) for content in daemon.stream._outbox]
    (end,) = (one for one in said if isinstance(one, Finished) and one.session == session)
    assert (end.fault.code, end.fault.who) == ("contract.expired", daemon.name)
