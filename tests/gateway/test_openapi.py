"""The API is what its own description says: schemathesis asks every route for what fits it and what does not."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import BaseModel, TypeAdapter

from gateway.access.permissions import TABLE
from gateway.access.principal import Principal
from gateway.access.seen_tokens import TokenWanted
from gateway.api import examples
from gateway.planning.estimate import Estimate
from gateway.problems import MEDIA_TYPE, Problem
from gateway.problems import TABLE as PROBLEMS
from gateway.storage.token_rows import TokenView
from gateway.views import (
    ApprovalView,
    Health,
    LogHead,
    LoginOffered,
    ParticipantView,
    SessionCreated,
    SessionView,
    TokenIssued,
)
from parties.agreement.plan import Plan
from tests.gateway.conftest import House

API = {(method, path) for method, path in TABLE if path.startswith("/v1/") or path == "/metrics"}

# What a description can't say: which organisations, sessions and tokens there are. Nothing else that fits is refused.
CONFIGURATION = """
[parameters]
session = "{session}"
token = "{token}"

[[operations]]
include-name = "POST /v1/sessions"
checks.positive_data_acceptance.expected-statuses = [201, 422, 503]

[[operations]]
include-name = "POST /v1/plans:estimate"
checks.positive_data_acceptance.expected-statuses = [200, 422]

[[operations]]
include-name = "GET /v1/sessions"
checks.positive_data_acceptance.expected-statuses = [200, 400]

[[operations]]
include-name = "POST /v1/sessions/{{session}}/cancel"
checks.positive_data_acceptance.expected-statuses = [200, 409, 422]

[[operations]]
include-name = "POST /v1/tokens"
checks.positive_data_acceptance.expected-statuses = [201, 422]
"""


@pytest.mark.timeout(1000)  # of a thousand requests, on a machine that is busy
@pytest.mark.parametrize("phases", ["examples,fuzzing", pytest.param("coverage", marks=pytest.mark.long)])
def test_routes_do_as_they_are_described(house: House, make_plan: Callable[..., Plan], tmp_path: Path, phases: str):
    """No request, fitting or not, gets an answer that is not described, fails, or is let in without a token."""
    house.change("request_rate = 300.0", "request_rate = 100000.0")
    house.change("failures_a_minute = 10", "failures_a_minute = 100000")
    with house.serve(), house.client() as client:
        house.consortium().a.settled()
        session = client.propose(make_plan()).id
        client.cancel(session)
        configuration = tmp_path / "schemathesis.toml"
        token = client.create_token(TokenWanted(account="ada")).token.id
        configuration.write_text(CONFIGURATION.format(session=session, token=token))
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration), "run"]
        command += [f"{house.serving.url}/openapi.json", "-H", f"Authorization: Bearer {house.token}"]
        command += ["--seed", "7", "--generation-deterministic", "--max-examples", "20", "--no-color"]
        command += ["--phases", phases, "--request-timeout", "30"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, cwd=tmp_path)
        assert found.returncode == 0, found.stdout + found.stderr
        assert int(re.findall(r"Tested: (\d+)", found.stdout)[0]) == len(API)
        house.hang_up()


@pytest.fixture
def description(gateway: House) -> dict[str, Any]:
    found: dict[str, Any] = httpx2.get(f"{gateway.serving.url}/openapi.json").json()
    return found


def test_every_route_has_examples_and_a_scheme(description: dict[str, Any]):
    """What each answers is shown, with each problem that it declares; all but what is open name the token."""
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                if status != "304":
                    shown = [body for body in answer["content"].values() if "example" in body or "examples" in body]
                    assert shown, (method, path, status)
            is_open = TABLE[method.upper(), path].is_open
            assert (operation.get("security") == [{"token": []}]) != is_open, path
    assert description["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def test_all_routes_are_described(description: dict[str, Any]):
    """Every route under /v1, and the metrics, are in the description, and none beside."""
    listed = {(method.upper(), path) for path, methods in description["paths"].items() for method in methods}
    assert listed == API


def test_examples_of_problems_hold(description: dict[str, Any]):
    """An example of a problem is one, of the status that it stands under."""
    answers = [
        (status, code, example["value"])
        for operations in description["paths"].values()
        for operation in operations.values()
        for status, answer in operation["responses"].items()
        for code, example in answer.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {}).items()
    ]
    assert {code for _, code, _ in answers} <= set(PROBLEMS)
    for status, code, example in answers:
        problem = Problem.model_validate(example)
        assert (problem.code, status) in {(code, str(problem.status)), (code, "default")}


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (SessionView, examples.SESSION),
        (SessionView, examples.CANCELLED),
        (SessionCreated, examples.CREATED),
        (ApprovalView, examples.APPROVALS["clinic-a"]),
        (Plan, examples.TRAINING),
        (Estimate, examples.ESTIMATE),
        (ParticipantView, examples.PARTICIPANT),
        (Health, examples.HEALTH),
        (LogHead, examples.LOG_HEAD),
        (LoginOffered, examples.LOGIN),
        (TokenView, examples.TOKEN),
        (TokenView, examples.TOKEN_REVOKED),
        (TokenIssued, examples.TOKEN_ISSUED),
        (Principal, examples.ME),
    ],
)
def test_examples_of_answers_hold(model: type[BaseModel], example: dict[str, Any]):
    """Each example is an answer that the route could give, whole."""
    found = TypeAdapter(model).validate_python(example, strict=False)
    assert TypeAdapter(model).dump_python(found, mode="json", exclude_unset=True) == example or model is ParticipantView
