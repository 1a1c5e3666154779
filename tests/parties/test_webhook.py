"""A webhook hears of what waits and fails: over HTTPS, signed, again where that may help, and nowhere else."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from parties.errors import SettingsError
from parties.service.command import Command
from parties.service.home import Home
from parties.service.notify import Notifier, way_of
from parties.service.webhook import LEAST_SECRET_BYTES, PAUSES_S, Webhook, load_secret, signature
from parties.web.trust import CA_VARIABLE
from tests.parties.page.conftest import Clinic
from tests.parties.receivers import Receiver

SESSION, SECRET = "ab" * 32, b"a secret of the two"
DEADLINE_S = 60
SOON = (0.001,) * len(PAUSES_S)  # pauses of tests
LINE = {"name": "clinic-a", "happening": "session-failed", "session": SESSION, "kind": "training", "code": "worker"}


@pytest.fixture
def receiver(tmp_path: Path) -> Receiver:
    return Receiver(tmp_path)


def told(webhook: Webhook) -> list[dict]:
    """What stands in the operational log once a notifier was told and has ended."""

    async def main() -> None:
        notifier = Notifier(webhook, "clinic-a")
        notifier.tell("session-failed", SESSION, "training", "worker")
        await notifier.close(DEADLINE_S)

    with capture_logs() as found:
        asyncio.run(main())
    return found


def test_it_gets_what_a_command_gets(receiver: Receiver):
    """The same line and not a word more, signed by the secret."""
    with receiver.serve() as url:
        assert told(Webhook(f"{url}/hook?to=me", SECRET, receiver.trust)) == []
    (came,) = receiver.came
    assert (came.path, json.loads(came.body)) == ("/hook?to=me", LINE)
    assert came.headers["content-type"] == "application/json"
    assert came.headers["x-hub-signature-256"] == f"sha256={hmac.new(SECRET, came.body, hashlib.sha256).hexdigest()}"
    assert came.headers["user-agent"] == "privity"
    known = {"host", "accept", "accept-encoding", "connection", "user-agent", "content-length", "content-type"}
    assert set(came.headers) == known | {"x-hub-signature-256"}
    assert SECRET not in came.body + repr(came.headers).encode()


def test_the_signature_is_one_that_is_published():
    """GitHub's documentation has this secret, this body and this signature."""
    expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert signature(b"It's a Secret to Everybody", b"Hello, World!") == expected


@pytest.mark.parametrize("answers", [[500], [503, 429, 408], [0, 500, 0, 502]])
def test_it_is_told_again(receiver: Receiver, answers: list[int]):
    """After an answer that may become another, or a connection that broke: the very same body and signature."""
    receiver.answers = list(answers)
    with receiver.serve() as url:
        found = told(Webhook(url, SECRET, receiver.trust, SOON))
    assert len(receiver.came) == len(answers) + 1
    assert len({(came.body, came.headers["x-hub-signature-256"]) for came in receiver.came}) == 1
    assert [one["event"] for one in found] == ["notify: the webhook is told again later"] * len(answers)


def test_it_is_not_told_for_ever(receiver: Receiver):
    """After the last try the log says so, with the host and nothing else of the address."""
    receiver.answers = [500] * 100
    with receiver.serve() as url:
        found = told(Webhook(f"{url}/a-secret-path", SECRET, receiver.trust, SOON))
    assert len(receiver.came) == len(PAUSES_S) + 1
    assert found[-1] == {
        "event": "notify: the webhook was not told",
        "host": "127.0.0.1",
        "why": "it answered 500",
        "log_level": "warning",
    }
    assert "a-secret-path" not in str(found)


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_what_it_refuses_is_not_told_again(receiver: Receiver, status: int):
    """It would refuse again."""
    receiver.answers = [status]
    with receiver.serve() as url:
        (found,) = told(Webhook(url, SECRET, receiver.trust, SOON))
    assert len(receiver.came) == 1
    assert found["why"] == f"it answered {status}"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(receiver: Receiver, tmp_path: Path, status: int):
    """What was meant for one host goes to no other."""
    other = Receiver(tmp_path / "other")
    other.directory.mkdir()
    receiver.answers = [status]
    with receiver.serve() as url, other.serve() as elsewhere:
        receiver.location = f"{elsewhere}/taken"
        (found,) = told(Webhook(url, SECRET, receiver.trust, SOON))
    assert (len(receiver.came), other.came) == (1, [])
    assert found["why"] == f"it answered {status}, and redirects are not followed"


def test_nobody_else_is_told(receiver: Receiver):
    """A receiver whose certificate is of no authority that is trusted gets nothing, and once is enough to know."""
    with receiver.serve() as url:
        (found,) = told(Webhook(url, SECRET, ssl.create_default_context(), SOON))
    assert receiver.came == []
    assert found["why"] == "its certificate is of no authority that is trusted here"


def test_no_proxy_is_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch):
    """Whatever the environment says."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with receiver.serve() as url:
        assert told(Webhook(url, SECRET, receiver.trust, SOON)) == []
    assert len(receiver.came) == 1


def test_one_that_hangs_is_given_up(receiver: Receiver):
    """Each try has a time limit."""
    receiver.hangs = threading.Event()
    with receiver.serve() as url:
        found = told(Webhook(url, SECRET, receiver.trust, SOON[:1], request_s=0.5))
    assert [one["why"] for one in found] == ["it took more than 0.5 s"] * 2


def test_one_that_is_away_is_given_up():
    """Nothing listens there: told again, then logged."""
    found = told(Webhook("https://127.0.0.1:9/", SECRET, ssl.create_default_context(), SOON))
    assert len(found) == len(PAUSES_S) + 1
    assert found[-1]["why"] == "no connection, or it broke (ConnectError)"


def test_a_daemon_that_ends_does_not_wait_for_it(receiver: Receiver):
    """What is not told by then stands in the log."""
    receiver.answers = [500] * 100

    async def main() -> None:
        notifier = Notifier(Webhook(url, SECRET, receiver.trust, (600.0,)), "clinic-a")
        notifier.tell("approval-waits", SESSION, "training")
        await asyncio.wait_for(notifier.close(0.2), DEADLINE_S)

    with receiver.serve() as url, capture_logs() as found:
        asyncio.run(main())
    assert {"event": "notify: the daemon ended before all was told", "untold": 1, "log_level": "warning"} in found


def test_its_secret_is_in_no_print():
    """Nor what the address may hold."""
    assert repr(Webhook("https://hooks.example/T000/secret", SECRET, ssl.create_default_context())) == (
        "Webhook(hooks.example)"
    )


BAD_SECRETS = {
    "none": (None, 0o600, "can't be read"),
    "open": (b"x" * LEAST_SECRET_BYTES, 0o644, "readable by others"),
    "short": (b"x" * (LEAST_SECRET_BYTES - 1) + b"\n", 0o600, "has 15 bytes"),
}


@pytest.mark.parametrize(("content", "mode", "says"), BAD_SECRETS.values(), ids=BAD_SECRETS)
def test_bad_secrets_are_named(tmp_path: Path, content: bytes | None, mode: int, says: str):
    """A daemon with a webhook does not start without a secret that is one."""
    path = tmp_path / "notify.secret"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(SettingsError, match=says):
        load_secret(path)


def test_the_settings_name_the_way(home: Home):
    """A command, a webhook with its secret, or none."""
    assert way_of(home) is None
    settings = home.path("settings.toml")
    plain = settings.read_text()
    settings.write_text(plain.replace("notify = []", 'notify = ["/bin/true"]'))
    assert isinstance(way_of(home), Command)
    settings.write_text(plain.replace("notify = []", 'notify = "https://hooks.example/x"'))
    with pytest.raises(SettingsError, match="openssl rand"):
        way_of(home)
    home.path("notify.secret").write_bytes(SECRET)
    home.path("notify.secret").chmod(0o600)
    assert isinstance(way_of(home), Webhook)


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    made = Clinic(tmp_path)
    yield made
    made.stop()


def test_a_node_tells_it_what_waits(clinic: Clinic, receiver: Receiver, monkeypatch: pytest.MonkeyPatch):
    """By its settings, with the authorities that PRIVITY_CA_FILE names."""
    home = clinic.node.home
    home.path("notify.secret").write_bytes(SECRET)
    home.path("notify.secret").chmod(0o600)
    with receiver.serve() as url:
        settings = home.path("settings.toml")
        settings.write_text(settings.read_text().replace("notify = []", f'notify = "{url}"'))
        monkeypatch.setenv(CA_VARIABLE, str(receiver.certificate))
        clinic.node.notifier = Notifier(way_of(home), clinic.node.name)
        session = clinic.proposed()
        clinic.do(clinic.node.notifier.close(DEADLINE_S))
    (came,) = receiver.came
    assert json.loads(came.body)["session"] == session
    assert json.loads(came.body)["happening"] == "approval-waits"
