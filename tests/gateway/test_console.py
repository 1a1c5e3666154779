"""Browsers: one-time logins, and what the pages of a session say."""

from __future__ import annotations

import html
import json
import re
import secrets
import sqlite3
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from gateway.access.logins import CODE_S, COOKIE, LOGIN_S, Attempt, Logins
from gateway.access.principal import BOOTSTRAP
from gateway.cli import app
from gateway.console import rendering
from gateway.errors import Unauthorised
from gateway.home import AUDIT_FILE
from gateway.problems import MEDIA_TYPE
from gateway.storage.store import Store
from mpc.curves import Points
from parties.agreement.match_plan import MatchingPlan
from parties.agreement.plan import parse_plan
from parties.audit.events import ConsoleClosed, Event, LoginFailed
from parties.audit.snapshot import locate, take
from parties.data.schema import Column, Schema
from parties.keys.identity import fingerprint_words
from parties.service.messages import Fault, Figures, Progress, Publish, PublishedData, ToldModel
from tests.gateway.conftest import COLUMNS, DEADLINE_S


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open(tmp_path)) as opened:
        yield opened


def test_every_gateway_on_a_database_knows_a_login(store: Store):
    """A code of one turns into a cookie at another; what one closed is over everywhere, and no secret is kept."""
    one, other = Logins(store), Logins(store)
    code = one.offer(BOOTSTRAP)
    _, cookie = other.redeem(code)
    assert one.principal(cookie) == other.principal(cookie) == BOOTSTRAP
    with store.reading() as rows:
        kept = str(rows._connection.exec_driver_sql("SELECT * FROM logins").all())
    assert code not in kept
    assert cookie not in kept
    assert one.close(cookie) == BOOTSTRAP
    assert other.principal(cookie) is None
    assert other.principal("") is None
    again = one.open(BOOTSTRAP)
    assert (other.close_all(), one.principal(again)) == (1, None)


def test_an_operator_ends_all_logins(gateway, client):
    """`privity gateway logout` puts every browser out, of a gateway that runs."""
    with httpx2.Client() as browser:
        browser.get(client.login())
        assert browser.get(f"http://{gateway.serving.rest}/").status_code == 200
        done = CliRunner().invoke(app, ["gateway", "logout", "--home", str(gateway.home)])
        assert done.output == "1 logins ended\n"
        assert browser.get(f"http://{gateway.serving.rest}/").status_code == 401
    assert closed(gateway) == [ConsoleClosed(account=BOOTSTRAP.account, by="operator")]


def test_a_revoked_token_s_logins_end_and_are_recorded(gateway):
    """Those that it was asked for by, however many; another's goes on."""
    gateway.invited("clinic-a")
    token, other = (gateway.personal(name, "clinic-a", "operator") for name in ("ada", "bob"))
    with ExitStack() as open_now:
        browsers = [open_now.enter_context(httpx2.Client()) for _ in range(3)]
        for browser, shown in zip(browsers, (token, token, other), strict=True):
            with gateway.client(shown) as client:
                browser.get(client.login())
        gateway.revoke(token)
        found = [browser.get(f"{gateway.serving.url}/v1/me").status_code for browser in browsers]
    assert found == [401, 401, 200]
    assert closed(gateway, 2) == [ConsoleClosed(account="ada", by="token")] * 2


def closed(gateway, count: int = 1) -> list[Event]:
    """What the log has of logins that ended, once the daemon has recorded so many."""
    deadline = time.monotonic() + DEADLINE_S
    while len(found := gateway.recorded(ConsoleClosed)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_refused_logins_are_recorded(house):
    """Wrong tokens, used and made-up codes; nobody who showed nothing, and nothing of what was shown."""
    with house.serve():
        with house.client() as client, httpx2.Client(base_url=house.serving.url) as browser:
            address = client.login()
            assert browser.get(address).status_code == 303
            for code in (address.partition("code=")[2], "a-made-up-code", "a-made-up-code"):
                assert browser.get("/login", params={"code": code}).status_code == 401
            browser.cookies.clear()
            for headers in ({}, {"authorization": "Bearer a-made-up-token"}, {"authorization": "Basic made-up"}, {}):
                assert browser.get("/v1/me", headers=headers).status_code == 401
        assert house.recorded(LoginFailed) == [LoginFailed(by="code", count=1), LoginFailed(by="token", count=1)]
    later = house.recorded(LoginFailed)[2:]
    assert sorted((one.by, one.count) for one in later) == [("code", 2), ("token", 1)]
    assert b"made-up" not in (house.home / AUDIT_FILE).read_bytes()


def test_a_provider_s_login_is_its_browser_s_alone():
    """What comes back is taken with the cookie that it was begun with, within ten minutes."""
    clock = Clock()
    begun, foreign = Attempt.begin(clock()), Attempt.begin(clock())
    assert len({begun.state, begun.nonce, begun.verifier, foreign.state, foreign.cookie}) == 5
    assert begun.cookie.partition(".")[2] not in repr(begun) + begun.state
    clock.now = CODE_S
    assert Attempt.of(begun.cookie, begun.state, clock()) == begun
    for cookie, state in ((foreign.cookie, begun.state), (begun.cookie, foreign.state), ("", ""), ("x", "x")):
        assert Attempt.of(cookie, state, clock()) is None
    later = Attempt(f"{int(CODE_S)}.{begun.cookie.partition('.')[2]}")
    assert Attempt.of(later.cookie, begun.state, clock()) is None
    clock.now = CODE_S + 1
    assert Attempt.of(begun.cookie, begun.state, clock()) is None


def test_a_code_works_once(store: Store):
    """A second use of the same address is refused: whoever saw it over a shoulder gets nothing."""
    logins = Logins(store)
    code = logins.offer(BOOTSTRAP)
    principal, cookie = logins.redeem(code)
    assert logins.principal(cookie) == principal == BOOTSTRAP
    with pytest.raises(Unauthorised):
        logins.redeem(code)
    assert logins.principal(code) is None


def test_codes_and_logins_end(store: Store):
    """A code holds ten minutes, a login twelve hours."""
    clock = Clock()
    logins = Logins(store, clock)
    late, (_, used) = logins.offer(BOOTSTRAP), logins.redeem(logins.offer(BOOTSTRAP))
    clock.now = CODE_S
    with pytest.raises(Unauthorised):
        logins.redeem(late)
    assert logins.principal(used) == BOOTSTRAP
    clock.now = LOGIN_S
    assert logins.principal(used) is None


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
        assert [kind for kind in logged if ":login:" in kind] == [
            f"gateway:login:{what}" for what in ("offered", "opened", "failed")
        ]
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
    for said in (
        "text in either case",
        "<dd>50; with fewer",
        "data set both",
        "for 90 days",
        "Which of clinic-a’s own records",
    ):
        assert said in page
    assert "rows train" not in page


def test_an_estimate_s_page_says_what_was_told(client, gateway, consortium):
    """What is counted, and the number, once both parties told the same."""
    parties = [{"name": name, "data": "cohort"} for name in ("clinic-a", "clinic-b")]
    plan = {"kind": "matching", "reveal": "estimate", "purpose": "is it worth it", "parties": parties}
    session = client.propose(MatchingPlan.model_validate(plan)).id
    consortium.started()
    for daemon in consortium.everybody:
        told = None if daemon is consortium.dealer else 60
        daemon.say(daemon.finished(session).model_copy(update={"estimate": told})).settled()
    assert client.session(session).estimate == 60
    with httpx2.Client() as browser:
        browser.get(client.login())
        page = browser.get(f"http://{gateway.serving.rest}/sessions/{session}").text
    for said in ("a random one in 2", "about 60 records are common to all", "of a random sample"):
        assert said in page
    assert "keeps its own" not in page
    assert "as data set" not in page


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


@pytest.fixture
def pages(gateway, client):
    """A browser's HTTP, logged in."""
    with httpx2.Client(base_url=gateway.serving.url, follow_redirects=True, timeout=60) as browser:
        browser.get(client.login())
        browser.headers["origin"] = gateway.serving.url
        yield browser


def form_token(pages):
    """As any of the login's forms has it."""
    return re.search(r'name="form_token" value="([0-9a-f]{64})"', pages.get("/propose", params=BOTH).text)[1]


BOTH = {"data.clinic-a": "clinic-a:cohort", "data.clinic-b": "clinic-b:cohort"}
FILLED = {
    "data": ["clinic-a:cohort", "clinic-b:cohort"],
    "purpose": "predict the outcome",
    "legal_basis": "consent",
    "parties.0.columns": ["age", "outcome"],
    "parties.1.columns": ["dose", "lab", "outcome"],
    "recipe:lab": "mean",
    "recipe:outcome": "levels",
    "label": "clinic-a:outcome",
    "label.positive": "yes",
    "model.C": "0.1, 1",
    "model.folds": "3",
    "model.fit_intercept": "yes",
    "evaluation.figures": ["roc", "auc"],
}


@pytest.mark.usefixtures("consortium")
def test_a_form_becomes_a_session(client, pages):
    """What is read before is what is proposed, to the key; pressing the button twice proposes once."""
    read = pages.post("/propose/review", data={**FILLED, "form_token": form_token(pages)}).text
    for said in ("Before it is proposed", "0.1, 1: the best of 3 folds", "lab as numbers; gaps filled with the mean"):
        assert said in read
    text = html.unescape(re.search(r'<pre id="toml"[^>]*>(.*?)</pre>', read, re.DOTALL)[1])
    fields = dict(re.findall(r'name="(plan|key)" value="([^"]*)"', read))
    fields = {name: html.unescape(value) for name, value in fields.items()} | {"form_token": form_token(pages)}
    assert not client.sessions()
    first, again = pages.post("/propose", data=fields), pages.post("/propose", data=fields)
    assert first.url == again.url
    (session,) = client.sessions()
    assert first.url.path == f"/sessions/{session.id}"
    contract = client.contract(session.id)
    plan = parse_plan(tomllib.loads(text))
    assert plan.model_dump_json() == fields["plan"]
    assert (contract.purpose, contract.model, contract.label) == (plan.purpose, plan.model, plan.label)
    assert [party.columns for party in contract.parties] == [("age",), ("dose", "lab", "outcome")]
    again = pages.get("/propose", params={"like": session.id}).text
    assert 'value="predict the outcome"' in again
    assert "as in the earlier plan" in again


@pytest.mark.usefixtures("consortium")
@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"purpose": ""}, "purpose", "is missing"),
        ({"purpose": "\x1b[2J"}, "purpose", "one line of printable characters"),
        ({"label": ""}, "label", "is missing"),
        ({"label.positive": ""}, "label.positive", "name the positive class"),
        ({"model.C": "-1"}, "model.C", "a decimal number"),
        ({"model.folds": "1"}, "model.folds", "2 at least"),
        ({"model.folds": "many"}, "model.folds", "valid integer"),
        ({"split.held_out": "0.95"}, "split.held_out", "at most 0.9"),
        ({"expires_in_hours": "0"}, "expires_in_hours", "greater than or equal to 1"),
        ({"parties.0.columns": [], "label": "clinic-b:outcome"}, "parties", "brings neither"),
        ({"parties.1.columns": ["nothing"]}, "parties.1", "has no column"),
        ({"parties.1.columns": ["lab"], "recipe:lab": ""}, "parties.1", "has missing values"),
        ({"dealer": "clinic-a"}, "dealer", "also a party"),
        ({"dealer": "nobody"}, "dealer", "knows no"),
        ({"data": ["clinic-a:cohort", "clinic-a:cohort"]}, "parties", "at least 2"),
        ({"mbit_s": "fast"}, "links", "valid number"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(client, pages, changed, field, said):
    """Each complaint stands under the field that it is about, what was typed stays, and nothing is proposed."""
    response = pages.post("/propose/review", data={**FILLED, **changed, "form_token": form_token(pages)})
    assert response.status_code == 422
    places = dict(re.findall(r'<p class="fault" id="error-([^"]+)">(.+?)</p>', response.text))
    assert said in html.unescape(places[field])
    assert f'href="#{field}"' in response.text
    assert re.search(rf'id="{field}"', response.text)
    assert 'value="consent"' in response.text
    assert not client.sessions()


def fields_of(text):
    """What the page of a plan that was read would propose."""
    fields = dict(re.findall(r'name="(form_token|plan|key)" value="([^"]*)"', text))
    return {name: html.unescape(value) for name, value in fields.items()}


def complaints(response):
    """By field, each of which is on the page, with what was typed."""
    assert response.status_code == 422
    found = dict(re.findall(r'<p class="fault" id="error-([^"]*)">(.+?)</p>', response.text))
    for field in found:
        assert re.search(rf'id="{re.escape(field)}"', response.text)
        assert f'href="#{field}"' in response.text
    assert 'value="consent"' in response.text
    return {field: html.unescape(said) for field, said in found.items()}


MATCHED = {
    "kind": "matching",
    "data": ["clinic-a:cohort", "clinic-b:cohort"],
    "purpose": "find common patients",
    "legal_basis": "consent",
    "parties.0.id_columns.0": "patient",
    "parties.1.id_columns.0": "patient",
    "rules.columns.0.kind": "alphanumeric",
    "parties.0.id_columns.1": "note",
    "parties.1.id_columns.1": "note",
    "rules.columns.1.kind": "date",
    "rules.columns.1.formats": "%d.%m.%Y | %Y-%m-%d",
    "rules.duplicates": "first",
    "rules.minimum": "40",
    "reveal": "records",
    "result": "both",
    "keep_days": "14",
}


@pytest.mark.usefixtures("consortium")
def test_a_matching_is_proposed_by_form(client, pages):
    """From the published schemas: whose columns are compared how, and what each party learns; then as it was read."""
    form = pages.get("/propose", params=BOTH | {"kind": "matching"}).text
    for said in ("Propose a matching", "patient, its id", ">note<", 'value="matched"', "Compare one more column"):
        assert said in form
    assert ">age<" not in form  # a number has lost how it was written
    token = {"form_token": form_token(pages)}
    more = pages.post("/propose/review", data=MATCHED | token | {"more": "1"})
    assert more.status_code == 200
    assert 'name="rules.columns.2.kind"' in more.text
    read = pages.post("/propose/review", data=MATCHED | token).text
    for said in ("letters and digits alone", "<dd>40; with fewer", "data set both", "for 14 days", "What it costs"):
        assert said in read
    page = pages.post("/propose", data=fields_of(read))
    (session,) = client.sessions()
    assert page.url.path == f"/sessions/{session.id}"
    contract = client.contract(session.id)
    assert [party.columns for party in contract.parties] == [("patient", "note")] * 2
    assert contract.rules.columns[1].formats == ("%d.%m.%Y", "%Y-%m-%d")
    for again in (
        pages.get("/propose", params={"like": session.id}).text,
        pages.post("/propose/edit", data=fields_of(read)).text,
    ):
        assert 'value="%d.%m.%Y|%Y-%m-%d"' in again
        assert 'value="both"' in again


@pytest.mark.usefixtures("consortium")
def test_an_estimate_is_proposed_by_form(client, pages):
    """It leaves nothing, whatever stood in the field of the result's name."""
    fields = MATCHED | {"reveal": "estimate", "form_token": form_token(pages)}
    read = pages.post("/propose/review", data=fields).text
    assert "about how many records all have" in read
    pages.post("/propose", data=fields_of(read))
    (session,) = client.sessions()
    assert client.contract(session.id).is_estimate


@pytest.mark.usefixtures("consortium")
@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"purpose": ""}, "purpose", "is missing"),
        ({"result": ""}, "result", "what the matched data set is called"),
        ({"result": "No Name"}, "result", "should match pattern"),
        ({"keep_days": "0"}, "keep_days", "greater than or equal to 1"),
        ({"rules.minimum": "many"}, "rules.minimum", "valid integer"),
        ({"rules.minimum": "101"}, "rules.minimum", "101 common records, of 100"),
        ({"rules.duplicates": "keep"}, "rules.duplicates", "'first' or 'last'"),
        ({"reveal": "all"}, "reveal", "'records' or 'estimate'"),
        ({"parties.1.id_columns.1": ""}, "parties.1.id_columns.1", "is missing"),
        ({"parties.1.id_columns.1": "patient"}, "parties", "stands twice"),
        ({"parties.1.id_columns.1": "dose"}, "parties", "holds numbers"),
        ({"rules.columns.1.formats": "x"}, "rules.columns.1.formats", "at least 2 characters"),
        ({"rules.columns.1.kind": "phone", "rules.columns.1.region": "49"}, "rules.columns.1.region", "pattern"),
        ({"data": ["clinic-a:cohort"]}, "parties", "at least 2"),
        ({"dealer": "clinic-a"}, "dealer", "also a party"),
        ({"mbit_s": "0"}, "links", "greater than or equal to"),
    ],
)
def test_what_is_wrong_with_a_matching_is_said_at_its_field(client, pages, changed, field, said):
    """As of a training; nothing is proposed."""
    found = complaints(pages.post("/propose/review", data={**MATCHED, **changed, "form_token": form_token(pages)}))
    assert said in found[field]
    assert not client.sessions()


@pytest.fixture
def model(consortium, client, make_plan):
    """The id of a completed training that keeps its model."""
    session = client.propose(make_plan()).id
    consortium.started()
    for daemon in consortium.everybody:
        daemon.say(daemon.finished(session)).settled()
    return session


def predicted(model):
    return {
        "kind": "prediction",
        "model": model,
        "data": ["clinic-a:cohort", "clinic-b:cohort"],
        "purpose": "score new patients",
        "legal_basis": "consent",
        "recipient": "clinic-b",
    }


def test_a_prediction_is_proposed_by_form(client, pages, model):
    """From a completed training whose model is kept: data sets with its columns, and who is told."""
    chosen = pages.get("/propose", params={"kind": "prediction"}).text
    address = f"/propose?kind=prediction&model={model}"
    for page in (chosen, pages.get(f"/sessions/{model}").text):
        assert address in html.unescape(page)
    form = pages.get(address).text
    for said in ("Propose a prediction", "With dose.", "cohort, 100 rows: trained on", "outcome of clinic-a"):
        assert said in form
    token = {"form_token": form_token(pages)}
    read = pages.post("/propose/review", data=predicted(model) | token).text
    for said in ("clinic-b alone: each row’s probability", "Propose it"):
        assert said in read
    page = pages.post("/propose", data=fields_of(read))
    (session,) = client.sessions(kind="prediction")
    assert page.url.path == f"/sessions/{session.id}"
    assert client.contract(session.id).recipient == "clinic-b"
    again = pages.get("/propose", params={"like": session.id}).text
    assert 'value="score new patients"' in again
    assert "<option selected>clinic-b</option>" in again


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"purpose": ""}, "purpose", "is missing"),
        ({"recipient": ""}, "recipient", "is missing"),
        ({"recipient": "dealer"}, "recipient", "is not one of the parties"),
        ({"data": ["clinic-a:cohort"]}, "parties", "at least 2"),
        (
            {"data": ["clinic-a:cohort", "clinic-c:cohort"], "recipient": "clinic-a"},
            "parties",
            "the model lies at clinic-a, clinic-b",
        ),
        ({"data": ["clinic-a:cohort", "clinic-b:few"]}, "parties", "differ in rows"),
        ({"data": ["clinic-a:cohort", "clinic-b:other"]}, "parties.1", "has no column 'dose'"),
        ({"dealer": "nobody"}, "dealer", "knows no"),
        ({"round_trip_ms": "-1"}, "links", "greater than or equal to"),
    ],
)
def test_what_is_wrong_with_a_prediction_is_said_at_its_field(
    gateway, consortium, client, pages, model, changed, field, said
):
    """As of a training; nothing is proposed."""
    gateway.joined("clinic-c").publish(COLUMNS).settled()
    tables = {"cohort": (COLUMNS, 100), "few": (COLUMNS, 30), "other": ({"lab": ("number", True)}, 100)}
    consortium.b.say(Publish(data=tuple(published(name, *each) for name, each in tables.items()))).settled()
    found = complaints(
        pages.post("/propose/review", data={**predicted(model), **changed, "form_token": form_token(pages)})
    )
    assert said in found[field]
    assert not client.sessions(kind="prediction")


def published(name, columns, rows):
    listed = tuple(Column(name=each, kind=kind, complete=complete) for each, (kind, complete) in columns.items())
    return PublishedData(table=Schema(name=name, rows=rows, id_column="patient", columns=listed), version="ab" * 16)


def test_what_left_no_model_is_not_offered(consortium, client, pages, make_plan):
    """A training that is not over, and a session that there is not."""
    session = client.propose(make_plan()).id
    assert consortium.proposed().digest == session
    assert "No training has left a model" in pages.get("/propose", params={"kind": "prediction"}).text
    assert "Predict with its model" not in pages.get(f"/sessions/{session}").text
    assert pages.get("/propose", params={"kind": "prediction", "model": "0" * 64}).status_code == 404
    fields = predicted("0" * 64) | {"form_token": form_token(pages)}
    assert pages.post("/propose/review", data=fields).status_code == 404
    assert pages.get("/propose", params={"kind": "unheard"}).status_code == 400


@pytest.mark.usefixtures("consortium")
def test_forms_of_others_are_refused(gateway, client, pages):
    """Another site's page can't propose or cancel in this browser's name: by origin, by site, by the form's token."""
    token, plan = form_token(pages), {"plan": "{}"}
    for headers, fields in (
        ({"origin": "http://elsewhere.example"}, {"form_token": token}),
        ({"sec-fetch-site": "cross-site"}, {"form_token": token}),
        ({}, {}),
        ({}, {"form_token": "0" * 64}),
        ({}, {"form_token": [token, token]}),
    ):
        assert pages.post("/propose", data=plan | fields, headers=headers).status_code == 403
    assert pages.post("/propose", data=plan | {"form_token": token}).status_code == 422
    with httpx2.Client(base_url=gateway.serving.url) as other:
        other.get(client.login())
        assert other.post("/propose", data=plan | {"form_token": token}).status_code == 403


def test_a_failed_session_says_cause_party_and_next_step(consortium, client, pages, make_plan):
    """Nobody has to look into a log to know what to do; and it can be proposed again from here."""
    session = client.propose(make_plan()).id
    consortium.started()
    fault = Fault(code="data", who="clinic-b", what="column 'dose' is constant", action="leave the column out")
    consortium.b.say(consortium.b.finished(session, fault)).settled()
    page = html.unescape(pages.get(f"/sessions/{session}").text)
    for said in ("<dd>clinic-b</dd>", "column 'dose' is constant", "leave the column out", "Propose again like"):
        assert said in page
    assert "failed, first at clinic-b" in page
    assert "<form" not in page.partition("<main")[2]


def test_a_session_is_cancelled_on_its_page(consortium, client, pages, make_plan):
    """By a form, which is not offered once it is over."""
    session = client.propose(make_plan()).id
    assert consortium.proposed().digest == session
    assert "waits for the signature of clinic-a, clinic-b and dealer" in pages.get(f"/sessions/{session}").text
    page = pages.post(f"/sessions/{session}/cancel", data={"form_token": form_token(pages)}).text
    assert client.session(session).state == "cancelled"
    assert "Cancel the session" not in page


def test_a_role_is_offered_what_it_may(gateway, consortium, client, make_plan):
    """An officer's pages have no button that would be refused."""
    session = client.propose(make_plan()).id
    assert consortium.proposed().digest == session
    for role, may in (("analyst", True), ("compliance", False)):
        token = gateway.personal(role, "clinic-a", role)
        with gateway.client(token) as own, httpx2.Client(base_url=gateway.serving.url, follow_redirects=True) as pages:
            pages.get(own.login())
            shown = pages.get("/").text + pages.get(f"/sessions/{session}").text
            assert ("Propose a session" in shown, "Propose again" in shown, "Cancel the session" in shown) == (may,) * 3
            assert f"{role} of clinic-a" in shown


def test_problems_are_pages_for_browsers(gateway, pages):
    """Whoever asks for HTML reads what is wrong and what to do; a program gets the problem as ever."""
    wants = {"accept": "text/html,*/*;q=0.8"}
    for place, status, said in (("/sessions/" + "0" * 64, 404, "no such session"), ("/nothing", 404, "Not found")):
        page = pages.get(place, headers=wants)
        assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert said in page.text
        assert "`" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert pages.get(place).headers["content-type"] == "application/problem+json"
    with httpx2.Client(base_url=gateway.serving.url) as stranger:
        page = stranger.get("/", headers=wants)
        assert (page.status_code, page.headers["www-authenticate"]) == (401, "Bearer")
        assert "<nav" not in page.text
        assert "/static/gateway.css" not in page.text


def fill(store, session, contract, count):
    """Sessions like one that there is, ended and long past, with all rows that refer to it."""
    ids = [secrets.token_hex(32) for _ in range(count)]
    for table, key in (("sessions", "digest"), ("taking_part", "session")):
        columns = [row[1] for row in store.execute(f"PRAGMA table_info({table})")]
        like = store.execute(f"SELECT * FROM {table} WHERE {key} = ?", (session,)).fetchall()  # noqa: S608
        rows = [dict(zip(columns, row, strict=True)) | {key: each} for each in ids for row in like]
        if table == "sessions":
            nonce = json.loads(contract)["nonce"]
            for number, row in enumerate(rows):
                past = f"2020-01-01T00:{number // 60 % 60:02d}:{number % 60:02d}.000000+00:00"
                row |= {"contract": contract.replace(nonce, row[key]), "state": "completed", "created": past}
        marks = ",".join(f":{name}" for name in columns)
        store.executemany(f"INSERT INTO {table} ({','.join(columns)}) VALUES ({marks})", rows)  # noqa: S608


def test_it_stays_usable_with_10000_sessions(gateway, consortium, client, pages, make_plan):
    """A page of the list takes no longer for all that it does not show; filters and the next page work."""
    session = client.propose(make_plan()).id
    text = consortium.proposed().canonical().decode()
    with closing(sqlite3.connect(gateway.home / "gateway.sqlite")) as store, store:
        fill(store, session, text, 10_000)
    began = time.monotonic()
    first = pages.get("/").text
    older = html.unescape(re.search(r'href="([^"]+)" rel="next"', first)[1])
    second = pages.get(older).text
    filtered = pages.get("/", params={"state": "open", "kind": "training", "participant": "clinic-a"}).text
    ended = pages.get("/", params={"state": "completed", "kind": "training", "participant": "dealer"}).text
    assert time.monotonic() - began < 15
    assert [each.count("<tr><td>") for each in (first, second, ended)] == [50, 50, 50]
    assert f"/sessions/{session}" in first
    assert f"/sessions/{session}" in filtered
    assert filtered.count("<tr><td>") == 1
    assert not set(re.findall(r"/sessions/[0-9a-f]{64}", first)) & set(re.findall(r"/sessions/[0-9a-f]{64}", second))
    assert pages.get("/", params={"state": "unheard"}).status_code == 200
    assert pages.get("/", params={"cursor": "0" * 64}).status_code == 400


def test_the_stage_of_each_party_is_shown_while_it_runs(consortium, client, pages, make_plan):
    """As it said last, by page and by REST; before the engine counts, no bar; after the party's end none."""
    session = client.propose(make_plan()).id
    consortium.started()
    consortium.a.say(Progress(session=session, stage="masking", iteration=0, of=0, rounds=3, bytes_sent=9)).settled()
    shown = pages.get(f"/sessions/{session}/live").text
    assert '<td data-label="stage">masking</td>' in shown
    assert "<progress" not in shown
    assert "0 of 0" not in shown
    progress = client.session(session).participants[0].progress
    assert (progress.stage, progress.iteration, progress.of) == ("masking", 0, 0)
    consortium.a.say(consortium.a.finished(session)).settled()
    assert "masking" not in pages.get(f"/sessions/{session}/live").text


def test_losses_so_far_make_a_curve(consortium, client, pages, make_plan):
    """Whoever opens the page in the middle of a run, or after it, sees the whole course of the loss."""
    session = client.propose(make_plan()).id
    consortium.started()
    for at, loss in ((10, 0.7), (20, 0.5), (30, 0.4)):
        said = Progress(session=session, iteration=at, of=40, rounds=at, bytes_sent=1000 * at, loss=loss)
        consortium.a.say(said).settled()
    shown = pages.get(f"/sessions/{session}/live").text
    assert "iteration 30 of 40" in shown
    assert 'points="75.0,0.0 150.0,66.7 225.0,100.0"' in shown
    for daemon in consortium.everybody:
        daemon.say(daemon.finished(session)).settled()
    assert "0.4000 at 30" in pages.get(f"/sessions/{session}").text


def test_a_report_prints_and_is_saved(consortium, client, pages, make_plan):
    """One file: who signed when, what may be told, what happened; `download` saves it."""
    session = client.propose(make_plan()).id
    consortium.started()
    report = pages.get(f"/sessions/{session}/report", params={"download": "true"})
    assert report.headers["content-disposition"] == f'attachment; filename="session-{session[:12]}.html"'
    for said in ("clinic-a signed", "computing began", "The mean loss over all training records", session):
        assert said in report.text
    assert "<script" not in report.text


def test_participants_are_shown_with_what_they_publish(gateway, consortium, pages):
    """Who is connected since when, and who no longer; columns, and fingerprints to be compared."""
    gateway.invited("clinic-c")
    consortium.b.hang_up()
    until_away(pages)
    page = pages.get("/participants").text
    for said in ("connected</span> since", "invited, not joined yet", "100 rows, 5 columns", "deals masks"):
        assert said in page
    assert fingerprint_words(consortium.a.identity.fingerprint) in page


def until_away(pages):
    deadline = time.monotonic() + 30
    while "last seen" not in pages.get("/participants").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_icon_is_no_failed_login(house):
    """Browsers ask for one before they are logged in, as often as they like; a wrong token is counted."""
    house.change("failures_a_minute = 10", "failures_a_minute = 1")
    with house.serve(), httpx2.Client(base_url=f"http://{house.serving.rest}") as stranger:
        icons = [stranger.get("/favicon.ico") for _ in range(10)]
        assert {(icon.status_code, icon.headers["content-type"]) for icon in icons} == {(200, "image/svg+xml")}
        wrong = [stranger.get("/").status_code for _ in range(10)]
        assert wrong[0] == 401
        assert wrong[-1] == 429


@pytest.mark.parametrize(("wanted", "kind"), [("text/html", "text/html; charset=utf-8"), ("*/*", MEDIA_TYPE)])
def test_a_page_that_fails_is_answered(monkeypatch, pages, wanted, kind):
    """A template that raises is a failure of the gateway, told and logged; the connection serves the next request."""
    true, broken = rendering._templates.get_template, rendering._templates.from_string("{{ no_such_name }}")
    with monkeypatch.context() as patched, capture_logs() as lines:
        patched.setattr(
            rendering._templates,
            "get_template",
            lambda name, *more: broken if name == "sessions.html" else true(name, *more),
        )
        found = pages.get("/", headers={"accept": wanted})
    assert (found.status_code, found.headers["content-type"]) == (500, kind)
    assert "the gateway failed at this request" in found.text
    assert "default-src 'none'" in found.headers["content-security-policy"]
    assert [line["path"] for line in lines if line["event"] == "request failed"] == ["/"]
    assert pages.get("/").status_code == 200
