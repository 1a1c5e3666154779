"""What Prometheus is told: it adds up, and names nobody."""

from __future__ import annotations

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from gateway.client import Gateway
from parties.service.messages import Progress, Waiting
from tests.gateway.conftest import check_problem


def told(http: httpx2.Client) -> dict[tuple[str, ...], float]:
    """Every figure, by its name and its labels' values in the order of their names."""
    response = http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (
            sample.name.removeprefix("privity_gateway_"),
            *(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_figures_add_up(gateway, http: httpx2.Client, client: Gateway, make_plan):
    """Sessions by state, who is connected, what waits, messages both ways, streams, sizes and times."""
    consortium = gateway.consortium()
    gateway.invited("clinic-c")
    first, second = client.propose(make_plan()).id, client.propose(make_plan()).id
    client.cancel(second)
    consortium.a.say(Waiting(session=first, reason="a rule asks")).say(
        Progress(session=second, iteration=1, of=2, rounds=3, bytes_sent=4)
    )
    consortium.proposed()
    with http.stream("GET", f"/v1/sessions/{first}/events") as stream:
        lines = stream.iter_lines()  # held: its end would be the stream's
        next(lines)
        found = told(http)
        assert found["event_streams",] == 1
    assert (found["sessions", "proposed"], found["sessions", "cancelled"], found["sessions", "running"]) == (1, 1, 0)
    assert (found["connected", "here"], found["connected", "elsewhere"], found["joined",]) == (3, 0, 3)
    assert found["gateways",] == 1
    assert found["messages_total", "from", "publish"] == 2
    assert found["messages_total", "to", "proposal"] >= 3
    assert found["sent_bytes_total",] > 1000
    assert found["audit_log_bytes",] > 1000
    assert 0 < found["disk_free_bytes",] <= found["disk_total_bytes",]
    assert found["certificate_expires_days",] > 3000
    assert found["request_seconds_count", "POST", "/v1/sessions", "201"] == 2
    assert found["request_seconds_count", "POST", "/v1/sessions/{session}/cancel", "200"] == 1


def test_what_waits_for_operators_is_counted(gateway, http: httpx2.Client, client: Gateway, make_plan):
    """A contract that waits for an operator counts until it is signed."""
    consortium = gateway.consortium()
    client.propose(make_plan())
    contract = consortium.proposed()
    consortium.a.say(Waiting(session=contract.digest, reason="a rule asks")).settled()
    assert told(http)["waiting_approvals",] == 1
    consortium.a.say(consortium.a.approval(contract)).settled()
    assert told(http)["waiting_approvals",] == 0


def test_nobody_is_named(gateway, http: httpx2.Client, client: Gateway, make_plan):
    """Neither a participant nor a session stands in it, whatever paths were asked for."""
    gateway.consortium()
    session = client.propose(make_plan()).id
    for path in (f"/v1/sessions/{session}", f"/v1/sessions/{'0' * 64}", "/clinic-a/of/nobody", f"/sessions/{session}"):
        http.get(path)
    http.request("BREW", "/v1/sessions/secret-word")
    text = http.get("/metrics").text
    assert session not in text
    for word in ("clinic-a", "clinic-b", "dealer", "0" * 64, "secret-word", "BREW", "cohort"):
        assert word not in text


def test_metrics_need_the_token(gateway):
    """Whoever can't list sessions is told nothing here either."""
    check_problem(httpx2.get(f"http://{gateway.serving.rest}/metrics"), 401, "rest.unauthorised")
