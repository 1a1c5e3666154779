"""`privity demo` as somebody runs it who has just installed it, and what it leaves behind."""

from __future__ import annotations

import json
import secrets

import pytest

from gateway.sandbox.trial import AUC_TOLERANCE
from mpc.curves import CURVES
from parties.agreement.kinds import parse_contract
from parties.audit.events import DisclosureRecorded, DisclosureTold
from parties.audit.snapshot import locate, take
from parties.audit.verify import verify
from parties.keys.identity import Identity
from parties.service.store import SessionStore
from tests.e2e.world import privity

CLINICS = ["clinic-mean", "clinic-error", "clinic-worst"]
EVERYBODY = ["gateway", *CLINICS, "dealer"]
FLIPS = 40
NEAR_ROWS = 3


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One run: its directory, its report, and what it printed."""
    place = tmp_path_factory.mktemp("demo")
    done = privity("demo", "--dir", place / "all", "--report", place / "report.json")
    assert done.status == 0, done.err
    return place / "all", json.loads((place / "report.json").read_text()), done.out


def key_of(place, name):
    return Identity.load(place / name / "identity.pem").fingerprint


def test_report_says_everything(demo):
    """The report has the figures that a script would judge the run by."""
    _, report, _ = demo
    assert report["rows"] == {"train": 320, "held_out": 106}
    assert report["parties"] == CLINICS
    assert abs(report["auc"]["secure"] - report["auc"]["pooled"]) <= AUC_TOLERANCE
    assert set(report["auc"]["alone"]) == set(CLINICS)
    assert all(0.5 < auc <= 1 for auc in report["auc"]["alone"].values())
    assert 0 <= report["coef_max_abs_diff"] < 0.1
    assert report["seconds"] > 0
    assert report["rounds"] > 0
    assert set(report["bytes_sent"]) == set(EVERYBODY)
    assert all(count > 0 for count in report["bytes_sent"].values())
    assert report["audit"] == {"logs": 5, "verified": True}


def test_lists_are_matched_first(demo):
    """The clinics' lists differ; they train on what all have, and every disclosure of the matching has a clause."""
    place, report, out = demo
    matching = report["matching"]
    assert matching["rows"] == {"clinic-mean": 505, "clinic-error": 518, "clinic-worst": 526}
    assert matching["common"] == sum(report["rows"].values())
    assert matching["exact"] is True
    assert [item["name"] for item in matching["disclosures"]] == ["matches", "matched", "matched", "matched"]
    contract = parse_contract(
        SessionStore(place / "clinic-mean" / "state.sqlite").get(matching["session"]).contract.encode()
    )
    assert contract.kind == "matching"
    for said in (f"{matching['common']} records are in all lists", "a plain join", "Disclosed by the matching"):
        assert said in out


def test_figures_are_those_of_the_pooled_table(demo):
    """What the session is told of the held-out rows is what scikit-learn says of them, to three digits."""
    place, report, _ = demo
    (model,) = report["models"]
    secure, pooled = model["secure"], model["pooled"]
    assert all(abs(secure[name] - pooled[name]) < 2e-3 for name in ("auc", "log_loss", "brier"))
    for name in CLINICS:
        shown = json.loads(privity("result", "show", report["session"][:12], "--home", place / name, "--json").out)
        assert [each["figures"] for each in shown["models"]] == [secure]


def test_tables_hold_the_pooled_counts(demo):
    """Each count that the session is told as a range is, but for a few rows near a threshold, the pooled model's."""
    _, report, _ = demo
    for curve in CURVES:
        told, plain = (report["models"][0][who][curve] for who in ("secure", "pooled"))
        assert told["thresholds"] == plain["thresholds"]
        for label in ("positives", "negatives"):
            for (least, most), (count, _) in zip(told[label], plain[label], strict=True):
                assert most - least >= 9
                assert least - NEAR_ROWS <= count <= most + NEAR_ROWS


def test_stages_have_times(demo):
    """Every stage took some time, and no more than all together."""
    place, report, _ = demo
    assert list(report["stages"]) == ["matching", "preparation", "masking", "training", "evaluation", "results"]
    assert 0 < sum(report["stages"].values()) < 3 * report["seconds"]  # each of the slowest of three parties
    shown = json.loads(privity("result", "show", report["session"][:12], "--home", place / CLINICS[0], "--json").out)
    assert set(shown["stages"]) == set(report["stages"])


def test_every_disclosure_is_one_that_the_contract_names(demo):
    """What was opened, to whom and how often stays within the clauses of the contract that all signed."""
    place, report, _ = demo
    store = SessionStore(place / "clinic-mean" / "state.sqlite")
    contract = parse_contract(store.get(report["session"]).contract.encode())
    clauses = {(item.name, item.recipient, item.clause): item.count for item in contract.disclosures}
    assert {item["name"] for item in report["disclosures"]} == {
        *("coefficients", "intercept", "guard", "loss", "converged"),
        *("auc", "log-loss", "brier", "roc", "calibration"),
    }
    for item in report["disclosures"]:
        assert item["count"] <= clauses[item["name"], item["recipient"], item["clause"]]


def test_every_value_that_was_told_is_bound_by_the_log(demo):
    """A party's log has a salted digest of each value that it was told, and of no other; its home has the values."""
    place, report, _ = demo
    for name in CLINICS:
        entries = [entry.event for entry in take(locate(place / name)).entries()]
        recorded = [one for one in entries if isinstance(one, DisclosureRecorded)]
        due = {
            (one.session, one.name, one.clause, one.count)
            for one in recorded
            if "session" in one.recipients or name in one.recipients[0].partition(":")[2].split(",")
        }
        told = [one for one in entries if isinstance(one, DisclosureTold)]
        assert {(one.session, one.name, one.clause, one.count) for one in told} == due
        assert len({one.digest for one in told}) == len(due)
        trained = sum(session == report["session"] for session, *_ in due)
        verified = privity("result", "verify", report["session"][:12], "--home", place / name)
        assert (verified.status, f"all {trained} values" in verified.out) == (0, True), verified.err


def test_tables_are_printed(demo):
    """Somebody who only looks at the terminal sees models, costs, disclosures and verdicts."""
    _, report, out = demo
    for said in (
        "secure: all parties' data",
        "pooled: scikit-learn",
        "bytes sent",
        "allowed by",
        "verified",
        "log-loss",
        "no score",
        "roc: from probability",
        "share of positive rows",
        "evaluation ",
    ):
        assert said in out
    assert f"{report['auc']['secure']:.4f}" in out


@pytest.mark.parametrize("name", EVERYBODY)
def test_logs_verify_offline(demo, name):
    """Each log is one file, complete by itself, and verifies with the key that its owner read over the phone."""
    place, _, _ = demo
    assert not list((place / name).glob("audit.sqlite-*"))
    confirmed = privity("audit", "verify", place / name, "--key", key_of(place, name))
    assert confirmed.status == 0, confirmed.err
    unconfirmed = privity("audit", "verify", place / name / "audit.sqlite")
    assert unconfirmed.status == 0, unconfirmed.err
    assert "not confirmed" in unconfirmed.out + unconfirmed.err
    other = privity(
        "audit", "verify", place / name, "--key", key_of(place, "clinic-mean" if name != "clinic-mean" else "dealer")
    )
    assert other.status == 1


@pytest.mark.parametrize("name", EVERYBODY)
def test_flipped_byte_in_a_log_is_found(demo, tmp_path, name):
    """Whichever byte somebody alters, the verification says so."""
    place, _, _ = demo
    content = (place / name / "audit.sqlite").read_bytes()
    copy, key = tmp_path / "audit.sqlite", key_of(place, name)
    copy.write_bytes(content)
    assert verify(copy, key).ok
    for _ in range(FLIPS):
        at = secrets.randbelow(len(content))
        altered = bytearray(content)
        altered[at] ^= 1 << secrets.randbelow(8)
        copy.write_bytes(altered)
        assert not verify(copy, key).ok, f"byte {at}"


def test_results_are_shown_at_home(demo):
    """Each clinic reads its own coefficients at its own node; the label's owner has the intercept."""
    place, report, _ = demo
    for name in CLINICS:
        shown = privity("result", "show", report["session"][:12], "--home", place / name, "--json")
        assert shown.status == 0, shown.err
        result = json.loads(shown.out)
        (model,) = result["models"]
        assert len(result["columns"]) == len(model["standardised"]) == 10
        assert len(result["rungs"]) == 1  # Newton's method has one segment
        assert (model["intercept"] is not None) == (name == "clinic-error")


def test_directory_that_holds_something_is_refused(tmp_path):
    """A run never mixes with what was there."""
    (tmp_path / "kept").write_text("kept")
    done = privity("demo", "--dir", tmp_path)
    assert done.status == 1
    assert "not empty" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
