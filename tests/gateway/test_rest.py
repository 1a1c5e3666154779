"""REST: problems, who may ask, event streams, the client's words."""

from __future__ import annotations

import asyncio
import functools
import re
import secrets
import socket
import subprocess
import sys

import httpx2
import pytest
from fastapi import FastAPI

from gateway.access.guard import MAX_BODY_BYTES
from gateway.access.tokens import TOKEN_FILE, Token
from gateway.client import Gateway
from gateway.problems import TABLE, Problem, install
from gateway.request_id import RequestIds
from parties.errors import GatewayError, SettingsError
from parties.service.lifecycle import State
from parties.service.messages import Progress
from tests.gateway.conftest import check_problem

NOBODY, NO_TOKEN, FIRST = "0" * 64, "0" * 12, "0"


def test_health_needs_no_token(gateway):
    """Anybody on this machine may ask whether the gateway serves."""
    response = httpx2.get(f"http://{gateway.serving.rest}/v1/health")
    assert response.json() == {"status": "ok", "name": "gateway", "version": "0.1.0"}


ROUTES = [
    ("POST", "/v1/plans:estimate"),
    ("GET", "/v1/sessions"),
    ("POST", "/v1/sessions"),
    ("GET", f"/v1/sessions/{NOBODY}"),
    ("GET", f"/v1/sessions/{NOBODY}/contract"),
    ("GET", f"/v1/sessions/{NOBODY}/approvals"),
    ("GET", f"/v1/sessions/{NOBODY}/plan"),
    ("GET", f"/v1/sessions/{NOBODY}/log"),
    ("GET", f"/v1/sessions/{NOBODY}/log/{FIRST}"),
    ("GET", f"/v1/sessions/{NOBODY}/events"),
    ("POST", f"/v1/sessions/{NOBODY}/cancel"),
    ("GET", "/v1/participants"),
    ("GET", "/v1/log/head"),
    ("POST", "/v1/logins"),
    ("GET", "/v1/me"),
    ("GET", "/v1/tokens"),
    ("POST", "/v1/tokens"),
    ("DELETE", f"/v1/tokens/{NO_TOKEN}"),
    ("GET", "/metrics"),
    ("GET", "/nowhere"),
]
PAGES = [("GET", "/"), ("GET", f"/sessions/{NOBODY}"), ("POST", "/logout")]


@pytest.mark.parametrize(("method", "path"), [*ROUTES, *PAGES])
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic dTpw", "Bearer", "Bearer \xff"])
def test_everything_else_needs_the_token(gateway, method: str, path: str, header: str | None):
    """Another user of this machine, who can't read the token, gets nothing from any other route."""
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    response = httpx2.request(method, f"http://{gateway.serving.rest}{path}", headers=headers)
    assert "token" in check_problem(response, 401, "rest.unauthorised").action


def test_routes_that_ask_for_the_token_are_all(http):
    """The list of routes above is the one that the application has."""
    paths = http.get("/openapi.json").json()["paths"]
    listed = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    forms = (NOBODY, "{session}"), (NO_TOKEN, "{token}"), (f"/{FIRST}", "/{entry}")
    named = {(method, functools.reduce(lambda at, form: at.replace(*form), forms, path)) for method, path in ROUTES}
    known = named - {("GET", "/nowhere")}
    assert listed == known | {("GET", "/v1/health")}


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "10.0.0.1", "", "127.0.0.1.evil.example", "[::1"])
def test_foreign_host_is_refused(http, host: str):
    """A page whose name was made to resolve to this machine can't read answers, token or not."""
    check_problem(http.get("/v1/health", headers={"host": host}), 403, "rest.forbidden")


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}],
)
def test_foreign_pages_can_not_post(http, headers: dict[str, str]):
    """A request that another site's page made is refused."""
    check_problem(http.post("/v1/sessions", json={}, headers=headers), 403, "rest.forbidden")


def test_own_pages_can_post(gateway, http):
    """A page of the gateway itself gets as far as the plan."""
    headers = {"origin": f"http://{gateway.serving.rest}", "sec-fetch-site": "same-origin"}
    check_problem(http.post("/v1/sessions", json={}, headers=headers), 422, "plan")


def test_large_and_endless_bodies_are_refused(http):
    """A body over the limit, or of unstated length, is refused before it is read."""
    body = b" " * (MAX_BODY_BYTES + 1)
    check_problem(http.post("/v1/sessions", content=body), 413, "rest.too-large")
    check_problem(http.post("/v1/sessions", content=iter([b"{", b"}"])), 413, "rest.too-large")


def test_bad_plan_is_a_problem_without_its_values(http):
    """A plan that does not fit is answered with every place, and repeats nothing that came."""
    secret = secrets.token_hex(8)
    body = {"purpose": 3, "parties": [{"name": secret.upper()}], secret: 1}
    detail = check_problem(http.post("/v1/sessions", json=body), 422, "plan").detail
    assert "purpose: Input should be a valid string" in detail
    assert "parties.0.name: String should match pattern" in detail
    assert secret.upper() not in detail


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"null", b'"x"', b"[" * 5000])
def test_malformed_body_is_a_problem(http, body: bytes):
    """What is no JSON object is a problem too, never a failure of the gateway."""
    response = http.post("/v1/sessions", content=body, headers={"content-type": "application/json"})
    assert Problem.model_validate(response.json()).status in {400, 422}


@pytest.mark.usefixtures("consortium")
def test_plan_that_does_not_resolve_is_a_problem(http, make_plan):
    """A plan with an unknown party says which, and what to do; nothing of it is kept."""
    plan = make_plan(dealer="nobody").model_dump(mode="json")
    found = check_problem(http.post("/v1/sessions", json=plan), 422, "plan")
    assert "no 'nobody'" in found.detail
    assert "privity gateway invite nobody" in found.action
    assert http.get("/v1/sessions").json() == []


def test_unknown_session_is_a_problem(http):
    """A session that nobody proposed is not found, on every route and before a stream begins."""
    for method, path in ROUTES:
        if NOBODY in path:
            check_problem(http.request(method, path), 404, "rest.not-found")
    check_problem(http.get("/v1/sessions/x"), 400, "rest.request")
    check_problem(http.get("/nowhere"), 404, "rest.not-found")
    check_problem(http.delete("/v1/sessions"), 405, "rest.method")


@pytest.mark.usefixtures("consortium")
def test_proposal_says_where_the_session_is(http, make_plan):
    """A proposed session has an address, and its contract's bytes hash to its id."""
    response = http.post("/v1/sessions", json=make_plan().model_dump(mode="json"))
    assert response.status_code == 201
    assert response.headers["location"] == f"/v1/sessions/{response.json()['id']}"
    assert http.get(response.headers["location"]).json()["state"] == "proposed"
    assert http.get(response.headers["location"] + "/contract").json() == response.json()["contract"]


def test_limit_on_open_sessions(house, make_plan):
    """One analyst can't fill the gateway: at the limit a proposal is refused until a session ends."""
    house.change("max_open_sessions = 100", "max_open_sessions = 2")
    with house.serve(), house.client() as client:
        house.consortium()
        first = client.propose(make_plan()).id
        client.propose(make_plan())
        with pytest.raises(GatewayError, match="2 sessions are open"):
            client.propose(make_plan())
        client.cancel(first)
        client.propose(make_plan())
        house.hang_up()


def test_late_watcher_sees_the_present_first(consortium, client: Gateway, make_plan):
    """Who begins to watch a running session sees its state with the latest progress; after its end, that alone."""
    session = client.propose(make_plan()).id
    consortium.started()
    consortium.a.say(Progress(session=session, iteration=7, of=300, rounds=1, bytes_sent=1)).settled()
    view = next(client.events(session)).view
    assert view.participants[0].progress is not None
    assert (view.state, view.participants[0].progress.iteration) == (State.RUNNING, 7)
    client.cancel(session)
    assert [event.view.state for event in client.events(session)] == [State.CANCELLED]


def test_watcher_that_comes_back_gets_what_it_missed(consortium, http, client: Gateway, make_plan):
    """A stream taken up with `Last-Event-ID` goes on after that event; one of an unknown id has the present first."""
    session = client.propose(make_plan()).id
    consortium.started()
    seen = client.events(session)
    first = next(seen)
    seen.close()
    consortium.a.say(Progress(session=session, iteration=7, of=300, rounds=1, bytes_sent=1)).settled()
    client.cancel(session)
    missed = list(client.events(session, after=first.id))
    assert [(event.kind, event.data.get("iteration")) for event in missed] == [("progress", 7), ("state", None)]
    assert missed[-1].view.state is State.CANCELLED
    assert [event.view.state for event in client.events(session, after="another")] == [State.CANCELLED]
    response = http.get(f"/v1/sessions/{session}/events", headers={"last-event-id": "x" * 101})
    check_problem(response, 400, "rest.request")


def test_stream_that_breaks_off_is_an_error(house, make_plan):
    """A watcher never takes the gateway's own end for the session's."""
    with house.serve():
        house.consortium()
        client = house.client()
        seen = client.events(client.propose(make_plan()).id)
        next(seen)
        house.hang_up()
    with pytest.raises(GatewayError, match="before the session's end"):
        list(seen)
    client.close()


def test_silent_gateway_is_named():
    """A gateway that does not run is told from one that refuses, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        Gateway(f"http://127.0.0.1:{port}", "token") as client,
        pytest.raises(GatewayError, match=r"the gateway at http://127.0.0.1:\d+ does not answer; start it"),
    ):
        client.sessions()


def test_wrong_token_is_named(gateway):
    """A client with another gateway's token is told which one it needs."""
    with (
        Gateway(f"http://{gateway.serving.rest}", "other") as client,
        pytest.raises(GatewayError, match="no token of this gateway that holds; send a personal token"),
    ):
        client.participants()


def test_token_stays_out_of_sight(tmp_path):
    """A token shows in no representation, is compared in constant time alone, and is not serialised."""
    token = Token.create(tmp_path)
    assert token.reveal() not in repr(token)
    assert Token.load(tmp_path / TOKEN_FILE).admits(token.reveal())
    assert not token.admits("")
    with pytest.raises(TypeError):
        token == token  # noqa: B015, PLR0124
    with pytest.raises(TypeError):
        token.__reduce__()
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        Token.load(tmp_path / TOKEN_FILE)


def test_client_needs_no_engine():
    """The client and the service load neither torch nor numpy."""
    code = "import sys, gateway.client, gateway.serve; print({'torch', 'crypten', 'numba', 'numpy'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_every_request_has_an_id(http):
    """Each answer, of whatever kind, names its request; no two are the same, and none is the client's own text."""
    own = {"x-request-id": "my-text"}
    addresses = ("/v1/sessions", "/v1/health", "/", "/nowhere", f"/v1/sessions/{NOBODY}")
    shown = [http.get(address, headers=own).headers.get_list("x-request-id") for address in addresses]
    shown.append(http.get("/v1/health", headers={"host": "evil.example"}).headers.get_list("x-request-id"))
    assert all(len(found) == 1 and re.fullmatch("[0-9a-f]{16}", found[0]) for found in shown), shown
    assert len({found[0] for found in shown}) == len(shown)


def test_failure_is_found_in_the_log(capsys):
    """A failure of the gateway itself is answered with the id under which its log has it, and says nothing else."""
    broken = FastAPI()
    broken.add_middleware(RequestIds)
    install(broken)

    @broken.get("/")
    async def fail() -> None:
        raise ValueError("a value from within")

    async def ask() -> httpx2.Response:
        transport = httpx2.ASGITransport(broken, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as asking:
            return await asking.get("/")

    response = asyncio.run(ask())
    found = check_problem(response, 500, "internal")
    assert "within" not in response.text
    assert found.instance.removeprefix("urn:privity:request:") in capsys.readouterr().out


def test_problems_are_declared(http):
    """Every route declares the problems that it answers with as what they are."""
    for path, methods in http.get("/openapi.json").json()["paths"].items():
        for operation in methods.values():
            assert path == "/v1/health" or {"401", "403", "default"} <= operation["responses"].keys(), path


def test_description_declares_no_other_errors(http):
    """What a framework would answer by itself is not declared; two problems of one status are both named."""
    description = http.get("/openapi.json")
    assert "HTTPValidationError" not in description.text
    described = description.json()["paths"]["/v1/sessions"]["post"]["responses"]["422"]["description"]
    assert described == f"{TABLE['plan'][1]}; or: {TABLE['rest.key-reused'][1]}"


@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/plans:estimate"])
@pytest.mark.parametrize("media_type", ["text/plain", "application/xml"])
def test_body_of_another_kind_is_a_problem(http, path: str, media_type: str):
    """What says that it is no JSON is not read as such, and fails nothing."""
    check_problem(http.post(path, content=b"{}", headers={"content-type": media_type}), 422, "plan")


@pytest.mark.usefixtures("consortium")
@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("retention", {"model_days": False}),
        ("retention", {"model_days": "30"}),
        ("model", {"fit_intercept": 1}),
        ("model", {"fit_intercept": "yes"}),
        ("expires_in_hours", True),
    ],
)
def test_json_means_what_it_says(http, make_plan, part: str, value: object):
    """A truth value is no number, a number no truth value and a text neither; the problem says where."""
    body = make_plan().model_dump(mode="json") | {part: value}
    found = check_problem(http.post("/v1/sessions", json=body), 422, "plan")
    assert part in found.detail
    assert "Input should be a valid" in found.detail
    assert http.get("/v1/sessions").json() == []
