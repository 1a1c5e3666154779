"""The API is what its own description says: schemathesis asks every route for what fits it and what does not."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import pytest
from pydantic import BaseModel, TypeAdapter

from gateway.access.permissions import TABLE
from gateway.access.seen_tokens import TokenWanted
from gateway.api import examples
from gateway.planning.estimate import Estimate
from gateway.problems import MEDIA_TYPE, Problem
from gateway.problems import TABLE as PROBLEMS
from gateway.storage.token_rows import TokenView
from gateway.views import (
    ApprovalView,
    Health,
    LogEntry,
    LogHead,
    LoginOffered,
    Me,
    ParticipantView,
    SessionCreated,
    SessionView,
    TokenIssued,
)
from parties.agreement.plan import Plan
from tests.gateway.conftest import House

DIALECT = "https://json-schema.org/draft/2020-12/schema"
API = {(method, path) for method, path in TABLE if path.startswith("/v1/") or path == "/metrics"}

# What a description can't say: which organisations, sessions and tokens there are. Nothing else that fits is refused.
CONFIGURATION = """
[parameters]
session = "{session}"
token = "{token}"
entry = {entry}

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
        entry = client.log_entries(session)[0].entry
        configuration.write_text(CONFIGURATION.format(session=session, token=token, entry=entry))
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration), "run"]
        command += [f"{house.serving.url}/openapi.json", "-H", f"Authorization: Bearer {house.token}"]
        command += ["--seed", "7", "--generation-deterministic", "--max-examples", "20", "--no-color"]
        command += ["--phases", phases, "--request-timeout", "30"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, cwd=tmp_path)
        assert found.returncode == 0, found.stdout + found.stderr
        assert int(re.findall(r"Tested: (\d+)", found.stdout)[0]) == len(API)
        house.hang_up()


SUCCESSES = {"200", "201", "304"}


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and all that is said of it."""
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def shown(body: dict[str, Any]) -> list[object]:
    """The examples of a body or an answer, in either form."""
    return [body["example"]] if "example" in body else [each["value"] for each in body.get("examples", {}).values()]


def resolved(description: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """What a reference refers to, or the part itself."""
    for step in part["$ref"].removeprefix("#/").split("/") if "$ref" in part else ():
        description = description[step]
    return description if "$ref" in part else part


def is_valid(description: dict[str, Any], schema: dict[str, Any], example: object) -> bool:
    whole = schema | {"$schema": DIALECT, "components": description["components"]}
    return bool(jsonschema_rs.validator_for(whole).is_valid(example))


def check_examples(description: dict[str, Any], schema: dict[str, Any], given: list[Any], at: tuple[str, ...]) -> None:
    """That there is one, and that each fits the schema which stands beside it."""
    assert given, at
    for example in given:
        assert is_valid(description, schema, example), (at, example)


@pytest.fixture
def description(gateway: House) -> dict[str, Any]:
    found: dict[str, Any] = httpx2.get(f"{gateway.serving.url}/openapi.json").json()
    return found


def test_every_route_has_a_scheme(description: dict[str, Any]):
    """All but what is open name the token."""
    for path, method, operation in operations(description):
        assert (operation.get("security") == [{"token": []}]) != TABLE[method.upper(), path].is_open, path
    assert description["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def test_every_part_has_an_example_that_fits(description: dict[str, Any]):
    """Whatever a client sends or is sent is shown: parameters, bodies, headers and answers, by their own schemas."""
    for path, method, operation in operations(description):
        for parameter in operation.get("parameters", []):
            at = (method, path, parameter["name"])
            assert parameter["description"], at
            check_examples(description, parameter["schema"], parameter["schema"].get("examples", []), at)
        for kind, body in operation.get("requestBody", {"content": {}})["content"].items():
            check_examples(description, body["schema"], shown(body), (method, path, kind))
        for status, answer in operation["responses"].items():
            assert ("content" in answer) == (status != "304"), (method, path, status)
            for kind, body in answer.get("content", {}).items():
                schema = body.get("schema") or {"type": "string"}  # of a stream `itemSchema` is each event's
                assert "schema" in body or "itemSchema" in body, (method, path, status)
                check_examples(description, schema, shown(body), (method, path, status, kind))
            for name, header in answer["headers"].items():
                found = resolved(description, header)
                assert found["description"], name
                check_examples(description, found["schema"], [found["example"]], (method, path, status, name))


def test_problems_are_described_as_what_they_are(description: dict[str, Any]):
    """No refusal is declared as another media type than it is sent with, and each route has those that any may have."""
    for path, method, operation in operations(description):
        refusals = {status: answer for status, answer in operation["responses"].items() if status not in SUCCESSES}
        assert {"401", "403", "429", "500", "503", "default"} <= refusals.keys(), (method, path)
        for answer in refusals.values():
            assert set(answer["content"]) == {MEDIA_TYPE}, (method, path)
        if "requestBody" in operation:
            assert {"413", "422"} <= refusals.keys(), (method, path)
        if "{" in path:
            assert {"400", "404"} <= refusals.keys(), (method, path)
        if operation.get("parameters"):
            assert "400" in refusals, (method, path)


def test_headers_are_described_where_they_are_sent(house: House, description: dict[str, Any]):
    """Each answer names its request, and those that refuse for now or for want of a token have what a client needs."""
    for path, method, operation in operations(description):
        for status, answer in operation["responses"].items():
            named = {"X-Request-Id"} | {"401": {"WWW-Authenticate"}, "429": {"Retry-After"}}.get(status, set())
            assert named <= answer["headers"].keys(), (method, path, status)
            others = {"Retry-After", "WWW-Authenticate"} - named
            assert not others & answer["headers"].keys(), (method, path, status)
    with httpx2.Client(base_url=house.serving.url) as stranger:
        answers = [stranger.get("/v1/me") for _ in range(40)]
    found = {answer.status_code: answer for answer in answers}
    assert set(found) == {401, 429}
    for status, answer in found.items():
        for name, header in description["paths"]["/v1/me"]["get"]["responses"][str(status)]["headers"].items():
            schema = resolved(description, header)["schema"]
            value = answer.headers[name]
            assert is_valid(description, schema, int(value) if schema.get("type") == "integer" else value), name


def test_an_example_that_does_not_fit_is_noticed(description: dict[str, Any]):
    """The comparison with schemas can fail: it follows references and looks into what they mean."""
    schema = {"$ref": "#/components/schemas/SessionView"}
    assert is_valid(description, schema, examples.SESSION)
    assert not is_valid(description, schema, examples.SESSION | {"state": "asleep"})
    assert not is_valid(description, schema, examples.SESSION | {"colour": "blue"})


def test_all_routes_are_described(description: dict[str, Any]):
    """Every route under /v1, and the metrics, are in the description, and none beside."""
    listed = {(method.upper(), path) for path, methods in description["paths"].items() for method in methods}
    assert listed == API


def test_examples_of_problems_hold(description: dict[str, Any]):
    """An example of a problem is one, of the status that it stands under."""
    answers = [
        (status, code, example["value"])
        for _, _, operation in operations(description)
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
        (LogEntry, examples.LOG_ENTRIES[0]),
        (LoginOffered, examples.LOGIN),
        (TokenView, examples.TOKEN),
        (TokenView, examples.TOKEN_REVOKED),
        (TokenIssued, examples.TOKEN_ISSUED),
        (Me, examples.ME),
    ],
)
def test_examples_of_answers_hold(model: type[BaseModel], example: dict[str, Any]):
    """Each example is an answer that the route could give, whole."""
    found = TypeAdapter(model).validate_python(example, strict=False)
    assert TypeAdapter(model).dump_python(found, mode="json", exclude_unset=True) == example or model is ParticipantView
