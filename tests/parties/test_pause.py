"""A paused node takes no contract, whatever restarts, and breaks nothing that was begun."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from parties.audit.snapshot import locate, take
from parties.errors import Paused
from parties.keys.partners import Partners
from parties.keys.tls import Invitation, utc_now
from parties.service import local
from parties.service.lifecycle import Step
from parties.service.messages import Approve, Refuse, decode_from_daemon
from parties.service.node import Node
from parties.service.notices import notices
from tests.parties.page.conftest import Clinic, home_of


@pytest.fixture
def clinic(tmp_path) -> Iterator[Clinic]:
    made = Clinic(tmp_path)
    yield made
    if made._thread.is_alive():
        made.stop()


def run(*words) -> str:
    found = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def events_of(home) -> list[str]:
    return [entry.event.type for entry in take(locate(home.directory)).entries()]


def told(node, kind) -> list:
    return [said for content in node.stream._outbox if isinstance(said := decode_from_daemon(content), kind)]


def ask(clinic, do):
    """As the operator's socket would hand it over."""
    return clinic.do(clinic.node.local_handlers()[do]({}))


def test_a_paused_node_refuses_what_comes_and_says_why(clinic):
    """Everybody is told the code; the log has it; after the pause contracts are taken as before."""
    ask(clinic, "node-pause")
    refused = clinic.contract()
    clinic.do(clinic.node.receive(refused.canonical()))
    assert clinic.state(refused.digest) == "refused"
    (said,) = told(clinic.node, Refuse)
    assert (said.session, said.fault.code, said.fault.who) == (refused.digest, "paused", "clinic-a")
    last = [entry.event for entry in take(locate(clinic.home.directory)).entries()][-1]
    assert (last.type, last.reason) == ("session:contract:refused", "paused")
    assert ask(clinic, "node-resume") is True
    clinic.proposed()
    assert [name for name in events_of(clinic.home) if name.startswith("daemon:service:")] == [
        "daemon:service:paused",
        "daemon:service:resumed",
    ]


def test_what_waited_before_the_pause_goes_on_waiting(clinic):
    """An operator's yes within the pause is answered with the reason and destroys nothing; after it, it is signed."""
    session = clinic.proposed()
    ask(clinic, "node-pause")
    with pytest.raises(Paused, match="privity node resume"):
        clinic.do(clinic.node.sign(session, by="operator"))
    assert clinic.state(session) == "proposed"
    assert told(clinic.node, Refuse) == told(clinic.node, Approve) == []
    ask(clinic, "node-resume")
    clinic.do(clinic.node.sign(session, by="operator"))
    assert clinic.state(session) == "approved"


def test_the_page_says_that_the_node_is_paused(clinic):
    """Its first screen has the notice, and a click on sign is answered with the reason."""
    session = clinic.proposed()
    ask(clinic, "node-pause")
    browser = clinic.browser()
    assert "paused since" in browser.get("/").text
    answer = browser.post(f"/sessions/{session}/approve")
    assert (answer.status_code, "is paused and takes no contracts" in answer.text) == (409, True)
    assert clinic.state(session) == "proposed"


def test_what_runs_is_finished(clinic):
    """A pause does not touch sessions that were signed before."""
    session = clinic.proposed()
    clinic.do(clinic.node.sign(session, by="operator"))
    clinic.node.store.step(session, Step.START)
    ask(clinic, "node-pause")
    assert clinic.state(session) == "running"
    assert session in clinic.node.live


def test_a_pause_that_begins_while_the_data_are_looked_at_counts(clinic, monkeypatch):
    """No contract is signed after a pause has begun, not even one that the policy signs by itself."""
    policy = clinic.home.path("policy.toml")
    policy.write_text(policy.read_text().replace('approve = "operator"', 'approve = "automatic"', 1))
    desk, inspect = clinic.node.desk, clinic.node.inspect
    monkeypatch.setattr(clinic.node, "inspect", lambda contract: (inspect(contract), desk.node_pause()))
    contract = clinic.contract()
    clinic.do(clinic.node.receive(contract.canonical()))
    assert clinic.state(contract.digest) == "refused"
    assert clinic.node.store.get(contract.digest).fault.code == "paused"


def test_a_pause_outlives_the_daemon(clinic):
    """It stands until somebody ends it, and every notice says so."""
    since = ask(clinic, "node-pause")
    assert ask(clinic, "node-pause") == since  # once more changes nothing
    clinic.stop()
    assert events_of(clinic.home).count("daemon:service:paused") == 1
    again = Node(clinic.home)
    with pytest.raises(Paused):
        again.admit()
    again.journal.close()
    (said,) = notices(clinic.home, Partners(clinic.home.path("partners.json")), utc_now())
    assert said.startswith(f"paused since {since[:10]}")


def test_it_works_without_a_daemon(tmp_path):
    """Pause and resume act on the files, and are recorded, where nothing runs."""
    home = home_of(tmp_path / "home")
    assert "paused since" in run("node", "pause", "--home", home.directory)
    assert home.path("paused").exists()
    assert run("node", "resume", "--home", home.directory) == "the node takes contracts again\n"
    assert run("node", "resume", "--home", home.directory) == "the node was not paused\n"
    assert not home.path("paused").exists()
    assert events_of(home)[-2:] == ["daemon:service:paused", "daemon:service:resumed"]


def test_a_dealer_is_not_paused(tmp_path):
    """Its operator is told, and nothing is left."""
    token = Invitation.create("dealer", "127.0.0.1:1", "ab" * 32).token()
    assert CliRunner().invoke(app, ["dealer", "init", "--invite", token, "--home", str(tmp_path / "d")]).exit_code == 0
    found = CliRunner().invoke(app, ["node", "pause", "--home", str(tmp_path / "d")])
    assert "a dealer can't be paused" in str(found.exception)
    assert not (tmp_path / "d" / "paused").exists()
    assert local.SOCKET not in [path.name for path in (tmp_path / "d").iterdir()]
