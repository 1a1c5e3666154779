"""Browsers: one-time logins, and pages that a real browser shows."""

from __future__ import annotations

import shutil
import subprocess

import httpx2
import pytest

from gateway.errors import Unauthorised
from gateway.logins import CODE_S, COOKIE, LOGIN_S, Logins
from mpc.curves import Points
from parties.audit.snapshot import locate, take
from parties.match_plan import MatchingPlan
from parties.messages import Figures, ToldModel

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_code_works_once():
    """A second use of the same address is refused: whoever saw it over a shoulder gets nothing."""
    logins = Logins()
    code = logins.offer()
    cookie = logins.redeem(code)
    assert logins.admits(cookie)
    with pytest.raises(Unauthorised):
        logins.redeem(code)
    assert not logins.admits(code)


def test_codes_and_logins_end():
    """A code holds ten minutes, a login twelve hours."""
    clock = Clock()
    logins = Logins(clock)
    late, used = logins.offer(), logins.redeem(logins.offer())
    clock.now = CODE_S
    with pytest.raises(Unauthorised):
        logins.redeem(late)
    assert logins.admits(used)
    clock.now = LOGIN_S
    assert not logins.admits(used)


def test_a_browser_logs_in(gateway, client):
    """The address sets a cookie that scripts and other sites can't use, and the cookie opens the pages."""
    url = client.login()
    with httpx2.Client() as browser:
        first = browser.get(url)
        assert first.status_code == 303
        assert {"httponly", "samesite=strict"} <= {
            part.strip().lower() for part in first.headers["set-cookie"].split(";")
        }
        page = browser.get(f"http://{gateway.serving.rest}/")
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "Nothing was proposed yet" in page.text
        assert browser.get(url).status_code == 401
        logged = [entry.event.type for entry in take(locate(gateway.home)).entries()]
        assert [kind for kind in logged if ":login:" in kind] == ["gateway:login:offered", "gateway:login:opened"]
        foreign = {"origin": "http://elsewhere.example"}
        assert browser.post(f"http://{gateway.serving.rest}/v1/logins", headers=foreign).status_code == 403
    with httpx2.Client(cookies={COOKIE: "guessed"}) as stranger:
        assert stranger.get(f"http://{gateway.serving.rest}/").status_code == 401


def test_a_session_s_page_shows_its_figures(gateway, consortium, client, make_plan):
    """Whoever looks at an ended session reads how good the model is; rows of one class have no AUC, in words."""
    session = client.propose(make_plan()).id
    consortium.started()
    for daemon in consortium.everybody:
        figures = Figures(auc=None, log_loss=0.4567, brier=0.125)
        told = () if daemon is consortium.dealer else (ToldModel(C="1.0", positive="yes", figures=figures),)
        stages = {"matching": 0.25, "training": 7.125} if told else {}
        converged = False if told else None
        daemon.say(daemon.finished(session, models=told, converged=converged, stages=stages)).settled()
    with httpx2.Client() as browser:
        browser.get(client.login())
        page = browser.get(f"http://{gateway.serving.rest}/sessions/{session}").text
    for said in (
        "On 25 held-out rows",
        "0.4567",
        "0.1250",
        "none: rows of one class",
        "raise max_iter",
        "7.12",
        "matching",
    ):
        assert said in page


def test_a_matching_s_page_says_what_is_compared_and_kept(gateway, client, consortium):
    """By which rules, how many must be common, and what becomes of them; no row trains and no model is named."""
    assert consortium.everybody
    parties = [{"name": name, "data": "cohort"} for name in ("clinic-a", "clinic-b")]
    plan = {"kind": "matching", "purpose": "find common patients", "result": "both", "parties": parties}
    session = client.propose(MatchingPlan.model_validate(plan)).id
    with httpx2.Client() as browser:
        browser.get(client.login())
        page = browser.get(f"http://{gateway.serving.rest}/sessions/{session}").text
    for said in ("text in either case", "if 50 are common", "as both for 90 days", "matched", "party:clinic-a"):
        assert said in page
    assert "rows train" not in page


def test_a_session_s_page_draws_its_tables(gateway, consortium, client, make_plan):
    """ROC curve and calibration are pictures and tables, without a script or a style that the page's policy forbids."""
    session = client.propose(make_plan(evaluation={"figures": ["roc", "calibration"]})).id
    consortium.started()
    table = Points(thresholds=(0.0,), positives=((0, 9), (10, 15)), negatives=((0, 9), (10, 15)))
    for daemon in consortium.everybody:
        model = ToldModel(C="1.0", positive="yes", figures=Figures(roc=table, calibration=table))
        daemon.say(daemon.finished(session, models=() if daemon is consortium.dealer else (model,))).settled()
    with httpx2.Client() as browser:
        browser.get(client.login())
        page = browser.get(f"http://{gateway.serving.rest}/sessions/{session}").text
    assert page.count("<svg") == 2
    assert "1 to 15" in page
    assert "<script" not in page
    assert "style=" not in page


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: `apt-get install chromium`")
def test_a_real_browser_shows_the_overview(gateway, client, tmp_path):
    """One click on the address in the terminal, and the browser shows what is going on."""
    gateway.invited("clinic-a")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}", "--dump-dom", client.login()]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "<h1>Sessions</h1>" in shown
    assert "clinic-a" in shown
    assert "invited, not joined yet" in shown
