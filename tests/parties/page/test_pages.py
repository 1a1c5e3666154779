"""What an operator reads before signing, what is done then, and what an officer finds."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from parties.agreement.contract import recipient
from parties.agreement.leaving import inferences, leaving
from parties.agreement.plan import RetentionPlan
from parties.audit.notes import Checkpoint, cosign, sign
from parties.audit.verify import verify
from parties.errors import REASONS
from parties.keys.identity import Identity
from parties.outcome.estimates import Estimated, Estimates
from parties.page.guard import HEADERS
from parties.page.ledger import PAGE_ENTRIES
from parties.report.render import POLICY
from parties.testimony.witness_store import CosignedNote, Heads
from tests.parties.page.conftest import SECRET_RESULT

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def test_what_waits_stands_first(clinic):
    """The first page begins with the contract to decide on, then data, partners and the log's head."""
    session, text = clinic.proposed(), clinic.browser().get("/").text
    assert text.index("Waits for you") < text.index("predict the outcome") < text.index("<h2>Sessions</h2>")
    assert f"/sessions/{session}" in text
    for said in ("cohort", "400", clinic.others["clinic-b"].fingerprint, "NOT connected", "Not verified since"):
        assert said in text


def test_an_operator_reads_and_signs(clinic):
    """The last look shows what leaves and what the policy says; the button signs, and the log says who did."""
    session, browser = clinic.proposed(), clinic.browser()
    look = browser.get(f"/sessions/{session}/decide").text
    for said in ("What leaves this organisation", "clinic-b’s own columns", "No rule of our policy refuses it"):
        assert said in look
    page = browser.post(f"/sessions/{session}/approve")
    assert str(page.url).endswith(f"/sessions/{session}")
    assert clinic.state(session) == "approved"
    assert "session:contract:approved" in page.text
    assert "by operator" in page.text
    again = browser.post(f"/sessions/{session}/approve")
    assert again.status_code == 409
    assert "there is nothing to approve" in again.text
    assert browser.get(f"/sessions/{session}/decide").status_code == 409


def test_a_prediction_is_read_and_signed(clinic):
    """A prediction's page names model, rows and who is told, and speaks of no label; it is signed as a training is."""
    contract, browser = clinic.prediction(), clinic.browser()
    assert clinic.state(contract.digest) == "proposed", clinic.node.store.get(contract.digest).fault
    page = browser.get(f"/sessions/{contract.digest}").text
    for said in (contract.model, "clinic-b alone", "Each new record’s probability", "max_predicted_rows"):
        assert said in page
    assert "the label" not in page
    assert "400 rows are predicted, for clinic-b alone" in browser.get(f"/sessions/{contract.digest}/decide").text
    browser.post(f"/sessions/{contract.digest}/approve")
    assert clinic.state(contract.digest) == "approved"


def test_a_matching_is_read_and_signed(clinic):
    """Its page says what is compared, told and kept, and what our policy asks for; it is signed as a training is."""
    contract, browser = clinic.matching(), clinic.browser()
    assert clinic.state(contract.digest) == "proposed", clinic.node.store.get(contract.digest).fault
    page = browser.get(f"/sessions/{contract.digest}").text
    for said in (
        "text in either case",
        "matched-patients",
        "for 30 days",
        "own records all parties have",
        "min_matches",
    ):
        assert said in page
    assert "the label" not in page
    assert "if they are 50 at least" in browser.get(f"/sessions/{contract.digest}/decide").text
    browser.post(f"/sessions/{contract.digest}/approve")
    assert clinic.state(contract.digest) == "approved"


def test_an_estimate_is_read_and_its_number_shown(clinic):
    """Its page says what is compared and told, that nothing is kept, and, once it is over, the number."""
    contract, browser = clinic.matching(estimate=True), clinic.browser()
    page = browser.get(f"/sessions/{contract.digest}").text
    for said in ("a random one in 2 of each list", "in steps of 20", "fewer than 50", "nothing", "estimates_a_partner"):
        assert said in page
    assert "matched-patients" not in page
    assert "nothing is kept" in browser.get(f"/sessions/{contract.digest}/decide").text
    results = clinic.node.home.path("results")
    Estimates(results).keep(contract.digest, Estimated(about=60, least=50))
    assert "about 60 records are common to all" in browser.get(f"/sessions/{contract.digest}").text


def test_how_long_a_model_is_kept_is_said(clinic):
    """Shares that stay after the session are shown, and that none stay."""
    browser = clinic.browser()
    for days, said in ((0, "no share of the model"), (30, "a share of the model at each party, for 30 days")):
        session = clinic.proposed(retention=RetentionPlan(model_days=days))
        assert said in browser.get(f"/sessions/{session}").text


@pytest.mark.parametrize("reason", REASONS)
def test_an_operator_refuses_for_a_reason(clinic, reason):
    """Everybody is told the reason in words; the log keeps its code."""
    session, browser = clinic.proposed(), clinic.browser()
    page = browser.post(f"/sessions/{session}/refuse", reason=reason).text
    assert clinic.state(session) == "refused"
    fault = clinic.node.store.get(session).fault
    assert fault is not None
    assert (fault.code, REASONS[reason] in fault.what) == (f"operator.{reason}", True)
    assert f"reason operator.{reason}" in page


@pytest.mark.parametrize("reason", ["", "because", "<b>"])
def test_a_reason_that_is_none_refuses_nothing(clinic, reason):
    """Free text never comes into the log."""
    session, browser = clinic.proposed(), clinic.browser()
    answer = browser.post(f"/sessions/{session}/refuse", reason=reason)
    assert answer.status_code == 409
    assert "is no reason" in answer.text
    assert "<b>" not in answer.text
    assert clinic.state(session) == "proposed"


def test_data_that_changed_are_not_signed_for(clinic):
    """Signing looks at everything again: the page says what is wrong, and the session is refused."""
    session, browser = clinic.proposed(), clinic.browser()
    clinic.node.vault.remove("cohort")
    answer = browser.post(f"/sessions/{session}/approve")
    assert answer.status_code == 409
    assert "cohort" in answer.text
    assert clinic.state(session) == "refused"
    assert clinic.node.page.url  # and the node goes on
    assert browser.get("/").status_code == 200


def test_results_are_the_operators_alone(clinic):
    """An officer sees that there was a result, never its values."""
    session = clinic.proposed()
    clinic.completed(session)
    shown = f"{SECRET_RESULT:.6g}"
    assert shown in clinic.browser("operator").get(f"/sessions/{session}").text
    assert clinic.browser("operator").get(f"/sessions/{session}").text.count("<svg") == 2
    officer = clinic.browser("officer")
    assert "<svg" not in officer.get(f"/sessions/{session}").text
    pages = ["/", f"/sessions/{session}", f"/sessions/{session}/contract", "/audit"]
    assert not [path for path in pages if shown in officer.get(path).text]
    assert "session:result:stored" in officer.get(f"/sessions/{session}").text


def test_an_officer_has_no_buttons(clinic):
    """Nothing on an officer's pages leads to a decision."""
    session, officer = clinic.proposed(), clinic.browser("officer")
    text = officer.get("/").text + officer.get(f"/sessions/{session}").text
    for missing in ("/decide", "/approve", "/refuse"):
        assert missing not in text


def test_the_contract_is_the_signed_one(clinic):
    """What is downloaded hashes to the session's id."""
    import hashlib

    session = clinic.proposed()
    content = clinic.browser("officer").get(f"/sessions/{session}/contract").content
    assert hashlib.sha256(content).hexdigest() == session


@pytest.mark.parametrize("role", ["operator", "officer"])
def test_a_report_is_a_link_away(clinic, role):
    """Both roles read the report in the browser, under a policy that admits its style alone; the log keeps that."""
    session, browser = clinic.proposed(), clinic.browser(role)
    assert f"/sessions/{session}/report" in browser.get(f"/sessions/{session}").text
    answer = browser.get(f"/sessions/{session}/report")
    assert answer.status_code == 200
    assert "Article 30" in answer.text
    assert "style-src 'sha256-" in answer.headers["content-security-policy"]
    assert answer.headers["content-security-policy"] == POLICY
    assert (HEADERS.items() - {("content-security-policy", HEADERS["content-security-policy"])}) <= dict(
        answer.headers
    ).items()
    assert f"by {role}, entries" in browser.get("/audit?kind=log:file:verified").text
    assert browser.get(f"/sessions/{'ab' * 32}/report").status_code == 404


def test_consent_is_withdrawn_after_a_last_look(clinic):
    """The page says what can't be undone; the button ends it, and afterwards there is no such link."""
    session, browser = clinic.proposed(), clinic.browser()
    browser.post(f"/sessions/{session}/approve")
    assert f"/sessions/{session}/withdraw" in browser.get(f"/sessions/{session}").text
    assert f"/sessions/{session}/withdraw" not in clinic.browser("officer").get(f"/sessions/{session}").text
    look = browser.get(f"/sessions/{session}/withdraw").text
    assert "Nothing was told by this session so far" in look
    assert clinic.state(session) == "approved"
    page = browser.post(f"/sessions/{session}/withdraw").text
    assert clinic.state(session) == "cancelled"
    assert "we withdrew consent" in page
    assert f"/sessions/{session}/withdraw" not in page
    refused = clinic.proposed(purpose="another")
    browser.post(f"/sessions/{refused}/refuse", reason="purpose")
    answer = browser.post(f"/sessions/{refused}/withdraw")
    assert (answer.status_code, "no consent to withdraw" in answer.text) == (409, True)


def recorded(clinic, days=5, **changed) -> tuple[str, int]:
    """A completed session whose contract keeps a recording, and how many bytes that is."""
    session = clinic.proposed(retention=RetentionPlan(replay_days=days), **changed)
    clinic.completed(session)
    replays = clinic.node.replays
    replays.begin(session, "cohort", datetime.now(UTC) + timedelta(days=days))
    replays.tape(session).write_bytes(bytes(1_234_567))
    size = replays.tape(session).stat().st_size + replays.tape(session).with_suffix(".replay").stat().st_size
    return session, size


def allow_recordings(clinic) -> None:
    path = clinic.home.path("policy.toml")
    path.write_text(path.read_text().replace("max_replay_days = 0", "max_replay_days = 30"))


def test_a_recording_is_shown_and_destroyed_before_its_time(clinic):
    """Size and end on overview and session; the operator destroys it after a last look, and an officer can't."""
    allow_recordings(clinic)
    session, size = recorded(clinic, purpose="kept for a replay")
    until = f"{clinic.node.replays.kept(session).until:%Y-%m-%d %H:%M} UTC"
    assert clinic.node.replays.kept(session).size_bytes == size
    browser, officer = clinic.browser(), clinic.browser("officer")
    for one in (browser, officer):
        for page in (one.get("/").text, one.get(f"/sessions/{session}").text):
            assert "1.2 MB" in page
            assert until in page
        assert "a sealed recording of what came in, about " in one.get(f"/sessions/{session}").text
    place = f"/sessions/{session}/recording"
    assert place in browser.get(f"/sessions/{session}").text
    assert place not in officer.get(f"/sessions/{session}").text
    look = browser.get(place).text
    assert "nobody can have our part of the session made again" in " ".join(look.split())
    assert session in clinic.node.replays.list()
    page = browser.post(place).text
    assert "vault:replay:deleted" in page
    assert "What is kept for a replay" not in page
    assert session not in clinic.node.replays.list()
    answer = browser.get(place)
    assert (answer.status_code, "no recording" in answer.text) == (409, True)


@pytest.mark.parametrize("role", ["operator", "officer"])
def test_a_record_is_searched_at_the_page(clinic, role):
    """Its id stands in no address, no page and no log; who asked is recorded."""
    session, browser = clinic.proposed(), clinic.browser(role)
    clinic.node.store.begin_epoch(session, 1)
    clinic.node.records.keep(session, ["p7", "person-8 & “co”"], datetime.now(UTC) + timedelta(days=1))
    assert "is recorded, not of whom" in browser.get("/subject").text
    held = browser.post("/subject", record="person-8 & “co”")
    assert "It took part in 1 session<" in held.text
    assert "person-8" not in held.text
    assert "person-8" not in str(held.url)
    assert "did not take part" in browser.post("/subject", record="p9").text
    assert "by " + role in browser.get("/audit?kind=vault:records:searched").text
    assert b"person-8" not in clinic.node.journal.path.read_bytes()
    clinic.node.records.destroy(session)
    assert "can’t be told: key destroyed" in browser.post("/subject", record="p7").text


def test_every_disclosure_is_a_line(clinic):
    """Each of the contract's disclosures stands there once with its numbers; only our own stay inside."""
    contract = clinic.contract()
    lines = leaving(contract, "clinic-a")
    assert [(line.clause, line.numbers, line.times) for line in lines] == [
        (item.clause, item.values, item.count) for item in contract.disclosures
    ]
    inside = {line.clause for line in lines if not line.outside}
    assert inside == {item.clause for item in contract.disclosures if item.recipient == recipient((0,), ["clinic-a"])}
    assert not [line for line in lines if "as the contract defines it" in line.what]
    assert inferences(contract, "clinic-a")


def test_what_a_contract_says_is_text(clinic):
    """Markup in a purpose is shown, not obeyed."""
    session = clinic.proposed(purpose="<img src=x> & 'quoted'")
    browser = clinic.browser()
    for path in ("/", f"/sessions/{session}", f"/sessions/{session}/decide"):
        text = browser.get(path).text
        assert "<img" not in text
        assert "&lt;img src=x&gt;" in text


@pytest.mark.parametrize("session", ["0" * 64, "abc", "..%2f..", "%00"])
def test_an_unknown_session_is_said_so(clinic, session):
    """A wrong address is a page with the way back, not a trace."""
    answer = clinic.browser().get(f"/sessions/{session}")
    assert answer.status_code == 404
    assert "to the overview" in answer.text


def test_an_unexpected_error_is_named_and_not_quoted(clinic, capfd):
    """A mistake of ours is a page with its type alone, its text in no answer and no log, and the node goes on."""
    session, browser = clinic.proposed(), clinic.browser()
    clinic.home.path("results").joinpath(f"{session}.json").mkdir()
    answer = browser.get(f"/sessions/{session}")
    assert answer.status_code == 500
    assert "unexpected IsADirectoryError" in answer.text
    assert HEADERS.items() <= dict(answer.headers).items()
    written = "".join(capfd.readouterr())
    (line,) = (line for line in written.splitlines() if "a request failed" in line)
    assert f"session={session}" in line
    assert "Is a directory" not in answer.text + written
    assert browser.get("/").status_code == 200


def test_an_altered_log_is_said_so(clinic):
    """Verification reads the file, not what the node remembers: a changed byte is told, and where."""
    browser, path = clinic.browser("officer"), clinic.node.journal.path
    content = path.read_bytes()
    position = content.rindex(b"clinic-b")
    path.write_bytes(content[:position] + b"clinic-x" + content[position + 8 :])
    answer = browser.post("/audit/verify")
    path.write_bytes(content)
    assert "NOT VERIFIED" in browser.get("/audit").text
    assert answer.status_code == 200


def test_who_cosigned_the_log_is_said_and_counts(clinic):
    """The overview has the newest head that each partner cosigned, and verification holds the log against it."""
    node, browser = clinic.node, clinic.browser("officer")
    assert "by no partner yet" in browser.get("/").text
    partner = clinic.others["clinic-b"]
    for root, good in ((node.journal.root(1), True), (bytes(32), False)):
        note = sign(Checkpoint("clinic-a", 1, root).render(), "clinic-a", node.identity)
        note = note.with_signatures(cosign(note.text, "clinic-b", partner, datetime.now(UTC)))
        Heads(node.home.path("state.sqlite")).keep(CosignedNote("clinic-b", partner.public, note.render()))
        assert "1 entries by clinic-b" in browser.get("/").text
        browser.post("/audit/verify")
        assert ("NOT VERIFIED" not in browser.get("/").text) == good


def test_what_an_operator_should_see_to_stands_on_top(clinic):
    """A partner's key that waits to be accepted is the first thing on the page."""
    clinic.node.partners.offer("clinic-b", Identity.generate().fingerprint)
    text = clinic.browser().get("/").text
    assert text.index("privity partner accept clinic-b") < text.index("Waits for you")


def test_the_log_is_verified_on_demand(clinic):
    """The verdict shows on the pages, and that somebody asked stands in the log."""
    officer = clinic.browser("officer")
    page = officer.post("/audit/verify").text
    assert "Verified at" in page
    assert "log:file:verified" in page
    assert "Verified at" in officer.get("/").text


def test_the_log_that_is_downloaded_verifies(clinic, tmp_path):
    """The officer's copy is complete by itself, and agrees with a head taken before."""
    officer = clinic.browser("officer")
    (tmp_path / "head.txt").write_bytes(officer.get("/audit/head").content)
    clinic.proposed()
    (tmp_path / "copy.sqlite").write_bytes(officer.get("/audit/log").content)
    verdict = verify(tmp_path / "copy.sqlite", clinic.home.identity.fingerprint, tmp_path / "head.txt")
    assert verdict.ok, verdict.line()
    assert verdict.head_checked


def test_the_log_is_filtered(clinic):
    """By day, event and session; what is left out is left out."""
    session, browser = clinic.proposed(), clinic.browser()
    today = datetime.now(UTC).date().isoformat()
    received = '<code class="small">session:contract:received</code>'
    added = '<code class="small">keys:partner:added</code>'
    for query, seen, unseen in (
        ({"session": session[:10]}, received, added),
        ({"kind": "keys:partner:added"}, added, received),
        ({"since": today}, received, "No entry is so"),
        ({"until": "2020-01-01"}, "No entry is so", received),
        ({"before": "1"}, "log:file:created</code>", received),
    ):
        text = browser.get("/audit", params=query).text
        assert seen in text, query
        assert unseen not in text, query


@pytest.mark.parametrize(
    "query", [{"since": "yesterday"}, {"kind": "no:such:event"}, {"session": "<b>"}, {"before": "-1"}, {"x": "1"}]
)
def test_a_filter_that_is_none_is_named(clinic, query):
    """The key is named, the value is not repeated."""
    answer = clinic.browser().get("/audit", params=query)
    assert answer.status_code == 400
    assert next(iter(query)) in answer.text
    assert "<b>" not in answer.text


def test_a_long_log_is_read_in_pages(clinic):
    """Each entry stands on exactly one of them, newest first."""
    from parties.audit.events import PartnerRemoved
    from parties.page.ledger import Filter, excerpt

    journal = clinic.node.journal
    some = PartnerRemoved(name="clinic-z", fingerprint=clinic.others["dealer"].fingerprint)
    journal.append_all([some] * (PAGE_ENTRIES * 2))
    size, found, before = journal.size, [], None
    while True:
        part = excerpt(journal.path, size, Filter(before=before))
        found += [entry.index for entry in part.entries]
        if part.older is None:
            break
        before = part.older
    assert found == list(range(size))[::-1]
    assert "older entries" in clinic.browser().get("/audit").text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: `apt-get install chromium`")
def test_a_real_browser_is_let_in(clinic, tmp_path):
    """One click on the link in the terminal, and the browser shows what waits."""
    clinic.proposed()
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}/browser", "--dump-dom", clinic.link()]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "<h1>Waits for you</h1>" in shown
    assert "predict the outcome" in shown
