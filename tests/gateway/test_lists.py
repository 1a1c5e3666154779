"""Lists of sessions in pages and by filters, and answers that a client has already."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import httpx2
import pytest
from typer.testing import CliRunner

from gateway.access.principal import CONSORTIUM
from gateway.access.tokens import TOKEN_FILE
from gateway.api.sessions import USUAL_PAGE
from gateway.cli import app
from gateway.client import Gateway
from gateway.home import IDENTITY_FILE
from gateway.storage.store import Store
from parties.agreement.kinds import parse_contract
from parties.agreement.plan import Plan
from parties.audit.events import TokenCreated
from parties.audit.notes import parse_checkpoint, parse_note
from parties.audit.snapshot import locate, take
from parties.errors import GatewayError
from parties.keys.identity import Identity
from parties.service.lifecycle import State
from parties.service.messages import Proposal, Publish
from tests.gateway.conftest import Consortium, House, check_problem

MakePlan = Callable[..., Plan]
NOBODY = "0" * 64


def listed(response: httpx2.Response) -> list[str]:
    assert response.status_code == 200, response.content
    return [view["id"] for view in response.json()]


@pytest.mark.usefixtures("consortium")
def test_pages_have_every_session_once(http: httpx2.Client, client: Gateway, make_plan: MakePlan):
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
def test_a_page_is_asked_for_if_nothing_is_said(
    gateway: House, http: httpx2.Client, client: Gateway, make_plan: MakePlan
):
    """Without `limit` a page comes, and the next one's address with it."""
    session = client.propose(make_plan()).id
    with closing(Store.open(gateway.home)) as store, store.transaction() as rows:
        made = parse_contract(rows.contract(session).encode())
        for number in range(USUAL_PAGE):
            rows.add_session(made.model_copy(update={"nonce": f"{number:064x}"}), "{}", CONSORTIUM)
    first = http.get("/v1/sessions")
    second = http.get(first.links["next"]["url"])
    assert (len(first.json()), len(second.json())) == (USUAL_PAGE, 1)
    assert "link" not in second.headers


@pytest.mark.usefixtures("consortium")
def test_a_text_finds_ids_and_purposes(http: httpx2.Client, client: Gateway, make_plan: MakePlan):
    """`find` takes what an id begins with or a purpose holds; the client asks for no more than it needs."""
    first = client.propose(make_plan(purpose="Readmission within 30 days")).id
    second = client.propose(make_plan(purpose="mortality")).id
    assert listed(http.get("/v1/sessions", params={"find": "READMISSION"})) == [first]
    assert listed(http.get("/v1/sessions", params={"find": second[:10]})) == [second]
    assert listed(http.get("/v1/sessions", params={"find": "%"})) == []
    assert client.find(first[:10]) == first
    with pytest.raises(GatewayError, match="no sessions begin with 'mortality'"):
        client.find("mortality")
    with pytest.raises(GatewayError, match="sessions begin with ''"):
        client.find("")


@pytest.mark.usefixtures("consortium")
def test_newest_is_first_and_new_ones_move_no_page(
    gateway: House, http: httpx2.Client, client: Gateway, make_plan: MakePlan
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
def test_filters_hold_together(gateway: House, http: httpx2.Client, client: Gateway, make_plan: MakePlan):
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
    with Gateway(f"http://{gateway.serving.rest}", gateway.token, page=2) as client:
        made = [client.propose(make_plan()).id for _ in range(5)]
        client.cancel(made[0])
        assert {view.id for view in client.sessions()} == set(made)
        assert {view.id for view in client.sessions(states=[State.PROPOSED], participant="clinic-a")} == set(made[1:])
        assert client.sessions(kind="prediction") == []


@pytest.mark.usefixtures("consortium")
def test_command_lists_what_is_asked_for(gateway: House, client: Gateway, make_plan: MakePlan):
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


# streams, files, or said in a line
UNTAGGED = {
    *("/v1/sessions/{session}/events", "/v1/sessions/{session}/log/{entry}"),
    *("/v1/health", "/v1/me", "/metrics"),
}


def test_headers_are_described(http: httpx2.Client):
    """The OpenAPI description has what a page and a tagged answer carry beside their bodies."""
    paths = http.get("/openapi.json").json()["paths"]
    assert "Link" in paths["/v1/sessions"]["get"]["responses"]["200"]["headers"]
    tagged = {path for path in paths if "get" in paths[path]} - UNTAGGED
    for path in tagged:
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
        "find=",
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


@pytest.mark.parametrize(
    "path", ["/v1/sessions?limit=1", "/v1/participants", "/v1/tokens", "/v1/log/head", "/v1/sessions/{session}/plan"]
)
def test_what_is_unchanged_is_not_sent_again(
    gateway: House, consortium: Consortium, http: httpx2.Client, make_plan: MakePlan, path: str
):
    """Lists and the rest have tags that hold until what they answer changes, the next page's address with it."""
    plan = make_plan().model_dump(mode="json")
    place = path.replace("{session}", http.post("/v1/sessions", json=plan).json()["id"])
    gateway.personal("bob", "consortium", "analyst")
    gateway.until_recorded(TokenCreated)  # of which the head tells
    first = http.get(place)
    again = http.get(place, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert again.headers.get("link") == first.headers.get("link")
    http.post("/v1/sessions", json=plan)
    gateway.personal("ada", "consortium", "analyst")
    assert len({consortium.b.hear(Proposal).contract for _ in range(2)}) == 2
    consortium.b.say(Publish(data=())).settled()
    changed = http.get(place, headers={"if-none-match": first.headers["etag"]})
    assert changed.status_code == (304 if path.endswith("plan") else 200)


def test_the_gateway_s_head_is_signed(gateway: House, http: httpx2.Client, client: Gateway):
    """What is answered verifies with the key beside it, which is the gateway's, and is its log's newest head."""
    http.post("/v1/logins")
    found = client.log_head()
    identity = Identity.load(gateway.home / IDENTITY_FILE)
    assert (found.public_key, found.fingerprint) == (identity.public.hex(), identity.fingerprint)
    note = parse_note(found.head)
    assert note.signed_by(found.name, identity.public)
    assert parse_checkpoint(note.text).size == len(list(take(locate(gateway.home)).entries()))
