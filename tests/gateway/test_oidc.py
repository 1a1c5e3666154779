"""Logins by an identity provider: a real one in a process of its own, and one that lies."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from joserfc.jwk import RSAKey

from gateway.access.logins import COOKIE
from parties.audit.snapshot import locate, take
from parties.errors import SettingsError
from tests.browser import browser, needs_chromium
from tests.gateway.conftest import DEADLINE_S, House, check_problem
from tests.gateway.provider import CLIENT, Provider

ADA = {"sub": "ada@clinic-a", "groups": ["staff", "analysts"], "name": "Ada L."}
OLGA = {"sub": "olga@clinic-a", "department": "compliance"}
GRANTS = (
    '[{ claim = "groups", value = "analysts", organisation = "clinic-a", role = "analyst" }, '
    '{ claim = "department", value = "compliance", organisation = "clinic-a", role = "compliance" }]'
)
PAGES = {"accept": "text/html"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def point_to(house: House, issuer: str, **more: str) -> None:
    """Have the gateway trust this identity provider."""
    port = free_port()
    house.change('rest_address = "127.0.0.1:0"', f'rest_address = "127.0.0.1:{port}"')
    house.change("rest_urls = []", f'rest_urls = ["http://127.0.0.1:{port}"]')
    house.change('issuer = ""', f'issuer = "{issuer}"')
    house.change('client_id = ""', f'client_id = "{CLIENT}"')
    house.change("grants = []", f"grants = {GRANTS}")
    for key, value in more.items():
        house.change(f'{key} = ""', f'{key} = "{value}"')


def point_to_real(house: House, issuer: str) -> None:
    """The same, with a secret."""
    (house.home / "secret").write_text("anything\n")
    (house.home / "secret").chmod(0o600)
    point_to(house, issuer, client_secret_file="secret")


@contextmanager
def real_provider() -> Iterator[str]:
    """An identity provider's process; tells the issuer."""
    port = free_port()
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--require-nonce", "true"]
    for user in (ADA, OLGA):
        command += ["--user-claims", json.dumps(user)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            issuer, deadline = f"http://127.0.0.1:{port}", time.monotonic() + DEADLINE_S
            while True:
                try:
                    httpx2.get(f"{issuer}/.well-known/openid-configuration").raise_for_status()
                    break
                except httpx2.HTTPError:
                    assert process.poll() is None, "the provider ended"
                    assert time.monotonic() < deadline, "the provider does not answer"
            yield issuer
        finally:
            process.terminate()


def log_in(house: House, browser: httpx2.Client, user: str) -> httpx2.Response:
    """What the gateway answers to the browser of this user once the real provider has sent it back."""
    page = browser.get(f"{house.serving.url}/", headers=PAGES)
    assert (page.status_code, page.headers["location"]) == (303, "/oidc/login")
    address = browser.get(f"{house.serving.url}/oidc/login").headers["location"]
    back = browser.post(address, data={"sub": user}).headers["location"]
    assert back.startswith(f"{house.serving.url}/oidc/callback?")
    return browser.get(back)


def kinds(house: House) -> list[tuple[str, str]]:
    events = (entry.event for entry in take(locate(house.home)).entries())
    return [(event.type.rpartition(":")[2], event.account) for event in events if ":login:" in event.type]


def test_users_of_a_real_provider_log_in(house: House):
    """Each is let in with the role and the organisation that the grants give their claims, and logs out again."""
    with real_provider() as issuer:
        point_to_real(house, issuer)
        with house.serve(), httpx2.Client() as browser, httpx2.Client() as other:
            for client, user in ((browser, ADA), (other, OLGA)):
                done = log_in(house, client, user["sub"])
                assert (done.status_code, done.headers["location"]) == (303, "/")
                cookie = next(item for item in done.headers.get_list("set-cookie") if item.startswith(f"{COOKIE}="))
                assert {"httponly", "samesite=lax"} <= {part.strip().lower() for part in cookie.split(";")}
                assert client.get(f"{house.serving.url}/", headers=PAGES).status_code == 200
            ada, olga = (client.get(f"{house.serving.url}/v1/me").json() for client in (browser, other))
            assert (ada["organisation"], ada["role"], ada["name"]) == ("clinic-a", "analyst", "Ada L.")
            assert (olga["organisation"], olga["role"]) == ("clinic-a", "compliance")
            assert ada["account"].startswith("oidc-")
            assert "ada" not in ada["account"]
            refused = other.post(f"{house.serving.url}/v1/sessions", json={})
            check_problem(refused, 403, "rest.forbidden")
            browser.post(f"{house.serving.url}/logout")
            check_problem(browser.get(f"{house.serving.url}/v1/me"), 401, "rest.unauthorised")
    assert kinds(house) == [("opened", ada["account"]), ("opened", olga["account"]), ("closed", ada["account"])]


@needs_chromium
def test_a_person_logs_in_and_out(house: House):
    """In a real browser, whose rules for forms and cookies hold on the way to the provider and back."""
    with real_provider() as issuer:
        point_to_real(house, issuer)
        with house.serve(), browser() as window:
            window.open(f"{house.serving.url}/")
            window.until("the provider's page", "document.querySelector('input[name=sub]') !== null")
            window.one(f"button[value='{ADA['sub']}']").click()
            window.until("the console", "document.querySelector('form.who') !== null")
            assert "Ada L., analyst of clinic-a" in window.one("form.who").text
            window.button("Log out").click()
            window.until("the end", "document.querySelector('h1')?.textContent === 'Logged out'")
            window.link("Log in again").click()
            window.until("the provider's page", "document.querySelector('input[name=sub]') !== null")
    assert [kind for kind, _ in kinds(house)] == ["opened", "closed"]


def test_user_without_a_grant_is_told_so(house: House):
    """Whom the provider knows and nobody gave a role is refused in clear words, and recorded."""
    with real_provider() as issuer:
        point_to_real(house, issuer)
        with house.serve(), httpx2.Client() as browser:
            found = check_problem(log_in(house, browser, "stranger"), 403, "rest.forbidden")
            assert "nobody has given you a role here" in found.detail
            check_problem(browser.get(f"{house.serving.url}/v1/me"), 401, "rest.unauthorised")
    assert [kind for kind, _ in kinds(house)] == ["refused"]


def test_expired_token_of_a_real_provider_is_refused(house: House):
    """A token whose time is over when it comes, beyond what clocks may differ, lets nobody in."""
    with real_provider() as issuer:
        point_to_real(house, issuer)
        house.time_ahead = timedelta(hours=1, minutes=1)
        with house.serve(), httpx2.Client() as browser:
            found = check_problem(log_in(house, browser, ADA["sub"]), 401, "rest.unauthorised")
            assert "expired_token" in found.detail


@pytest.fixture
def liar() -> Iterator[Provider]:
    """A provider that says what a test tells it to."""
    provider = Provider()
    with provider.serve():
        yield provider


@pytest.fixture
def trusting(house: House, liar: Provider) -> Iterator[House]:
    """A gateway that trusts it."""
    point_to(house, liar.issuer)
    with house.serve():
        yield house


def begun(house: House, liar: Provider, browser: httpx2.Client) -> dict[str, str]:
    return liar.visited(browser.get(f"{house.serving.url}/oidc/login").headers["location"])


def back(house: House, browser: httpx2.Client, **query: str) -> httpx2.Response:
    return browser.get(f"{house.serving.url}/oidc/callback", params=query)


def test_honest_words_are_taken(trusting: House, liar: Provider):
    """The flow asks for a code with PKCE, a nonce and a state; the same provider, unchanged, lets its user in."""
    with httpx2.Client() as browser:
        asked = begun(trusting, liar, browser)
        assert (asked["response_type"], asked["code_challenge_method"], asked["client_id"]) == ("code", "S256", CLIENT)
        assert asked["scope"] == "openid profile"
        assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
        done = back(trusting, browser, state=asked["state"], code="good", iss=liar.issuer)
        assert (done.status_code, done.headers.get("location")) == (303, "/")
        again = back(trusting, browser, state=asked["state"], code="good")
        assert "is over" in check_problem(again, 401, "rest.unauthorised").detail


now = int(time.time())
LIES: dict[str, dict[str, Any]] = {
    "wrong nonce": {"nonce": "another"},
    "no nonce": {"nonce": None},
    "other audience": {"aud": "another-client"},
    "several audiences, for another": {"aud": [CLIENT, "another"], "azp": "another"},
    "several audiences, for none": {"aud": [CLIENT, "another"]},
    "no audience": {"aud": None},
    "other issuer": {"iss": "http://127.0.0.1:1"},
    "expired": {"exp": now - 3600},
    "without an end": {"exp": None},
    "not valid yet": {"nbf": now + 36_000},
    "issued in the future": {"iat": now + 36_000},
    "no subject": {"sub": None},
    "empty subject": {"sub": ""},
    "subject is no text": {"sub": 5},
}


@pytest.mark.parametrize("lie", LIES)
def test_tokens_that_do_not_hold_are_refused(trusting: House, liar: Provider, lie: str):
    """Whatever the provider signs: a token that is not for this gateway, this login and this moment lets nobody in."""
    liar.claims = LIES[lie]
    with httpx2.Client() as browser:
        asked = begun(trusting, liar, browser)
        refused = back(trusting, browser, state=asked["state"], code="good")
        assert "ID token does not hold" in check_problem(refused, 401, "rest.unauthorised").detail
        check_problem(browser.get(f"{trusting.serving.url}/v1/me"), 401, "rest.unauthorised")


@pytest.mark.parametrize("algorithm", ["none", "HS256", "another key"])
def test_tokens_that_others_could_make_are_refused(trusting: House, liar: Provider, algorithm: str):
    """No signature, one by the public key as a password, and one by a key that the provider does not show."""
    if algorithm == "another key":
        liar.key = RSAKey.generate_key(2048, parameters={"kid": "one"})
    else:
        liar.algorithm = algorithm
    with httpx2.Client() as browser:
        asked = begun(trusting, liar, browser)
        refused = back(trusting, browser, state=asked["state"], code="good")
        assert "ID token does not hold" in check_problem(refused, 401, "rest.unauthorised").detail


def test_provider_may_change_its_keys(trusting: House, liar: Provider):
    """A token by a key that the gateway has not seen makes it ask for the provider's keys again."""
    with httpx2.Client() as browser:
        begun(trusting, liar, browser)
        liar.key = RSAKey.generate_key(2048, parameters={"kid": "two"})
        liar.shown_keys = [liar.key]
        asked = begun(trusting, liar, browser)
        assert back(trusting, browser, state=asked["state"], code="good").status_code == 303
    assert liar.fetched.count("/jwks") == 2


def test_login_is_finished_where_it_was_begun(trusting: House, liar: Provider):
    """A state that is wrong, used, or of another browser logs nobody in: not the victim as the attacker either."""
    with httpx2.Client() as attacker, httpx2.Client() as victim:
        asked = begun(trusting, liar, attacker)
        for browser, state in ((victim, asked["state"]), (attacker, "guessed"), (attacker, "")):
            refused = back(trusting, browser, state=state, code="good")
            assert "not begun in this browser" in check_problem(refused, 401, "rest.unauthorised").detail
        check_problem(victim.get(f"{trusting.serving.url}/v1/me"), 401, "rest.unauthorised")


def test_refusals_of_the_provider_are_told(trusting: House, liar: Provider):
    """A user who says no, a code that is not good and an answer by another provider: each in words, none repeated."""
    said = []
    with httpx2.Client() as browser:
        for query in (
            {"error": "access_denied"},
            {"error": "<script>"},
            {"code": "bad"},
            {"code": "good", "iss": "https://another.example.org"},
        ):
            asked = begun(trusting, liar, browser)
            refused = back(trusting, browser, state=asked["state"], **query)
            said.append(check_problem(refused, 401, "rest.unauthorised").detail)
    assert "access_denied" in said[0]
    assert "script" not in said[1]
    assert "does not take this login's code" in said[2]
    assert "another identity provider" in said[3]


@pytest.mark.parametrize(
    ("description", "what"),
    [
        ({"issuer": "https://another.example.org"}, "names itself otherwise"),
        ({"token_endpoint": "http://another.example.org/token"}, "token_endpoint is missing, or not https"),
        ({"jwks_uri": None}, "jwks_uri is missing"),
    ],
)
def test_provider_that_is_not_what_it_should_be(trusting: House, liar: Provider, description, what: str):
    """A description of another issuer, or with an endpoint that anybody could answer at, is not followed."""
    liar.description = description
    with httpx2.Client() as browser:
        refused = browser.get(f"{trusting.serving.url}/oidc/login")
        assert what in check_problem(refused, 502, "rest.no-provider").detail


def test_silent_provider_is_named(house: House):
    """A gateway whose provider is away serves all the same, and says so to whoever would log in by it."""
    point_to(house, f"http://127.0.0.1:{free_port()}")
    with house.serve(), house.http() as http:
        check_problem(http.get("/oidc/login"), 502, "rest.no-provider")
        assert http.get("/v1/me").status_code == 200


def test_without_a_provider_there_is_no_such_login(gateway: House):
    """A gateway with no identity provider in its settings says what there is instead."""
    for path in ("/oidc/login", "/oidc/callback"):
        found = check_problem(httpx2.get(gateway.serving.url + path), 404, "rest.not-found")
        assert "privity gateway login" in found.action
    page = httpx2.get(f"{gateway.serving.url}/", headers=PAGES)
    assert (page.status_code, "in a browser, log in" in page.text) == (401, True)


def test_client_s_secret_is_a_secret(house: House):
    """A secret's file that others can read, or that is missing, is an error at the start."""
    point_to(house, "https://login.example.org", client_secret_file="secret")
    with pytest.raises(SettingsError, match="secret"), house.serve():
        pass
    (house.home / "secret").write_text("x")
    (house.home / "secret").chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"), house.serve():
        pass
