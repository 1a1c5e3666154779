"""A report says what the contract and the log say, for people, in one file that fetches nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from mpc.errors import PrivityError
from mpc.program import derive
from parties.agreement.contract import Contract, beside, disclosures_for, membership, spec_for
from parties.agreement.plan import LabelPlan, RetentionPlan
from parties.agreement.quote import quote
from parties.audit import events
from parties.audit.snapshot import take
from parties.errors import AuditError, LifecycleError, SettingsError
from parties.keys.identity import Identity
from parties.keys.partners import Partners
from parties.report.consequences import consequences
from parties.report.render import POLICY, render, report
from parties.report.words import reason
from parties.service.desk import Desk
from parties.service.local import direct
from tests.parties.answering import answering
from tests.parties.conftest import draft_matching
from tests.parties.report.conftest import Ward

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)> & “it”"
CHROMIUM = shutil.which("chromium")


class Outline(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page_of(ward, digest) -> str:
    return render(report(ward.home, digest[:12], NOW))


def completed(ward, **changed) -> str:
    contract = ward.contract(**changed)
    ward.receive(contract)
    ward.approve(contract)
    ward.tell(contract)
    ward.complete(contract)
    return contract.digest


def test_a_completed_session_is_told_item_by_item(ward):
    """What the contract allows stands beside what was recorded; who signed, how, and the verdict on the log."""
    contract = ward.contract(purpose="predict sepsis", legal_basis="consent", impact_assessment="DPIA 7")
    ward.receive(contract)
    ward.approve(contract)
    counts = [min(item.count, 3) for item in contract.disclosures]
    counts[-1] = 0
    ward.tell(contract, counts)
    ward.complete(contract)
    ward.say(events.ModelStored(model=contract.digest, days=30))
    facts = report(ward.home, contract.digest, NOW)
    assert [one.recorded for one in facts.told] == counts
    assert [one.allowed for one in facts.told] == [item.count for item in contract.disclosures]
    assert (facts.state, facts.matched_rows, facts.compared) == ("completed", 400, (("clinic-b", True),))
    assert facts.checked.intact
    assert facts.checked.entries == ward.log.size
    assert facts.checked.root in ward.log.head() or facts.checked.root
    own, other, dealer = facts.involved
    assert "the operator" in own.agreed
    assert own.agreed_at is not None
    assert "signed" in other.agreed
    assert "signed" in dealer.agreed
    page = render(facts)
    for said in (
        "predict sepsis",
        "consent",
        "DPIA 7",
        "age, dose",
        "iron",
        "not told",
        "due on",
        "Article 30",
        "30 days",
        "signed by it 1 time along the way; each time that is what came here",
    ):
        assert said in page, said
    for party in contract.parties:
        assert party.fingerprint in page
        assert f'{party.name} <span class="code">{party.schema_sha256[:12]}</span>' in page


def test_the_head_is_the_log_s(ward):
    """Entries and root in the report are those of the signed head."""
    import base64

    digest = completed(ward)
    checked = report(ward.home, digest, NOW).checked
    _, size, root, *_ = ward.log.head().splitlines()
    assert (checked.entries, checked.root) == (int(size), base64.b64decode(root).hex())


def test_a_page_is_one_sound_file(ward):
    """Every tag is closed; no scripts, no links, nothing that a browser would fetch; contract texts stay text."""
    digest = completed(ward, purpose=EVIL, legal_basis=EVIL, impact_assessment=EVIL)
    page = page_of(ward, digest)
    outline = Outline(page)
    assert outline.open == []
    assert not {"script", "img", "link", "iframe", "object", "a", "form"} & set(outline.tags)
    assert not {name for name, _ in outline.attributes} & {"src", "href", "srcset", "style", "onerror", "action"}
    assert not re.search(r"https?:|url\(|@import", page)
    assert ("content", POLICY) in outline.attributes
    assert page.count("&lt;script&gt;") >= 3


@pytest.mark.parametrize(
    ("ends", "state", "said"),
    [
        ([], "waiting", "waits for a decision at clinic-a"),
        (["approved"], "agreed", "computing had not begun"),
        (["approved", "started"], "running", "knew of no end"),
        (["refused"], "refused", "it does not agree to the purpose"),
        (["approved", "expired"], "expired", "Not all agreed in time"),
        (["approved", "cancelled"], "cancelled", "ended by gateway"),
        (["approved", "started", "failed"], "failed", "first at clinic-b"),
    ],
)
def test_sessions_that_did_not_complete_are_told_truthfully(ward, ends, state, said):
    """Waiting, agreed, running, refused, expired, cancelled, failed: each says so, and that nothing was told."""
    contract = ward.contract()
    session = ward.receive(contract)
    known = {
        "approved": events.ContractApproved(session=session, by="policy"),
        "started": events.SessionStarted(session=session, epoch=1, parties=2),
        "refused": events.ContractRefused(session=session, by="operator", reason="operator.purpose"),
        "expired": events.ContractExpired(session=session),
        "cancelled": events.SessionCancelled(session=session, reason="cancelled", who="gateway"),
        "failed": events.SessionFailed(session=session, reason="engine.peer-lost", who="clinic-b"),
    }
    ward.say(*(known[name] for name in ends))
    facts = report(ward.home, session, NOW)
    assert facts.state == state
    page = render(facts)
    assert said in page
    assert "no entry that anything was told" in page
    assert not [one for one in facts.told if one.recorded]
    assert bool(facts.incidents) == (state in {"refused", "expired", "cancelled", "failed"})
    assert Outline(page).open == []


def test_a_session_that_told_something_and_failed_says_both(ward):
    """What was told before the failure stands there."""
    contract = ward.contract()
    ward.receive(contract)
    ward.approve(contract)
    ward.tell(contract, [1] + [0] * (len(contract.disclosures) - 1))
    ward.say(
        events.DisclosureRefused(session=contract.digest, who="clinic-a", reason="engine.disclosure-refused"),
        events.FrameRefused(session=contract.digest, who="clinic-b", name="gradient", expected="loss"),
        events.SessionFailed(session=contract.digest, reason="made.up", who="clinic-b"),
    )
    facts = report(ward.home, contract.digest, NOW)
    assert [one.recorded for one in facts.told][:2] == [1, 0]
    assert len(facts.incidents) == 3
    assert "a process of clinic-b sent, or asked for, gradient where the computation has loss" in render(facts)
    assert "reason code made.up" in render(facts)
    assert "asked to tell something beyond the contract" in render(facts)


def test_a_recording_and_its_replays_are_told(ward):
    """Until when it is kept, what replays found, and that it is gone; what a withdrawal does to it."""
    contract = ward.contract(retention=RetentionPlan(replay_days=9))
    session = ward.receive(contract)
    ward.approve(contract)
    assert "Recorded at clinic-a</dt><dd>no<" in render(report(ward.home, session, NOW))
    ward.say(events.ReplayKept(session=session, days=9))
    ward.complete(contract)
    facts = report(ward.home, session, NOW)
    assert facts.recording.until == facts.recording.kept + timedelta(days=9)
    assert f"not yet; due on {facts.recording.until:%d %B %Y}" in render(facts)
    assert "Recording for a replay: 9 days from its making, at most." in render(facts)
    assert [line for line in consequences(ward.home, session).lines() if "recording of what came in" in line]
    ward.say(
        events.Replayed(session=session, equal=True),
        events.Replayed(session=session, equal=False, round=7, name="residuals"),
        events.ReplayDeleted(session=session, by="operator"),
    )
    facts = report(ward.home, session, NOW)
    assert [equal for _, equal in facts.recording.replayed] == [True, False]
    assert [one.what for one in facts.incidents] == [
        "made again from the recording, the part of clinic-a was another than it had signed"
    ]
    page = render(facts)
    assert "all equal to what was signed; " in page
    assert "NOT what was signed" in page
    assert ", by the operator" in page
    assert not [line for line in consequences(ward.home, session).lines() if "recording of what came in" in line]
    assert report(ward.home, completed(ward), NOW).recording is None


def test_an_estimate_is_told_as_one(ward):
    """It is neither a matching that leaves records nor a prediction, and speaks of no model and no masks."""
    contract = draft_matching(ward.contract(), estimate=True)
    session = ward.receive(contract)
    ward.approve(contract)
    ward.tell(contract)
    ward.say(events.OpeningsCounted(session=session, rounds=2, words=660, bytes_sent=1000))
    page = render(report(ward.home, session, NOW))
    for said in (
        "about how many records all of them have",
        "a random sample of records",
        "Nothing of what was compared",
    ):
        assert said in page, said
    assert "660 bytes of identifiers went to all parties, encrypted by a key of each" in page
    for not_said in ("apply a model", "by the model that session", "made no model", "under masks"):
        assert not_said not in page, not_said


def test_signatures_that_do_not_fit_are_incidents(ward):
    """Another transcript than ours, or other words than came: each says whose, and the part on reliance says it too."""
    contract = ward.contract()
    session = ward.receive(contract)
    ward.approve(contract)
    ward.say(
        events.CommitmentReceived(session=session, partner="clinic-b", stage=1, digest="ef" * 32, equal=True),
        events.CommitmentReceived(session=session, partner="clinic-b", stage=2, digest="ef" * 32, equal=False),
        events.SessionFailed(session=session, reason="engine.commitment", who="clinic-b"),
        events.TranscriptSigned(session=session, partner="clinic-b", digest="cd" * 32, equal=False),
    )
    facts = report(ward.home, session, NOW)
    assert [one.what for one in facts.incidents] == [
        "what clinic-b signed of what it had sent, at stage 2, is not what came to clinic-a",
        "the session failed, first at clinic-b: a party signed that it had sent something else than what came from it",
        "clinic-b signed another record of what was opened than that of clinic-a, or a second one",
    ]
    assert "what it signed is NOT what came here" in render(facts)


def test_a_dealer_has_a_report_too(tmp_path):
    """It says that the dealer's own log has nothing of what was told."""
    ward = Ward(tmp_path, "dealer")
    contract = ward.contract()
    ward.receive(contract)
    ward.approve(contract)
    ward.say(events.SessionCompleted(session=contract.digest, rounds=90, bytes_sent=1))
    facts = report(ward.home, contract.digest, NOW)
    ward.log.close()
    page = render(facts)
    assert (facts.role, facts.state, facts.inferences) == ("dealer", "completed", ())
    assert "the parties’ reports say what was told" in page
    assert "dealer handles none" in page
    assert Outline(page).open == []


def derived(contract, **changed) -> Contract:
    """The contract with these parties, label and division, and what follows from them."""
    made = {name: getattr(contract, name) for name in Contract.model_fields} | changed
    parties, label, partition = made["parties"], made["label"], made["partition"]
    facts = (parties, label, contract.model, contract.preparation, contract.split, contract.evaluation, 10)
    program = derive(spec_for(*facts, partition=partition))
    told_before = membership(partition, parties)
    return Contract(
        **made
        | {
            "loss_every": program.loss_every,
            "program": program,
            "quote": quote(program, beside(partition, parties, label, contract.preparation)),
            "disclosures": disclosures_for(program, [party.name for party in parties], told_before),
        }
    )


@pytest.mark.parametrize(("rows", "trained"), [((400, 300), (525, 175)), ((400, 400), (600, 200))])
def test_a_table_divided_by_rows_is_told_so(ward, rows, trained):
    """Each party's own records, even if as many, the sums that all are told, and the label at every party."""
    contract = ward.contract()
    columns = contract.parties[0].columns
    parties = tuple(
        one.model_copy(update={"columns": columns, "rows": each})
        for one, each in zip(contract.parties, rows, strict=True)
    )
    by_rows = derived(
        contract,
        partition="rows",
        parties=parties,
        label=LabelPlan(column="outcome", positive="yes"),
        matching="equal-classes",
        retention=RetentionPlan(model_days=0),
    )
    ward.receive(by_rows)
    ward.approve(by_rows)
    ward.tell(by_rows)
    found = report(ward.home, by_rows.digest, NOW)
    assert found.partition == "rows"
    assert (found.training_rows, found.held_out_rows) == trained
    assert [one.label for one in found.involved] == ["outcome", "outcome", ""]
    moments = next(one for one in found.told if one.name == "moments")
    assert moments.recipients == ("clinic-a", "clinic-b")
    page = render(found)
    assert "Each organisation brought records of its own" in page
    assert "hold the same records" not in page
    assert Outline(page).open == []


def test_a_table_in_blocks_is_told_so(ward):
    """All records count, not the first party's; who has the same columns has other records than its partner."""
    contract = ward.contract()
    own, other = contract.parties
    partner = own.model_copy(update={"name": "clinic-c", "public_key": "cc" * 32, "rows": 100})
    parties = (own.model_copy(update={"rows": 300}), partner, other)
    label = LabelPlan(party="clinic-b", column="outcome", positive="yes")
    in_blocks = derived(contract, partition="blocks", parties=parties, label=label, matching="joined-ids")
    ward.receive(in_blocks)
    ward.approve(in_blocks)
    ward.tell(in_blocks)
    before = render(report(ward.home, in_blocks.digest, NOW))
    assert "together these must be the records of all others" in before
    ward.complete(in_blocks)
    found = report(ward.home, in_blocks.digest, NOW)
    assert (found.partition, found.training_rows, found.held_out_rows) == ("blocks", 300, 100)
    page = render(found)
    assert "together these are the records of all others" in page
    assert "clinic-a did so for 300 records" in page
    assert "hold the same records" not in page
    assert Outline(page).open == []


def test_more_than_two_classes_are_all_named(ward):
    """A training of several classes has a report, in words and as JSON, and its withdrawal can be asked for."""
    contract = ward.contract()
    three = derived(contract, label=LabelPlan(party="clinic-a", column="outcome", classes=("none", "mild", "severe")))
    ward.receive(three)
    ward.approve(three)
    ward.tell(three)
    ward.complete(three)
    found = report(ward.home, three.digest, NOW)
    assert found.told_apart == ("none", "mild", "severe")
    page = render(found)
    assert "a model that estimates how likely each of “none”, “mild”, “severe” is" in page
    assert Outline(page).open == []
    assert f"session  {three.digest}" in consequences(ward.home, three.digest).lines()
    assert "how likely “yes” is" in page_of(ward, completed(ward))


def test_other_sessions_stay_out(ward):
    """A report has no entry of another session."""
    other = ward.contract(purpose="something else altogether")
    ward.receive(other)
    ward.approve(other)
    ward.tell(other)
    session = ward.receive(ward.contract())
    facts = report(ward.home, session, NOW)
    assert len(facts.moments) == 1
    assert "something else altogether" not in render(facts)


def test_a_model_s_life_is_told(ward):
    """Stored, used and destroyed, in the training's report; the prediction's names the training."""
    digest = completed(ward)
    contract = ward.prediction(ward.contract())
    ward.say(events.ModelStored(model=digest, days=30))
    ward.receive(contract)
    ward.approve(contract)
    ward.say(events.ModelUsed(model=digest, session=contract.digest))
    ward.tell(contract)
    ward.complete(contract)
    ward.say(events.ModelDeleted(model=digest, by="expiry"))
    share = report(ward.home, digest, NOW).share
    assert [session for _, session in share.used] == [contract.digest]
    assert share.deleted_by == "expiry"
    trained, predicted = page_of(ward, digest), page_of(ward, contract.digest)
    assert "because its time was over" in trained
    assert digest in predicted
    assert "clinic-b alone" in predicted
    assert Outline(predicted).open == []


def test_a_matching_is_told(ward):
    """What it was, what each was told, what was kept here and until when; a withdrawal says what it destroys."""
    contract = ward.matching()
    digest = ward.receive(contract)
    ward.approve(contract)
    ward.tell(contract)
    stored = events.DataMatched(
        name="matched-patients",
        version="ab" * 32,
        rows=123,
        columns=4,
        session=digest,
        source="patients",
        days=30,
    )
    ward.say(stored, events.SessionCompleted(session=digest, rounds=9, bytes_sent=1 << 20))
    found = report(ward.home, digest, NOW).found
    assert found is not None
    assert (found.name, found.rows, found.until - found.stored) == ("matched-patients", 123, timedelta(days=30))
    page = page_of(ward, digest)
    for said in ("find out which records all of them have", "matched-patients", "123 records", "all parties have"):
        assert said in page
    assert Outline(page).open == []
    lines = consequences(ward.home, digest).lines()
    assert any("data set matched-patients of common records" in line for line in lines)


def test_how_long_own_records_can_be_told(ward):
    """Until when it can be told which records took part, and that it can't any more."""
    digest = completed(ward)
    assert report(ward.home, digest, NOW).records.until is None
    ward.say(events.RecordsKept(session=digest, rows=400, days=365))
    assert "can tell until" in page_of(ward, digest)
    ward.say(events.RecordsDestroyed(session=digest, by="expiry"))
    assert "can’t tell any more" in page_of(ward, digest)


def test_a_contract_that_keeps_nothing_says_so(ward):
    """`model_days = 0`: no share is kept."""
    digest = completed(ward, retention=RetentionPlan(model_days=0))
    assert "no organisation keeps a share" in page_of(ward, digest)


def test_a_signature_that_does_not_hold_is_named(ward):
    """A kept approval is checked again for each report."""
    contract = ward.contract()
    ward.receive(contract)
    ward.approve(contract)
    forged = dict(ward.store.approvals(contract.digest))
    forged["clinic-b"] = forged["dealer"]
    ward.store.keep_approvals(contract.digest, forged)
    assert "does NOT hold" in report(ward.home, contract.digest, NOW).involved[1].agreed


def test_an_altered_log_is_shouted(ward):
    """A report from a log that does not verify says so first, and the command exits with 1."""
    digest = completed(ward)
    path = ward.home.path("audit.sqlite")
    path.write_bytes(path.read_bytes().replace(b'"equal":true,"rows":400', b'"equal":true,"rows":401'))
    facts = report(ward.home, digest, NOW)
    assert not facts.checked.intact
    assert "was altered" in facts.checked.failure
    page = render(facts)
    assert page.index("did NOT pass its check") < page.index("1. What for")
    ran = CliRunner().invoke(app, ["audit", "report", digest, "--home", str(ward.home.directory), "--json"])
    assert ran.exit_code == 1
    assert json.loads(ran.stdout)["checked"]["intact"] is False


def test_a_log_of_another_key_does_not_pass(ward):
    """The log must be signed by this home's own key."""
    digest = completed(ward)
    ward.home.path("identity.pem").unlink()
    Identity.generate().save(ward.home.path("identity.pem"))
    assert "it is signed by" in report(ward.home, digest, NOW).checked.failure


def test_the_command_writes_a_new_file(ward, tmp_path, monkeypatch):
    """The default name is of the session; a file that is there stays, unless --force is given."""
    monkeypatch.chdir(tmp_path)
    digest = completed(ward)
    home = str(ward.home.directory)
    first = CliRunner().invoke(app, ["audit", "report", digest[:8], "--home", home])
    path = tmp_path / f"report-{digest[:12]}.html"
    assert (first.exit_code, first.stdout) == (0, f"wrote {path.name}\n")
    assert path.read_text().startswith("<!doctype html>")
    again = CliRunner().invoke(app, ["audit", "report", digest, "--home", home])
    assert isinstance(again.exception, SettingsError)
    assert "exists already" in str(again.exception)
    path.write_text("old")
    assert CliRunner().invoke(app, ["audit", "report", digest, "--home", home, "--force"]).exit_code == 0
    assert path.read_text() != "old"
    nowhere = CliRunner().invoke(app, ["audit", "report", digest, "--home", home, "--out", str(tmp_path / "no" / "r")])
    assert "can't be written" in str(nowhere.exception)


def test_the_daemon_records_that_the_log_was_verified_for_it(ward):
    """Up to the entry before its record; of a home that nobody serves nothing is written."""
    digest = completed(ward)
    command = ["audit", "report", digest, "--home", str(ward.home.directory), "--json"]
    assert CliRunner().invoke(app, command).exit_code == 0
    size = ward.log.size
    desk = Desk(ward.home, ward.log, None, Partners(ward.home.path("partners.json")))
    with answering(ward.home.directory, {"audit-verified": direct(desk.audit_verified)}):
        ran = CliRunner().invoke(app, command)
    assert (ran.exit_code, ran.stderr, json.loads(ran.stdout)["checked"]["entries"]) == (0, "", size)
    assert ward.log.size == size + 1
    last = [entry.event for entry in take(ward.log.path).entries()][-1]
    assert last == events.LogVerified(by="operator", entries=size, intact=True)


def test_what_is_not_there_is_an_error(ward, tmp_path):
    """An unknown session, a directory that is no home, and a log that can't be read: each its own error."""
    with pytest.raises(LifecycleError, match="0 sessions begin"):
        report(ward.home, "ffff", NOW)
    ran = CliRunner().invoke(app, ["audit", "report", "ab", "--home", str(tmp_path / "nothing")])
    assert isinstance(ran.exception, PrivityError)
    assert "is no home" in str(ran.exception)
    digest = completed(ward)
    ward.home.path("audit.sqlite").write_bytes(b"nonsense" * 1000)
    with pytest.raises(AuditError, match="not a readable SQLite file"):
        report(ward.home, digest, NOW)


@pytest.mark.parametrize(
    "code", ["operator.purpose", "policy.never-columns", "engine.protocol", "vault", "x.y", "withdrawn"]
)
def test_every_reason_has_words(code):
    """A code that is not known stands for itself."""
    assert reason(code)
    assert ("x.y" in reason(code)) == (code == "x.y")
    assert "operator.purpose" not in reason(code)


FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: `apt-get install chromium`")
def test_a_browser_prints_it(ward, tmp_path):
    """A real browser makes a PDF of the file, as its own policy allows."""
    page, pdf = tmp_path / "report.html", tmp_path / "report.pdf"
    page.write_text(page_of(ward, completed(ward)))
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}/browser", f"--print-to-pdf={pdf}", page.as_uri()]
    subprocess.run(command, capture_output=True, check=True, timeout=120)
    assert pdf.read_bytes().startswith(b"%PDF")
