"""Who may ask for what: every route by every role, cell by cell, and what an organisation sees of sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx2
import pytest

from gateway.access.permissions import TABLE, Permissions
from gateway.access.principal import CONSORTIUM, ROLES
from gateway.client import Gateway
from gateway.storage.store import Store
from parties.agreement.plan import Plan
from parties.audit.snapshot import locate, take
from parties.errors import GatewayError, SettingsError
from parties.service.messages import Head, Start
from tests.gateway.conftest import Consortium, House, check_problem

MakePlan = Callable[..., Plan]
NOBODY = "0" * 64

# Written out by hand: what the table in the code must come to for an organisation's accounts. r: reads, also by a
# read-only token; c: changes.
CELLS = """
                                    analyst operator compliance admin
GET  /                                 r       r         r        r
GET  /sessions/{session}               r       r         r        r
GET  /sessions/{session}/live          r       r         r        r
GET  /sessions/{session}/report        r       r         r        r
POST /sessions/{session}/cancel        c       c         -        c
GET  /propose                          r       -         -        r
POST /propose/review                   r       -         -        r
POST /propose/edit                     r       -         -        r
POST /propose                          c       -         -        c
GET  /participants                     r       r         r        r
GET  /audit                            r       r         r        r
GET  /tokens                           r       r         r        r
POST /tokens                           c       c         c        c
POST /tokens/{token}/revoke            c       c         c        c
GET  /static/{name}                    r       r         r        r
POST /logout                           r       r         r        r
GET  /metrics                          -       -         -        -
GET  /v1/me                            r       r         r        r
GET  /v1/tokens                        r       r         r        r
POST /v1/tokens                        c       c         c        c
DELETE /v1/tokens/{token}              c       c         c        c
POST /v1/logins                        r       r         r        r
GET  /v1/participants                  r       r         r        r
GET  /v1/log/head                      r       r         r        r
POST /v1/plans:estimate                r       r         r        r
GET  /v1/sessions                      r       r         r        r
POST /v1/sessions                      c       -         -        c
GET  /v1/sessions/{session}            r       r         r        r
GET  /v1/sessions/{session}/contract   r       r         r        r
GET  /v1/sessions/{session}/approvals  r       r         r        r
GET  /v1/sessions/{session}/plan       r       r         r        r
GET  /v1/sessions/{session}/log        r       r         r        r
GET  /v1/sessions/{session}/log/{entry} r      r         r        r
GET  /v1/sessions/{session}/events     r       r         r        r
POST /v1/sessions/{session}/cancel     c       c         -        c
"""
OPEN = [
    *(("GET", "/v1/health"), ("GET", "/openapi.json"), ("GET", "/static/console.css"), ("GET", "/favicon.ico")),
    *(("GET", "/login"), ("GET", "/oidc/login"), ("GET", "/oidc/callback")),
]


def rows() -> list[tuple[str, str, dict[str, str]]]:
    """Method, path and the cell of each role."""
    roles, *lines = CELLS.strip("\n").splitlines()
    found = []
    for line in lines:
        method, path, *cells = line.split()
        found.append((method, path, dict(zip(roles.split(), cells, strict=True))))
    return found


def place(path: str, session: str = NOBODY) -> str:
    """A path with ids in the places for them."""
    return path.replace("{session}", session).replace("{token}", NOBODY[:12]).replace("{entry}", "0")


def ask(gateway: House, token: str, method: str, path: str) -> httpx2.Response:
    with gateway.http(token) as http:
        return http.request(method, place(path), follow_redirects=False)


@pytest.mark.parametrize(("method", "path", "cells"), rows(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_role_at_every_route(gateway: House, method: str, path: str, cells: dict[str, str]):
    """A role that may gets as far as the request itself; any other, and a read-only token that changes, is refused."""
    gateway.invited("clinic-a")
    for role, cell in cells.items():
        for reads_only in (False, True):
            token = gateway.personal(f"{role}-{int(reads_only)}", "clinic-a", role, is_read_only=reads_only)
            response = ask(gateway, token, method, path)
            if cell == "-" or (reads_only and cell == "c"):
                found = check_problem(response, 403, "rest.forbidden")
                assert ("role" in found.detail) == (cell == "-")
            else:
                assert response.status_code in {200, 201, 303, 404, 422}, response.text
    check_problem(httpx2.request(method, f"{gateway.serving.url}{path}"), 401, "rest.unauthorised")


def test_figures_of_all_organisations_are_for_those_who_run_the_gateway(gateway: House):
    """Counts of everybody's sessions would tell one organisation what the others do."""
    for role in ROLES:
        answer = ask(gateway, gateway.personal(f"watcher-{role}", CONSORTIUM, role), "GET", "/metrics")
        if role in {"operator", "admin"}:
            assert answer.status_code == 200
        else:
            assert "of consortium" in check_problem(answer, 403, "rest.forbidden").action


def test_the_cells_are_all():
    """Every route of the table is in the matrix above or open, and the matrix has every role."""
    listed = {(method, path) for method, path, _ in rows()}
    assert set(TABLE) == listed | set(OPEN)
    assert {path for (_, path), rule in TABLE.items() if rule.is_open} == {path for _, path in OPEN}
    assert all(tuple(cells) == ROLES for _, _, cells in rows())


def test_route_without_a_rule_does_not_start():
    """A route that nobody wrote a rule for is an error at the start, as is a rule for no route."""

    class Route:
        def __init__(self, path: str) -> None:
            self.path, self.methods = path, {"GET", "HEAD"}

    known = Permissions({("GET", "/a"): TABLE["GET", "/"]})
    known.check_routes([Route("/a")])
    with pytest.raises(SettingsError, match="has no rule of who may use it: GET /b"):
        known.check_routes([Route("/a"), Route("/b")])
    with pytest.raises(SettingsError, match="has a rule, and is not served: GET /a"):
        known.check_routes([])


def test_what_is_in_no_table_is_refused(gateway: House):
    """No path and no method gets past the guard that the table has not; to strangers all of them look alike."""
    with gateway.http() as http:
        check_problem(http.get("/nowhere"), 404, "rest.not-found")
        check_problem(http.get("/v1/sessions/"), 404, "rest.not-found")
        response = http.delete("/v1/sessions")
        check_problem(response, 405, "rest.method")
        assert response.headers["allow"] == "GET, POST"
        check_problem(http.options("/v1/sessions"), 405, "rest.method")
    for method, path in (("GET", "/nowhere"), ("DELETE", "/v1/sessions"), ("POST", "/v1/health")):
        check_problem(httpx2.request(method, f"{gateway.serving.url}{path}"), 401, "rest.unauthorised")


@pytest.fixture
def neighbours(gateway: House, consortium: Consortium, make_plan: MakePlan) -> Iterator[dict[str, Gateway]]:
    """An analyst of each organisation; clinic-a's has proposed a session with clinic-b."""
    gateway.joined("clinic-c").publish({"lab": ("number", True)}).settled()
    names = ("clinic-a", "clinic-b", "clinic-c", "dealer", CONSORTIUM)
    clients = {name: gateway.client(gateway.personal(f"ada-{name}", name, "analyst")) for name in names}
    clients["clinic-a"].propose(make_plan())
    assert consortium.proposed()
    yield clients
    for client in clients.values():
        client.close()


def test_organisations_see_their_own_sessions(gateway: House, neighbours: dict[str, Gateway], client):
    """Who is part of a session sees it, as do the consortium's admin and officer; to all others there is none."""
    (session,) = (view.id for view in client.sessions())
    seeing = {name for name, own in neighbours.items() if [view.id for view in own.sessions()] == [session]}
    assert seeing == {"clinic-a", "clinic-b", "dealer"}
    officer = gateway.client(gateway.personal("olga", CONSORTIUM, "compliance"))
    assert [view.id for view in officer.sessions()] == [session]
    with gateway.http(gateway.personal("ada-clinic-c", "clinic-c", "admin")) as http:
        for method, path, _ in rows():
            if "{session}" in path:
                check_problem(http.request(method, place(path, session)), 404, "rest.not-found")
    stranger = neighbours["clinic-c"]
    for asked in (stranger.session, stranger.contract, stranger.cancel, lambda one: next(stranger.events(one))):
        with pytest.raises(GatewayError, match="no such session"):
            asked(session)
    with gateway.http(gateway.personal("ada-clinic-c", "clinic-c", "analyst")) as http:
        check_problem(http.get(f"/v1/sessions?cursor={session}"), 400, "rest.request")
        check_problem(http.get(f"/sessions/{session}"), 404, "rest.not-found")
        assert session[:12] not in http.get("/").text
        assert http.get("/v1/sessions?participant=clinic-a").json() == []
    officer.close()


def test_stranger_can_not_predict_by_a_model(gateway: House, consortium: Consortium, neighbours):
    """Whether a training that one is no part of exists does not show in what is said of a prediction's plan."""
    (session,) = (view.id for view in neighbours["clinic-a"].sessions())
    contract = neighbours["clinic-a"].contract(session)
    for daemon in consortium.everybody:
        daemon.say(daemon.approval(contract))
    for daemon in consortium.everybody:
        daemon.hear(Start)
        daemon.say(daemon.finished(session)).settled()
    parties = [{"name": name, "data": "cohort"} for name in ("clinic-a", "clinic-b")]
    plan = {"kind": "prediction", "purpose": "p", "legal_basis": "consent", "parties": parties, "recipient": "clinic-a"}
    said: dict[str, set[str]] = {}
    for name in ("clinic-a", "clinic-c"):
        with gateway.http(gateway.personal(f"ada-{name}", name, "analyst")) as http:
            answers = (http.post("/v1/sessions", json=plan | {"model": model}).text for model in (session, NOBODY))
            said[name] = {"no completed training" in answer for answer in answers}
    assert said == {"clinic-a": {True, False}, "clinic-c": {True}}


def test_proposer_sees_what_it_proposed(gateway: House, consortium: Consortium, make_plan: MakePlan):
    """An organisation that is no party may propose, and sees, and may cancel, what it proposed."""
    gateway.invited("broker")
    with gateway.client(gateway.personal("bob", "broker", "analyst")) as own:
        session = own.propose(make_plan()).id
        assert [view.id for view in own.sessions()] == [session]
        assert consortium.proposed().digest == session
        fault = own.cancel(session).fault
    assert fault is not None
    assert fault.what == "an analyst of broker cancelled the session"


def test_log_heads_are_for_partners(gateway: House, neighbours: dict[str, Gateway], consortium: Consortium):
    """The head of a log is shown to those that have a session with its owner, and to the consortium's admin."""
    consortium.a.say(Head(note="a note")).settled()

    def seen(own: Gateway) -> str | None:
        return next(view.head for view in own.participants() if view.name == "clinic-a")

    found = {name: seen(own) for name, own in neighbours.items()}
    with gateway.client() as admin:
        assert seen(admin) == "a note"
    assert {name for name, head in found.items() if head} == {"clinic-a", "clinic-b", "dealer"}


def test_idempotency_keys_are_an_account_s_own(gateway: House, neighbours: dict[str, Gateway], make_plan):
    """Two accounts that choose the same key propose two sessions, and neither is told of the other's."""
    ids = {neighbours[name].propose(make_plan(), "k").id for name in ("clinic-a", "clinic-b")}
    assert len(ids) == 2
    assert neighbours["clinic-a"].propose(make_plan(), "k").id in ids
    with gateway.client() as admin:
        assert len(admin.sessions()) == 3


def test_log_says_who_proposed_and_cancelled(gateway: House, consortium: Consortium, make_plan: MakePlan):
    """Account, organisation and role of whoever proposed or cancelled stand in the gateway's audit log."""
    with gateway.client(gateway.personal("ada", "clinic-a", "analyst")) as own:
        session = own.propose(make_plan()).id
    assert consortium.proposed().digest == session
    with gateway.client(gateway.personal("otto", "clinic-b", "operator")) as own:
        own.cancel(session)
    entries = {entry.event.type: entry.event for entry in take(locate(gateway.home)).entries()}
    for kind, who in {
        "gateway:session:proposed": ("ada", "clinic-a", "analyst"),
        "session:run:cancelled": ("otto", "clinic-b", "operator"),
    }.items():
        event = entries[kind]
        assert (event.account, event.organisation, event.role) == who


def test_sessions_of_before_are_known_by_their_contract(house: House, make_plan: MakePlan):
    """Which organisations a session concerns is in the store with it, in one transaction."""
    with house.serve(), house.client() as admin:
        house.consortium()
        session = admin.propose(make_plan()).id
        house.hang_up()
    store = Store.open(house.home)
    with store.transaction() as found:
        concerned = {name for name in ("clinic-a", "clinic-b", "dealer", CONSORTIUM, "x") if found.mark(session, name)}
    store.close()
    assert concerned == {"clinic-a", "clinic-b", "dealer", CONSORTIUM}
