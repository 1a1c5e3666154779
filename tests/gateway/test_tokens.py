"""Personal tokens: made, listed, used, ended; what is kept of them."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from gateway.access.logins import COOKIE
from gateway.access.tokens import PersonalToken
from gateway.cli import app
from gateway.home import invite
from gateway.storage.database import FILE as STORE_FILE
from parties.audit.snapshot import locate, take
from parties.errors import GatewayError, SettingsError
from parties.service.messages import Progress
from tests.gateway.conftest import DEADLINE_S, Consortium, House, check_problem


def run(gateway: House, *arguments: str) -> str:
    """`privity gateway token`, which must succeed."""
    found = CliRunner().invoke(app, ["gateway", "token", *arguments, "--home", str(gateway.home)])
    assert found.exit_code == 0, found.output
    return found.output.strip()


def of_tokens(gateway: House) -> list[tuple[str, str, str]]:
    """What the audit log has of tokens: type, account, by whom."""
    events = (entry.event for entry in take(locate(gateway.home)).entries())
    return [(event.type, event.account, event.by) for event in events if event.type.startswith("gateway:token")]


def me(gateway: House, token: str) -> httpx2.Response:
    with gateway.http(token) as http:
        return http.get("/v1/me")


def test_a_token_is_its_account(gateway: House):
    """Who shows a token is its account, in its organisation and role, from the moment it was made."""
    gateway.invited("clinic-a")
    token = run(gateway, "create", "ada", "--organisation", "clinic-a", "--role", "analyst", "--read-only")
    found = me(gateway, token).json()
    assert (found["account"], found["organisation"], found["role"]) == ("ada", "clinic-a", "analyst")
    assert (found["is_read_only"], found["token"]) == (True, PersonalToken(token).id)


def test_a_token_is_in_the_log_before_it_is_used(gateway: House):
    """Making and revoking beside the daemon are recorded by it, in order and once each."""
    gateway.invited("clinic-a")
    token = gateway.personal("ada", "clinic-a", "analyst")
    assert me(gateway, token).status_code == 200
    assert of_tokens(gateway) == [("gateway:token:created", "ada", "bootstrap")]
    run(gateway, "revoke", PersonalToken(token).id)
    run(gateway, "revoke", PersonalToken(token).id)  # again: nothing more
    check_problem(me(gateway, token), 401, "rest.unauthorised")


def test_what_was_made_while_nothing_ran_is_recorded_at_the_start(house: House):
    """A token that was made and revoked before the gateway ever started is in its log all the same."""
    token = house.personal("ada", "consortium", "admin")
    run(house, "revoke", PersonalToken(token).id)
    with house.serve():
        check_problem(me(house, token), 401, "rest.unauthorised")
    expected = [("gateway:token:created", "ada", "bootstrap"), ("gateway:token:revoked", "ada", "bootstrap")]
    assert of_tokens(house) == expected


@pytest.mark.parametrize("role", ["analyst", "admin"])
def test_a_token_ends(gateway: House, role: str):
    """Revoked or past its time, a token is told what became of it, and lets nobody in."""
    gateway.invited("clinic-a")
    late = gateway.personal("ada", "clinic-a", role, days=1)
    revoked = gateway.personal("ada", "clinic-a", role)
    assert me(gateway, late).status_code == me(gateway, revoked).status_code == 200
    run(gateway, "revoke", PersonalToken(revoked).id)
    assert "was revoked" in check_problem(me(gateway, revoked), 401, "rest.unauthorised").detail
    gateway.time_ahead = timedelta(days=1)
    assert "ended on" in check_problem(me(gateway, late), 401, "rest.unauthorised").detail


@pytest.mark.parametrize(
    "forged", ["pvt_{id}_" + "A" * 43, "pvt_{id}_", "pvt_{id}", "{id}", "pvt_000000000000_{secret}"]
)
def test_an_id_is_no_secret(gateway: House, forged: str):
    """The id of a token, which lists show, opens nothing without the secret, nor a secret with another id."""
    token = gateway.personal("ada", "consortium", "admin")
    parts = {"id": PersonalToken(token).id, "secret": token.split("_", 2)[2]}
    found = check_problem(me(gateway, forged.format(**parts)), 401, "rest.unauthorised")
    assert "revoked" not in found.detail


def test_no_secret_is_kept(gateway: House):
    """The store has a token's digest, never a part of its secret."""
    token = gateway.personal("ada", "consortium", "admin")
    assert me(gateway, token).status_code == 200
    with closing(sqlite3.connect(gateway.home / STORE_FILE)) as store:
        kept = "\n".join(store.iterdump())
    assert PersonalToken(token).sha256 in kept
    assert token.split("_", 2)[2] not in kept
    assert token not in repr(PersonalToken(token))


def test_a_login_ends_with_its_token(gateway: House):
    """A browser that logged in by a token may do what the token may, and no longer than it."""
    gateway.invited("clinic-a")
    token = gateway.personal("ada", "clinic-a", "analyst", is_read_only=True)
    with gateway.client(token) as client, httpx2.Client() as browser:
        browser.get(client.login())
        assert browser.get(f"{gateway.serving.url}/v1/me").json()["account"] == "ada"
        refused = browser.post(f"{gateway.serving.url}/v1/sessions", json={})
        assert "reading alone" in check_problem(refused, 403, "rest.forbidden").detail
        run(gateway, "revoke", PersonalToken(token).id)
        check_problem(browser.get(f"{gateway.serving.url}/v1/me"), 401, "rest.unauthorised")


def test_a_watcher_ends_with_its_token(gateway: House, consortium: Consortium, make_plan):
    """A second after its token was revoked, a stream that is open tells nothing more."""
    token = gateway.personal("ada", "clinic-a", "analyst")
    with gateway.client(token) as client:
        session = client.propose(make_plan()).id
        consortium.started()
        seen = client.events(session)
        assert next(seen).kind == "state"
        run(gateway, "revoke", PersonalToken(token).id)

        def watch_on() -> None:
            deadline = time.monotonic() + DEADLINE_S
            while time.monotonic() < deadline:
                consortium.a.say(Progress(session=session, iteration=1, of=300, rounds=1, bytes_sent=1)).settled()
                next(seen)

        with pytest.raises(GatewayError, match="ended the stream before the session's end"):
            watch_on()


def test_a_browser_logs_out(gateway: House):
    """After `/logout` the cookie opens nothing, wherever it was copied to, and the log has it."""
    with gateway.client() as client, httpx2.Client() as browser:
        browser.get(client.login())
        cookie = browser.cookies[COOKIE]
        left = browser.post(f"{gateway.serving.url}/logout")
        assert (left.status_code, "Logged out" in left.text) == (200, True)
        assert COOKIE not in browser.cookies
        with httpx2.Client(cookies={COOKIE: cookie}) as thief:
            check_problem(thief.get(f"{gateway.serving.url}/v1/me"), 401, "rest.unauthorised")
    assert [*take(locate(gateway.home)).entries()][-1].event.type == "gateway:login:closed"


def test_list_shows_use_and_end(gateway: House):
    """`token list` has each token's account, scope, end and last use; as JSON too, without the digest."""
    gateway.invited("clinic-a")
    used, unused = (gateway.personal(name, "clinic-a", "operator") for name in ("ada", "bob"))
    me(gateway, used)
    run(gateway, "revoke", PersonalToken(unused).id)
    first, second = run(gateway, "list").splitlines()
    assert first.startswith(f"{PersonalToken(used).id}  ada, operator of clinic-a; holds until ")
    assert "; used 2" in first
    assert "; revoked " in second
    assert second.endswith("never used")
    listed = json.loads(run(gateway, "list", "--json"))
    assert [item["account"] for item in listed] == ["ada", "bob"]
    assert "sha256" not in listed[0]


def test_a_token_goes_to_a_file_that_others_can_not_read(gateway: House, tmp_path: Path):
    """`-o` writes what `--token-file` takes, and never over something."""
    file = tmp_path / "mine"
    options = ("create", "ada", "--organisation", "consortium", "--role", "admin", "-o", str(file))
    run(gateway, *options)
    assert file.stat().st_mode & 0o077 == 0
    place = ["--gateway", gateway.serving.url, "--token-file", str(file)]
    assert CliRunner().invoke(app, ["session", "list", *place]).exit_code == 0
    again = CliRunner().invoke(app, ["gateway", "token", *options, "--home", str(gateway.home)])
    assert isinstance(again.exception, SettingsError)
    assert len(run(gateway, "list").splitlines()) == 1


def test_commands_take_the_token_of_the_environment(gateway: House, monkeypatch: pytest.MonkeyPatch):
    """`PRIVITY_TOKEN` is the token where no file is named; without either the command says what to do."""
    command = ["session", "list", "--gateway", gateway.serving.url]
    found = CliRunner().invoke(app, command)
    assert "set PRIVITY_TOKEN" in str(found.exception)
    monkeypatch.setenv("PRIVITY_TOKEN", gateway.personal("ada", "consortium", "admin"))
    assert CliRunner().invoke(app, command).exit_code == 0


@pytest.mark.parametrize(
    ("account", "organisation", "what"),
    [
        ("ada", "clinic-x", "organisation: there is no 'clinic-x'"),
        ("bob", "consortium", "account: 'bob' is one of clinic-a's"),
        ("bootstrap", "consortium", "can have no token"),
        ("oidc-1", "consortium", "can have no token"),
        ("Ada Lovelace", "consortium", "account: String should match"),
    ],
)
def test_bad_accounts_are_named(gateway: House, account: str, organisation: str, what: str):
    """What can't be an account, or is another organisation's, is an error, and makes no token."""
    gateway.invited("clinic-a")
    gateway.personal("bob", "clinic-a", "analyst")
    options = ["create", account, "--organisation", organisation, "--role", "analyst", "--home", str(gateway.home)]
    found = CliRunner().invoke(app, ["gateway", "token", *options])
    assert what in str(found.exception)
    assert len(run(gateway, "list").splitlines()) == 1


def test_unknown_token_can_not_be_revoked(gateway: House):
    """An id that nobody has is an error."""
    found = CliRunner().invoke(app, ["gateway", "token", "revoke", "0" * 12, "--home", str(gateway.home)])
    assert "there is no such token" in str(found.exception)


def test_no_participant_is_called_as_the_consortium(house: House):
    """An organisation under that name would be taken for those who run the gateway."""
    with pytest.raises(SettingsError, match="'consortium' stands for the gateway itself"):
        invite(house.home, "consortium")
