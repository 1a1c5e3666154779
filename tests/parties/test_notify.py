"""The operator's command hears of what waits and fails, in our words, and nothing that it does matters to us."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from parties.keys.tls import TlsKey, utc_now
from parties.service.command import Command
from parties.service.daemon import Live
from parties.service.home import Settings
from parties.service.lifecycle import Step
from parties.service.messages import Fault
from parties.service.notify import MAX_WAITING, Notifier
from tests.parties.page.conftest import Clinic

SESSION = "ab" * 32
DEADLINE_S = 60


def command(place: Path, then: str = "") -> tuple[str, ...]:
    """A program that appends its standard input, the variables that it has, and what follows."""
    script = place / "told.py"
    script.write_text(
        "import os, sys, time\n"
        f"open({str(place / 'told')!r}, 'a').write(sys.stdin.read())\n"
        f"open({str(place / 'names')!r}, 'w').write(' '.join(os.environ))\n" + then
    )
    return (sys.executable, str(script))


def lines(place: Path) -> list[dict]:
    return [json.loads(line) for line in (place / "told").read_text().splitlines()]


def told(command: tuple[str, ...], times: int = 1, limit_s: float = DEADLINE_S) -> list[dict]:
    """What stands in the operational log once a notifier was told so often and has ended."""

    async def main() -> None:
        notifier = Notifier(Command(command, limit_s), "clinic-a")
        for _ in range(times):
            notifier.tell("session-failed", SESSION, "training", "worker")
        await notifier.close(DEADLINE_S)

    with capture_logs() as found:
        asyncio.run(main())
    return found


def test_the_command_gets_one_line(tmp_path, monkeypatch):
    """All that it gets is that line; nothing of the environment that may hold a key."""
    monkeypatch.setenv("PRIVITY_VAULT_KEY", "secret")
    assert told(command(tmp_path)) == []
    expected = {"name": "clinic-a", "happening": "session-failed", "session": SESSION, "kind": "training"}
    assert lines(tmp_path) == [expected | {"code": "worker"}]
    names = (tmp_path / "names").read_text().split()
    assert "PATH" in names
    assert "PRIVITY_VAULT_KEY" not in names


FAILURES = {
    "fails": ("sys.exit(3)", DEADLINE_S, {"event": "notify: the command failed", "exit": 3}),
    "hangs": ("time.sleep(600)", 0.5, {"event": "notify: the command took too long and was ended", "limit_s": 0.5}),
}


@pytest.mark.parametrize(("then", "limit_s", "says"), FAILURES.values(), ids=FAILURES)
def test_a_failure_of_the_command_is_logged(tmp_path, then, limit_s, says):
    """An exit status, or too much time, stands in the operational log; it has nothing else."""
    (found,) = told(command(tmp_path, then), limit_s=limit_s)
    assert found == says | {"log_level": "warning"}


@pytest.mark.parametrize("words", [("/nowhere/command",), ("a\0b",)])
def test_a_command_that_is_none_is_logged(words):
    """A daemon outlives a setting that names no program."""
    (found,) = told(words)
    assert found["event"] == "notify: the command can't be run"


def test_a_command_that_reads_nothing_is_no_failure():
    """Who is told need not listen."""
    assert told((sys.executable, "-c", "")) == []


def test_no_more_than_so_many_wait():
    """Somebody who proposes without end fills neither memory nor the table of processes."""
    found = told((sys.executable, "-S", "-c", "import time; time.sleep(600)"), MAX_WAITING + 2, limit_s=0.01)
    assert sum(one["event"] == "notify: too many wait, one is left out" for one in found) == 2


def test_nothing_is_done_without_a_command():
    """The default: not even a loop is needed."""
    Notifier(None, "clinic-a").tell("approval-waits", SESSION, "training")


def test_a_daemon_that_ends_does_not_wait_for_ever(tmp_path):
    """What still runs when the daemon has to end is ended."""

    async def main() -> None:
        notifier = Notifier(Command(command(tmp_path, "time.sleep(600)")), "clinic-a")
        notifier.tell("approval-waits", SESSION, "training")
        await asyncio.wait_for(notifier.close(0.2), DEADLINE_S)

    asyncio.run(main())


@pytest.mark.parametrize(
    "value",
    [
        *("a string", [""], [1], "", "https://", "http://hooks.example/x", "https://user:word@hooks.example/"),
        *("https://hooks.example/#part", "https://hooks.example/a b", "https://hooks.example:99999/"),
    ],
)
def test_the_setting_is_a_list_of_words_or_an_address(value):
    """No string that a shell would take apart, and nothing that is told without TLS."""
    plain = {"name": "clinic-a", "role": "party", "listen": "127.0.0.1:0", "gateway": "127.0.0.1:1"}
    with pytest.raises(ValidationError, match="notify"):
        Settings.model_validate({**plain, "gateway_certificate_sha256": "ab" * 32, "notify": value})


@pytest.fixture
def clinic(tmp_path) -> Iterator[Clinic]:
    made = Clinic(tmp_path)
    made.node.notifier = Notifier(Command(command(tmp_path), DEADLINE_S), "clinic-a")
    yield made
    made.stop()


def test_a_node_tells_what_waits_and_what_failed(clinic, tmp_path):
    """Once each; the gateway's own words, and what is answered again after a reconnect, tell nobody anything."""
    session = clinic.proposed()
    clinic.do(clinic.node.receive(clinic.agreed(session).canonical()))  # as after a reconnect
    fault = Fault(code="gateway", who="gateway", what="words of somebody else's")

    async def fail() -> None:
        for step in (Step.APPROVE, Step.START):
            clinic.node.store.step(session, step)
        live = Live(clinic.agreed(session), TlsKey.generate("clinic-a", now=utc_now()), {})
        clinic.node._fail(live, fault)
        await clinic.node.notifier.close(DEADLINE_S)

    clinic.do(fail())
    assert [(one["happening"], one["session"], one["code"]) for one in lines(tmp_path)] == [
        ("approval-waits", session, None),
        ("session-failed", session, "gateway"),
    ]
    assert "somebody" not in (tmp_path / "told").read_text()


def test_a_restart_tells_of_the_sessions_that_it_cost(clinic, tmp_path):
    """A session whose keys died with the daemon failed, and its operator hears it."""
    session = clinic.proposed()
    clinic.node.store.step(session, Step.APPROVE)

    async def restart() -> None:
        clinic.node._fail_interrupted()
        await clinic.node.notifier.close(DEADLINE_S)

    clinic.do(restart())
    assert lines(tmp_path)[-1] == {
        "name": "clinic-a",
        "happening": "session-failed",
        "session": session,
        "kind": "training",
        "code": "worker",
    }
