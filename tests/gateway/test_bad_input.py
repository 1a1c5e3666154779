"""What nobody should send: each is a problem, and the session's state stays what it was."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

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
