"""Lists of sessions in pages and by filters, and answers that a client has already."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import httpx2
import pytest
from typer.testing import CliRunner

from gateway.access import TOKEN_FILE
from gateway.cli import app
from gateway.client import GatewayClient
from parties.lifecycle import State
from parties.plan import Plan
from tests.gateway.conftest import Consortium, House, check_problem

MakePlan = Callable[..., Plan]
NOBODY = "0" * 64


def listed(response: httpx2.Response) -> list[str]:
    assert response.status_code == 200, response.content
    return [view["id"] for view in response.json()]


@pytest.mark.usefixtures("consortium")
def test_pages_have_every_session_once(http: httpx2.Client, client: GatewayClient, make_plan: MakePlan):
    """Following `Link` shows what the whole list does, in its order, also of sessions of one second."""
    made = {client.propose(make_plan()).id for _ in range(5)}
    whole = listed(http.get("/v1/sessions"))
    assert set(whole) == made
    seen, address, pages = [], "/v1/sessions?limit=2", []
    while address:
        response = http.get(address)
        pages.append(len(response.json()))
        seen += listed(response)
        address = response.links.get("next", {}).get("url", "")
    assert (seen, pages) == (whole, [2, 2, 1])
    assert "link" not in http.get("/v1/sessions?limit=5").headers
    assert "link" not in http.get("/v1/sessions").headers


@pytest.mark.usefixtures("consortium")
def test_newest_is_first_and_new_ones_move_no_page(
    gateway: House, http: httpx2.Client, client: GatewayClient, make_plan: MakePlan
):
    """What is proposed between two pages neither hides nor repeats a session."""
    first = client.propose(make_plan()).id
    gateway.time_ahead += timedelta(minutes=1)
    second = client.propose(make_plan()).id
    page = http.get("/v1/sessions?limit=1")
    gateway.time_ahead += timedelta(minutes=1)
    third = client.propose(make_plan()).id
    assert (listed(page), listed(http.get(page.links["next"]["url"]))) == ([second], [first])
    assert listed(http.get("/v1/sessions")) == [third, second, first]


@pytest.mark.usefixtures("consortium")
def test_filters_hold_together(gateway: House, http: httpx2.Client, client: GatewayClient, make_plan: MakePlan):
    """State, kind and participant select alone and together; the next page keeps them."""
    gateway.joined("clinic-c").publish({"lab": ("number", True)}).settled()
    parties = [
        {"name": "clinic-a", "data": "cohort", "columns": ["age"]},
        {"name": "clinic-c", "data": "cohort", "columns": ["lab"]},
    ]
    first, second = client.propose(make_plan()).id, client.propose(make_plan()).id
    with_c = client.propose(make_plan(parties=parties)).id
    client.cancel(first)

    def found(query: str) -> set[str]:
        return set(listed(http.get(f"/v1/sessions?{query}")))

    assert found("participant=clinic-c") == {with_c}
    assert found("participant=clinic-b") == {first, second}
    assert found("participant=dealer") == {first, second, with_c}
    assert found("participant=nobody") == set()
    assert found("state=cancelled") == {first}
    assert found("state=cancelled&state=proposed") == {first, second, with_c}
    assert found("state=cancelled&participant=clinic-c") == set()
    assert (found("kind=training"), found("kind=matching")) == ({first, second, with_c}, set())
    page = http.get("/v1/sessions?state=proposed&limit=1")
    assert {*listed(page), *listed(http.get(page.links["next"]["url"]))} == {second, with_c}


@pytest.mark.usefixtures("consortium")
def test_client_walks_the_pages(gateway: House, make_plan: MakePlan):
    """The client asks for page after page, with its filters on each."""
    with GatewayClient(f"http://{gateway.serving.rest}", gateway.token, page=2) as client:
        made = [client.propose(make_plan()).id for _ in range(5)]
        client.cancel(made[0])
        assert {view.id for view in client.sessions()} == set(made)
        assert {view.id for view in client.sessions(states=[State.PROPOSED], participant="clinic-a")} == set(made[1:])
        assert client.sessions(kind="prediction") == []


@pytest.mark.usefixtures("consortium")
def test_command_lists_what_is_asked_for(gateway: House, client: GatewayClient, make_plan: MakePlan):
    """`privity session list` takes the same filters."""
    first, second = client.propose(make_plan()).id, client.propose(make_plan()).id
    client.cancel(first)

    def shown(*options: str) -> set[str]:
        place = ["--gateway", f"http://{gateway.serving.rest}", "--token-file", str(gateway.home / TOKEN_FILE)]
        found = CliRunner().invoke(app, ["session", "list", *place, "--json", *options])
        assert found.exit_code == 0, found.output
        return {view["id"] for view in json.loads(found.output)}

    assert shown("--state", "cancelled") == {first}
    assert shown("--state", "cancelled", "--state", "proposed") == shown() == {first, second}
    assert shown("--kind", "training", "--participant", "clinic-a", "--state", "proposed") == {second}
    assert shown("--kind", "matching") == shown("--participant", "nobody") == set()


def test_headers_are_described(http: httpx2.Client):
    """The OpenAPI description has what a page and a tagged answer carry beside their bodies."""
    paths = http.get("/openapi.json").json()["paths"]
    assert "Link" in paths["/v1/sessions"]["get"]["responses"]["200"]["headers"]
    for path in ("/v1/sessions/{session}", "/v1/sessions/{session}/contract"):
        assert "ETag" in paths[path]["get"]["responses"]["200"]["headers"]
        assert "304" in paths[path]["get"]["responses"]
    shown = paths["/v1/sessions/{session}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert shown["$ref"].endswith("/SessionView")


@pytest.mark.parametrize(
    "query",
    [
        "state=asleep",
        "kind=joke",
        "participant=No%20Name",
        "limit=0",
        "limit=501",
        "cursor=x",
        f"cursor={NOBODY}",
        "q=1",
    ],
)
def test_bad_filters_are_named(http: httpx2.Client, query: str):
    """A filter that can't be meant is a problem, never an empty list."""
    assert query.partition("=")[0] in check_problem(http.get(f"/v1/sessions?{query}"), 400, "rest.request").detail


def test_unchanged_session_is_not_sent_again(consortium: Consortium, http: httpx2.Client, make_plan: MakePlan):
    """Whoever shows a session's tag gets 304 until something of the session changes."""
    address = http.post("/v1/sessions", json=make_plan().model_dump(mode="json")).headers["location"]
    first = http.get(address)
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = http.get(address, headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), known
    for known in ('"other"', tag.strip('"'), ""):
        assert http.get(address, headers={"if-none-match": known}).content == first.content, known
    consortium.a.say(consortium.a.approval(consortium.proposed())).settled()
    changed = http.get(address, headers={"if-none-match": tag})
    assert (changed.status_code, changed.headers["etag"] != tag) == (200, True)


@pytest.mark.usefixtures("consortium")
def test_contract_s_tag_is_its_id(http: httpx2.Client, make_plan: MakePlan):
    """A contract never changes: its tag is the session's id, its answer the very bytes."""
    made = http.post("/v1/sessions", json=make_plan().model_dump(mode="json")).json()["id"]
    address = f"/v1/sessions/{made}/contract"
    assert http.get(address).headers["etag"] == f'"{made}"'
    assert http.get(address, headers={"if-none-match": f'"{made}"'}).status_code == 304
    check_problem(http.get(f"/v1/sessions/{NOBODY}", headers={"if-none-match": "*"}), 404, "rest.not-found")
