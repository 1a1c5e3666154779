"""What nobody should send: each is a problem, and the session's state stays what it was."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from gateway.problems import MEDIA_TYPE, Problem
from parties.agreement.plan import Plan
from parties.audit.snapshot import locate, take
from parties.service.lifecycle import State
from parties.service.messages import Start, Stop, Waiting
from tests.gateway.conftest import DEADLINE_S, Consortium, Daemon, House, check_problem

MakePlan = Callable[..., Plan]


def logged(gateway: House, kind: str) -> int:
    return sum(entry.event.type == kind for entry in take(locate(gateway.home)).entries())


def all_heard(daemon: Daemon) -> list[object]:
    """Whatever a daemon was told, up to the answer to a word about a session that there can't be."""
    daemon.say(Waiting(session="0" * 64, reason="are you there?"))
    heard: list[object] = []
    while not (heard and isinstance(heard[-1], Stop) and heard[-1].session == "0" * 64):
        heard.append(daemon.incoming.get(timeout=DEADLINE_S))
    return heard


@pytest.mark.usefixtures("consortium")
def test_unknown_keys_are_named_at_any_depth(http: httpx2.Client, make_plan: MakePlan):
    """A key that no plan has is refused wherever it stands, with its place, and nothing is proposed."""
    for change, where in (
        ({"colour": "blue"}, "colour"),
        ({"retention": {"model_days": 1, "colour": 2}}, "retention.colour"),
        ({"parties": [{"name": "clinic-a", "data": "cohort", "columns": ["age"], "colour": 1}]}, "parties.0.colour"),
    ):
        body = make_plan().model_dump(mode="json") | change
        found = check_problem(http.post("/v1/sessions", json=body), 422, "plan")
        assert where in found.detail
    assert http.get("/v1/sessions").json() == []


def test_cancelling_at_once_happens_once(gateway: House, consortium: Consortium, make_plan: MakePlan):
    """Of many who cancel one session at the same time one does; the others are told that it is over."""
    with gateway.client() as client:
        session = client.propose(make_plan()).id
        assert consortium.proposed().digest == session

    def cancel(_number: int) -> httpx2.Response:
        with gateway.http() as http:
            return http.post(f"/v1/sessions/{session}/cancel")

    with ThreadPoolExecutor(4) as senders:
        answers = list(senders.map(cancel, range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    for answer in answers:
        if answer.status_code == 409:
            check_problem(answer, 409, "lifecycle")
    assert logged(gateway, "session:run:cancelled") == 1


def test_approvals_that_race_a_cancellation_start_nothing(gateway: House, consortium: Consortium, make_plan: MakePlan):
    """Whichever comes first holds for all: a session is started at everybody or at nobody."""
    with gateway.client() as client:
        session = client.propose(make_plan()).id
        contract = consortium.proposed()
        with ThreadPoolExecutor(4) as senders:
            waiting = [senders.submit(daemon.say, daemon.approval(contract)) for daemon in consortium.everybody]
            cancelled = senders.submit(client.cancel, session)
            assert cancelled.result().state is State.CANCELLED
            assert all(one.result() for one in waiting)
        heard = [sum(isinstance(message, Start) for message in all_heard(daemon)) for daemon in consortium.everybody]
        assert client.session(session).state is State.CANCELLED
    assert heard == [logged(gateway, "session:run:started")] * 3
    assert logged(gateway, "session:run:cancelled") == 1


def test_revoked_account_leaves_its_sessions_as_they_are(gateway: House, consortium: Consortium, make_plan: MakePlan):
    """Whoever proposed may be gone: the session goes on, and the organisation's others still see it."""
    token = gateway.personal("ada", "clinic-a", "analyst")
    with gateway.client(token) as client:
        session = client.propose(make_plan()).id
    gateway.revoke(token)
    with gateway.http(token) as http:
        check_problem(http.post(f"/v1/sessions/{session}/cancel"), 401, "rest.unauthorised")
    consortium.started()
    with gateway.client(gateway.personal("bob", "clinic-a", "operator")) as other:
        assert other.session(session).state is State.RUNNING


def said(gateway: House, content: bytes) -> httpx2.Response:
    """What is answered to these very bytes on a connection of their own."""
    host, _, port = gateway.serving.rest.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as connection:
        connection.sendall(content)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    return httpx2.Response(int(first.split()[1]), headers=headers, content=body)


@pytest.mark.parametrize(
    "content",
    [
        b"hello\r\n\r\n",
        b"GET /v1/health\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\nno header\r\n\r\n",
        b"GET /v1/he\x00alth HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
def test_what_is_no_http_is_a_problem(gateway: House, capsys: pytest.CaptureFixture[str], content: bytes):
    """Whatever can't be read as a request is answered as all else is, by its own id; nothing of it is logged."""
    answer = said(gateway, content)
    found = check_problem(answer, 400, "rest.request")
    assert found.detail == "what came is no request of HTTP/1.1"
    assert answer.headers["connection"] == "close"
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
    assert "x-frame-options" in answer.headers
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    assert "Invalid HTTP" not in shown.out + shown.err


def test_a_head_that_does_not_end_is_a_problem(gateway: House):
    """A stranger makes the gateway keep 64 KB at most before it has read whose request it is."""
    content = b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: "
    assert (
        "too long"
        in check_problem(said(gateway, content.ljust((1 << 16) + 1, b"a")), 431, "rest.head-too-large").detail
    )


def test_what_follows_a_good_request_is_refused_by_itself(gateway: House, http: httpx2.Client):
    """On one connection a request is answered whole, then what is none once; others are served as before."""
    good = f"GET /v1/health HTTP/1.1\r\nHost: {gateway.serving.rest}\r\n\r\n".encode()
    host, _, port = gateway.serving.rest.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as connection:
        connection.sendall(good)
        first = b""
        while not first.endswith(b"}"):
            first += connection.recv(1 << 16)
        connection.sendall(b"nonsense\r\n\r\n")
        second = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert first.startswith(b"HTTP/1.1 200 OK")
    assert second.startswith(b"HTTP/1.1 400 Bad Request")
    assert second.count(b"HTTP/1.1 ") == 1
    assert http.get("/v1/health").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("HEAD", "/v1/sessions", "GET, POST"),
        ("OPTIONS", "/v1/sessions", "GET, POST"),
        ("TRACE", "/v1/sessions", "GET, POST"),
        ("BREW", "/v1/me", "GET"),
        ("HEAD", "/v1/health", "GET"),
        ("OPTIONS", "/v1/health", "GET"),
        ("HEAD", "/openapi.json", "GET"),
        ("PUT", f"/v1/tokens/{'0' * 12}", "DELETE"),
        ("GET", f"/v1/sessions/{'0' * 64}/cancel", "POST"),
        ("POST", "/static/audit.js", "GET"),
        ("HEAD", "/login", "GET"),
    ],
)
def test_another_method_is_told_which_there_are(http: httpx2.Client, method: str, path: str, allow: str):
    """405 with `Allow`, also for HEAD: a look ahead uses no login up and opens no stream."""
    response = http.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allow)
    if method != "HEAD":
        assert allow in check_problem(response, 405, "rest.method").detail


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v1/nowhere", "/v2/sessions", "//v1/sessions", "/v1/sessions/", "/v1/../v1/sessions", "*"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_paths_that_are_not_there_are_problems(gateway: House, method: str, path: str):
    """Nothing beside the table is found, however it is written; a stranger is told that a token is needed."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {gateway.serving.rest}\r\nContent-Length: 0\r\nConnection: close\r\n"
    known = said(gateway, f"{head}Authorization: Bearer {gateway.token}\r\n\r\n".encode())
    check_problem(known, 404, "rest.not-found")
    check_problem(said(gateway, f"{head}\r\n".encode()), 401, "rest.unauthorised")


@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/plans:estimate", "/v1/tokens"])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"purpose": '),
        ("application/json", b"\xff\xfe{}"),
        ("application/json", b'{"purpose": "\\ud800"}'),
        ("application/json", b'{"purpose": "\\u0000"}'),
        ("application/json", b'{"purpose": NaN}'),
        ("application/json", b"[" * 100_000),
        ("application/json", b'"' + b"9" * 100_000 + b'"'),
        ("application/json", b"1" * 10_000),
        ("application/json; charset=utf-16", '{"purpose": 1}'.encode("utf-16")),
        ("text/plain", b"{}"),
        ("application/x-www-form-urlencoded", b"purpose=x"),
        ("multipart/form-data; boundary=x", b"--x--"),
        ("", b"{}"),
        ("no media type", b"{}"),
    ],
)
def test_a_body_that_is_no_json_object_is_a_problem(http: httpx2.Client, path: str, kind: str, body: bytes):
    """Never a failure of the gateway, and never its very words."""
    response = http.post(path, content=body, headers={"content-type": kind})
    found = Problem.model_validate(response.json())
    assert (found.status, found.code) in {(422, "plan"), (422, "rest.token"), (400, "rest.request")}, found
    assert response.headers["content-type"] == MEDIA_TYPE
    assert len(found.detail) < 2000
    assert http.get("/v1/sessions").json() == []


@pytest.mark.parametrize("text", ["%00", "a%00b", "%0a", "%1b[2J", "%7f"])
def test_a_search_is_for_printable_text(http: httpx2.Client, text: str):
    """What no purpose holds, and a database may not even take, is refused by name."""
    assert "find" in check_problem(http.get(f"/v1/sessions?find={text}"), 400, "rest.request").detail
    assert http.get(f"/?find={text}").status_code == 400
