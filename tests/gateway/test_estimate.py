"""Estimates: what the contract will quote, and nothing done for it."""

from __future__ import annotations

import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import TypeAdapter
from typer.testing import CliRunner

from gateway.access.tokens import TOKEN_FILE
from gateway.api.examples import ESTIMATES, PLANS
from gateway.cli import app
from gateway.client import Gateway
from gateway.planning.estimate import EstimateAsked, Link
from mpc.requests import waits
from parties.agreement.kinds import AnyPlan
from parties.agreement.match_plan import parse_matching_plan
from parties.agreement.plan import Plan
from parties.audit.log import FILE_NAME as AUDIT_FILE
from parties.audit.snapshot import take
from parties.errors import SettingsError
from parties.service.messages import MeasuredLink
from tests.gateway.conftest import PLAN_TOML, Consortium, House, check_problem

MakePlan = Callable[..., Plan]
ESTIMATE = "/v1/plans:estimate"


@pytest.mark.usefixtures("consortium")
def test_estimate_is_the_contract_s_quote(client: Gateway, make_plan: MakePlan):
    """What is estimated is to the byte what the contract says once the plan is proposed."""
    found = client.estimate(make_plan())
    assert found.quote.model_dump(mode="json") == client.propose(make_plan()).contract().quote.model_dump(mode="json")
    assert (found.kind, found.parties, found.seconds) == ("training", ("clinic-a", "clinic-b"), found.quote.seconds)


@pytest.mark.usefixtures("consortium")
def test_matching_is_estimated_too(client: Gateway):
    """Each kind of plan has an estimate."""
    parties = [{"name": name, "data": "cohort"} for name in ("clinic-a", "clinic-b")]
    plan = parse_matching_plan({"kind": "matching", "purpose": "p", "result": "common", "parties": parties})
    assert client.estimate(plan).kind == "matching"


def test_estimate_leaves_nothing(gateway: House, consortium: Consortium, client: Gateway, make_plan: MakePlan):
    """Nobody is sent anything, no session is stored, and no entry is logged."""
    before = list(take(gateway.home / AUDIT_FILE).entries())
    client.estimate(make_plan())
    assert client.sessions() == []
    for daemon in consortium.everybody:
        with pytest.raises(queue.Empty):
            daemon.settled().incoming.get_nowait()
    assert list(take(gateway.home / AUDIT_FILE).entries()) == before


@pytest.mark.usefixtures("consortium")
def test_link_changes_the_time_alone(consortium: Consortium, client: Gateway, make_plan: MakePlan):
    """A longer or a narrower link takes longer by its round trips, or its bytes; the quote stays."""
    usual = client.estimate(make_plan())
    far = client.estimate(make_plan(), Link(round_trip_ms=220))
    narrow = client.estimate(make_plan(), Link(mbit_s=1))
    assert far.quote == narrow.quote == usual.quote
    client.propose(make_plan())
    waited = usual.quote.rounds / 2 + waits(consortium.proposed().program)
    assert far.seconds - usual.seconds == pytest.approx(0.2 * waited, abs=1)
    widest = max(*usual.quote.bytes_sent, usual.quote.dealer_bytes)
    assert narrow.seconds - usual.seconds == pytest.approx(widest * (8e-6 - 8e-8), abs=1)


def test_links_are_taken_as_a_session_measured_them(consortium: Consortium, client: Gateway, make_plan: MakePlan):
    """The slowest of what the plan's participants measured counts, unless another is asked about."""
    usual = client.estimate(make_plan())
    assert usual.measured == ()
    client.propose(make_plan())
    session = consortium.started().digest
    found = {
        "clinic-a": [("clinic-b", 41_000, 2_000_000), ("dealer", 90_000, None), ("stranger", 500_000, 1)],
        "clinic-b": [("clinic-a", 40_000, 5_000_000), ("clinic-b", 600_000, 1)],
        "dealer": [],
    }
    for daemon in consortium.everybody:
        links = tuple(MeasuredLink(name=n, round_trip_us=us, bytes_a_second=rate) for n, us, rate in found[daemon.name])
        daemon.say(daemon.finished(session).model_copy(update={"links": links})).settled()
    measured = client.estimate(make_plan())
    assert (measured.link, measured.measured) == (Link(round_trip_ms=90, mbit_s=16), ("round_trip_ms", "mbit_s"))
    assert measured.quote == usual.quote
    assert "90 ms (measured) and 16 Mbit/s (measured)" in "\n".join(measured.lines)
    asked = client.estimate(make_plan(), Link(round_trip_ms=5))
    assert (asked.link, asked.measured) == (Link(round_trip_ms=5, mbit_s=16), ("mbit_s",))


@pytest.mark.parametrize(
    ("link", "where"),
    [
        ({"round_trip_ms": -1}, "link.round_trip_ms"),
        ({"mbit_s": 0}, "link.mbit_s"),
        ({"mbit_s": "fast"}, "link.mbit_s"),
        ({"jitter": 1}, "link.jitter"),
    ],
)
def test_bad_link_is_named(http: httpx2.Client, make_plan: MakePlan, link: dict[str, Any], where: str):
    """A link that can't be is refused with the place."""
    body = {"plan": make_plan().model_dump(mode="json"), "link": link}
    assert f"{where}: " in check_problem(http.post(ESTIMATE, json=body), 422, "plan").detail


@pytest.mark.usefixtures("consortium")
def test_plan_that_does_not_resolve_has_no_estimate(http: httpx2.Client, make_plan: MakePlan):
    """What could not be proposed is refused as at its proposal."""
    body = {"plan": make_plan(dealer="nobody").model_dump(mode="json")}
    estimated = check_problem(http.post(ESTIMATE, json=body), 422, "plan")
    proposed = check_problem(http.post("/v1/sessions", json=body["plan"]), 422, "plan")
    assert estimated.detail == proposed.detail
    assert "plan: Field required" in check_problem(http.post(ESTIMATE, json={}), 422, "plan").detail


@pytest.mark.usefixtures("consortium")
def test_command_shows_an_estimate(gateway: House, client: Gateway, make_plan: MakePlan, tmp_path: Path):
    """`privity plan estimate` prints rounds, bytes by party, memory and seconds."""
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN_TOML)
    options = ["--gateway", f"http://{gateway.serving.rest}", "--token-file", str(gateway.home / TOKEN_FILE)]
    shown = CliRunner().invoke(app, ["plan", "estimate", str(plan), *options, "--round-trip", "80"])
    found = client.estimate(make_plan(), Link(round_trip_ms=80))
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines() == found.lines
    assert f"clinic-a {found.quote.bytes_sent[0]:,}, clinic-b" in shown.output
    refused = CliRunner().invoke(app, ["plan", "estimate", str(plan), *options, "--bandwidth", "0"])
    assert isinstance(refused.exception, SettingsError)


def test_examples_hold():
    """Each example of the OpenAPI description is a body that its route takes."""
    for example in ESTIMATES.values():
        EstimateAsked.model_validate(example["value"])
    for example in PLANS.values():
        TypeAdapter(AnyPlan).validate_python(example["value"])


def test_examples_are_shown(http: httpx2.Client):
    """The OpenAPI description has them."""
    paths = http.get("/openapi.json").json()["paths"]
    for path, examples in ((ESTIMATE, ESTIMATES), ("/v1/sessions", PLANS)):
        assert paths[path]["post"]["requestBody"]["content"]["application/json"]["examples"] == examples
