"""Personal tokens over REST, on the console's page and by command: who sees, makes and ends which."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from gateway.access.accounts import MOST_TOKENS, Accounts
from gateway.access.permissions import TABLE
from gateway.access.principal import CONSORTIUM, ROLES, Principal
from gateway.access.seen_tokens import SeenTokens, TokenWanted
from gateway.access.tokens import PersonalToken
from gateway.cli import app
from gateway.client import AsyncGateway, Gateway
from gateway.errors import Forbidden
from gateway.storage.store import Store
from parties.audit.snapshot import locate, take
from parties.errors import GatewayError
from tests.gateway.conftest import House, check_problem


@pytest.fixture
def clinics(gateway: House) -> House:
    gateway.invited("clinic-a")
    gateway.invited("clinic-b")
    return gateway


def of_tokens(gateway: House) -> list[tuple[str, str, str]]:
    """What the audit log has of tokens: type, account, by whom."""
    events = (entry.event for entry in take(locate(gateway.home)).entries())
    return [(event.type, event.account, event.by) for event in events if event.type.startswith("gateway:token")]


def test_an_account_makes_sees_and_ends_its_own(clinics: House):
    """What it makes is of its organisation and role; the secret is told once, opens the gateway, and ends at once."""
    own = clinics.personal("ada", "clinic-a", "analyst", days=30)
    clinics.personal("bob", "clinic-a", "analyst")
    with clinics.client(own) as ada:
        issued = ada.create_token(TokenWanted(is_read_only=True, days=7))
        made = issued.token
        assert (made.account, made.organisation, made.role, made.is_read_only) == ("ada", "clinic-a", "analyst", True)
        assert made.expires - made.created == timedelta(days=7)
        assert issued.secret not in repr(issued)
        assert [token.id for token in ada.tokens()] == [PersonalToken(own).id, made.id]
        with clinics.http(issued.secret) as http:
            assert issued.secret not in http.get("/v1/tokens").text
            check_problem(http.post("/v1/tokens", json={}), 403, "rest.forbidden")
            check_problem(http.delete(f"/v1/tokens/{made.id}"), 403, "rest.forbidden")
            assert ada.revoke_token(made.id).revoked_by == "ada"
            check_problem(http.get("/v1/me"), 401, "rest.unauthorised")
    by_ada = [kind for kind, account, by in of_tokens(clinics) if account == by == "ada"]
    assert by_ada == ["gateway:token:created", "gateway:token:revoked"]


WIDER = {
    "account": {"account": "bob"},
    "organisation": {"organisation": "clinic-b"},
    "consortium": {"organisation": CONSORTIUM},
    "role": {"role": "admin"},
    "another role": {"role": "compliance"},
    "days": {"days": 31},
}


@pytest.mark.parametrize("asked", WIDER.values(), ids=WIDER)
def test_no_token_is_wider_than_what_made_it(clinics: House, asked: dict[str, object]):
    """Another account, organisation or role, or a later end, is refused, and nothing is made."""
    with clinics.http(clinics.personal("ada", "clinic-a", "analyst", days=31)) as http:
        found = check_problem(http.post("/v1/tokens", json=asked), 403, "rest.forbidden")
        assert found.detail.startswith(f"{next(iter(asked))}: ")
        assert len(http.get("/v1/tokens").json()) == 1


def test_a_token_made_without_days_ends_with_its_maker(clinics: House):
    """Whole days, fewer than what made it still has; from its last day on it makes none."""
    own = clinics.personal("ada", "clinic-a", "analyst", days=31)
    with clinics.client(own) as ada:
        first = ada.create_token().token
        assert first.expires - first.created == timedelta(days=30)
        clinics.time_ahead = timedelta(days=30, hours=1)
        with pytest.raises(GatewayError, match="holds no longer than yours"):
            ada.create_token()


def test_an_administrator_has_those_of_its_organisation(clinics: House):
    """Any account and role of it; of another organisation it neither makes nor sees nor ends any."""
    foreign = clinics.personal("eve", "clinic-b", "analyst")
    with clinics.client(clinics.personal("olga", "clinic-a", "admin")) as olga:
        made = olga.create_token(TokenWanted(account="bob", role="operator")).token
        assert (made.account, made.organisation, made.role, made.created_by) == ("bob", "clinic-a", "operator", "olga")
        assert {token.account for token in olga.tokens()} == {"olga", "bob"}
        assert olga.revoke_token(made.id).revoked is not None
        for refused in (
            lambda: olga.revoke_token(PersonalToken(foreign).id),
            lambda: olga.create_token(TokenWanted(account="bob", organisation="clinic-b")),
            lambda: olga.create_token(TokenWanted(account="eve")),
        ):
            with pytest.raises(GatewayError):
                refused()
    with clinics.client(foreign) as eve:
        assert [token.revoked for token in eve.tokens()] == [None]


def test_the_consortium_s_administrator_has_all(clinics: House):
    """Also by the token that the gateway was set up with, for which an account must be named."""
    clinics.personal("eve", "clinic-b", "analyst")
    with clinics.client() as bootstrap:
        made = bootstrap.create_token(TokenWanted(account="ada", organisation="clinic-a", role="compliance")).token
        assert {token.account for token in bootstrap.tokens()} == {"ada", "eve"}
        assert bootstrap.revoke_token(made.id).revoked_by == "bootstrap"
        with pytest.raises(GatewayError, match="can have no token"):
            bootstrap.create_token()
    with clinics.client(clinics.personal("root", CONSORTIUM, "admin")) as root:
        assert {token.account for token in root.tokens()} == {"ada", "eve", "root"}
    with clinics.client(clinics.personal("otto", CONSORTIUM, "compliance")) as otto:
        assert {token.account for token in otto.tokens()} == {"otto"}


def test_an_administrator_may_all_that_other_roles_may():
    """So no role of an organisation is wider than its administrator's."""
    for organisation in ("clinic-a", CONSORTIUM):
        admin = Principal("a", organisation, "admin")
        for role in ROLES:
            for key, rule in TABLE.items():
                assert rule.allows(admin) or not rule.allows(Principal("b", organisation, role)), key


def test_a_login_by_the_provider_makes_none(house: House):
    """It ends within the day, and with the provider's word; a token would outlast it."""
    with closing(Store.open(house.home)) as store:
        seen = SeenTokens(Accounts(store, None), Principal("oidc-0123", "consortium", "admin"))
        assert not seen.makes
        with pytest.raises(Forbidden, match="makes no tokens"):
            seen.make(TokenWanted(account="bob"))
        assert seen.all() == []


def test_an_account_has_so_many_at_most(clinics: House):
    """A program that makes one at each start does not fill the database."""
    with clinics.client(clinics.personal("ada", "clinic-a", "analyst")) as ada:
        made = [ada.create_token().token for _ in range(MOST_TOKENS - 1)]
        with pytest.raises(GatewayError, match=f"{MOST_TOKENS} tokens that hold"):
            ada.create_token()
        ada.revoke_token(made[0].id)
        ada.create_token()


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"days": 0}, "days"),
        ({"days": 367}, "days"),
        ({"days": "7"}, "days"),
        ({"role": "root"}, "role"),
        ({"x": 1}, "x"),
    ],
)
def test_what_is_no_token_is_named(clinics: House, body: dict[str, object], where: str):
    """Where and what, as of plans."""
    with clinics.http() as http:
        assert where in check_problem(http.post("/v1/tokens", json=body), 422, "rest.token").detail
        check_problem(http.delete("/v1/tokens/x"), 400, "rest.request")
        check_problem(http.delete(f"/v1/tokens/{'0' * 12}"), 404, "rest.not-found")


def test_the_asynchronous_client_has_the_same_calls(clinics: House):
    """List, make, end."""
    token = clinics.personal("ada", "clinic-a", "analyst")

    async def main() -> None:
        async with AsyncGateway(clinics.serving.url, token) as gateway:
            issued = await gateway.create_token()
            assert len(await gateway.tokens()) == 2
            assert (await gateway.revoke_token(issued.token.id)).revoked is not None

    asyncio.run(main())


def run(gateway: House, monkeypatch: pytest.MonkeyPatch, token: str, *arguments: str) -> str:
    monkeypatch.setenv("PRIVITY_TOKEN", token)
    found = CliRunner().invoke(app, ["token", *arguments, "--gateway", gateway.serving.url])
    assert found.exit_code == 0, found.output or found.exception
    return found.output.strip()


def test_the_commands(clinics: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`privity token` makes, lists and revokes from any machine; a file for the secret is new and nobody else's."""
    own, file = clinics.personal("ada", "clinic-a", "analyst"), tmp_path / "mine"
    assert "wrote token" in run(clinics, monkeypatch, own, "create", "--days", "7", "--read-only", "-o", str(file))
    assert file.stat().st_mode & 0o077 == 0
    secret = run(clinics, monkeypatch, own, "create")
    listed = run(clinics, monkeypatch, secret, "list").splitlines()
    assert "ada, analyst, reads only of clinic-a; holds until" in listed[1]
    issued = json.loads(run(clinics, monkeypatch, own, "create", "--json"))
    assert PersonalToken(issued["secret"]).id == issued["token"]["id"]
    ended = json.loads(run(clinics, monkeypatch, own, "revoke", issued["token"]["id"], "--json"))
    assert ended["revoked_by"] == "ada"
    assert "of ada is revoked" in run(clinics, monkeypatch, own, "revoke", PersonalToken(secret).id)
    assert [bool(token["revoked"]) for token in json.loads(run(clinics, monkeypatch, own, "list", "--json"))] == [
        *(False, False, True, True)
    ]


@pytest.fixture
def pages(clinics: House) -> Iterator[httpx2.Client]:
    """A browser's HTTP, logged in as an administrator of clinic-a."""
    token = clinics.personal("olga", "clinic-a", "admin", days=40)
    with (
        clinics.client(token) as client,
        httpx2.Client(base_url=clinics.serving.url, follow_redirects=True, timeout=60) as browser,
    ):
        browser.get(client.login())
        browser.headers["origin"] = clinics.serving.url
        yield browser


def form_token(pages: httpx2.Client) -> dict[str, str]:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', pages.get("/tokens").text)
    assert found
    return {"form_token": found[1]}


def test_a_token_is_made_on_the_page(clinics: House, pages: httpx2.Client):
    """Its secret is on the page that follows and nowhere after; there it is ended as well."""
    fields = form_token(pages) | {"account": "bob", "role": "operator", "days": "7", "is_read_only": "yes"}
    shown = pages.post("/tokens", data=fields)
    secret = PersonalToken.parse(re.search(r'<pre id="secret"[^>]*>([^<]+)</pre>', shown.text)[1])  # type: ignore[index]
    assert secret is not None
    assert shown.headers["cache-control"] == "no-store"
    listed = pages.get("/tokens").text
    assert secret.id in listed
    assert secret.reveal().split("_", 2)[2] not in listed
    assert "operator, reads only of clinic-a" in listed
    with clinics.client(secret.reveal()) as bob:
        assert len(bob.tokens()) == 1
    assert "revoked" in pages.post(f"/tokens/{secret.id}/revoke", data=form_token(pages)).text
    with clinics.http(secret.reveal()) as http:
        check_problem(http.get("/v1/me"), 401, "rest.unauthorised")


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"account": "Bob"}, "account", "pattern"),
        ({"account": "eve"}, "account", "one of clinic-b"),
        ({"days": "many"}, "days", "valid integer"),
        ({"days": "41"}, "days", "holds no longer than yours"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(
    clinics: House, pages: httpx2.Client, changed: dict[str, str], field: str, said: str
):
    """What was typed stays, and nothing is made."""
    clinics.personal("eve", "clinic-b", "analyst")
    fields = form_token(pages) | {"account": "bob", "role": "operator", "days": "7"} | changed
    response = pages.post("/tokens", data=fields)
    assert response.status_code == 422
    places = dict(re.findall(r'<p class="fault" id="error-([^"]+)">(.+?)</p>', response.text))
    assert said in html.unescape(places[field])
    assert f'href="#{field}"' in response.text
    assert f'value="{next(iter(changed.values()))}"' in response.text
    assert pages.get("/tokens").text.count('<th scope="row"') == 1


def test_the_page_offers_what_the_account_may(clinics: House):
    """Whoever is no administrator sees its own alone, and no choice of account or role; reading alone makes none."""
    clinics.personal("bob", "clinic-a", "analyst")
    for more, makes in (({}, True), ({"is_read_only": True}, False)):
        token = clinics.personal("ada", "clinic-a", "analyst", **more)
        with clinics.client(token) as own, httpx2.Client(base_url=clinics.serving.url, follow_redirects=True) as pages:
            pages.get(own.login())
            shown = pages.get("/tokens").text
            assert ("bob" in shown, 'name="role"' in shown, "Make a token" in shown) == (False, False, makes)


def test_forms_of_others_are_refused(pages: httpx2.Client):
    """Another site's page makes and ends none in this browser's name."""
    token = form_token(pages)
    for place in ("/tokens", f"/tokens/{'0' * 12}/revoke"):
        assert pages.post(place, data=token, headers={"origin": "http://elsewhere.example"}).status_code == 403
        assert pages.post(place, data={"form_token": "0" * 64}).status_code == 403


def test_a_client_says_what_is_wrong(clinics: House):
    """A problem of the gateway's is an error with what to do."""
    with (
        Gateway(clinics.serving.url, clinics.token) as client,
        pytest.raises(GatewayError, match="there is no 'clinic-x'"),
    ):
        client.create_token(TokenWanted(account="ada", organisation="clinic-x"))
