"""What holds of every command: JSON for programs, completion in shells; and how a session is watched in a terminal."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from gateway.access.permissions import TABLE
from gateway.access.principal import CONSORTIUM, ROLES
from gateway.access.tokens import TOKEN_FILE
from gateway.cli import app
from gateway.client import Gateway
from gateway.commands.watch import Lines, follow, so_far
from gateway.views import SessionView
from gateway.watching import Event, Progressed, StateChanged
from parties.agreement.kinds import parse_contract
from parties.agreement.plan import Plan
from parties.errors import GatewayError, PrivityError, SettingsError
from parties.service.lifecycle import State
from parties.service.messages import Fault, Progress, Proposal, Refuse
from tests.gateway.conftest import DEADLINE_S, Consortium, House

SERVE = {("gateway", "serve"), ("node", "serve"), ("dealer", "serve")}  # which say in JSON alone that they are ready


def privity(*words: str, **variables: str) -> str:
    """What the program prints, in a process of its own."""
    program = Path(sys.executable).with_name("privity")
    done = subprocess.run(
        [program, *words], env=os.environ | variables, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0 or variables, done.stderr
    return done.stdout


def commands(found: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if hasattr(found, "commands"):
        for name, command in found.commands.items():
            yield from commands(command, (*path, name))
    else:
        yield path, found


def test_every_command_speaks_json():
    """Whatever a command says to people it says to programs as well."""
    found = {path for path, command in commands(typer.main.get_command(app)) if not has_json(command)}
    assert found == SERVE


def has_json(command: click.Command) -> bool:
    return any("--json" in option.opts for option in command.params)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete(shell: str):
    """The program says how it is completed."""
    assert "_PRIVITY_COMPLETE" in privity("--show-completion", shell)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("privity ses", "session"),
        ("privity session wa", "watch"),
        ("privity token cr", "create"),
        ("privity session propose --l", "--like"),
    ],
)
def test_words_are_completed(words: str, expected: str):
    """As bash asks for them."""
    at = {"_PRIVITY_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    assert expected in privity(**at).split()


@pytest.mark.usefixtures("consortium")
def test_a_session_is_proposed_like_an_earlier_one(gateway: House, client: Gateway, make_plan: Callable[..., Plan]):
    """The plan of the earlier one, as it was, is proposed as a session of its own; a plan or a session, not both."""
    earlier = client.propose(make_plan(purpose="once more")).id
    place = ["--gateway", f"http://{gateway.serving.rest}", "--token-file", str(gateway.home / TOKEN_FILE)]
    done = CliRunner().invoke(app, ["session", "propose", "--like", earlier[:12], "--json", *place])
    assert done.exit_code == 0, done.output
    again = json.loads(done.output)["id"]
    assert again != earlier
    assert client.plan(again) == client.plan(earlier) == make_plan(purpose="once more")
    for words in ([], ["plan.toml", "--like", earlier]):
        refused = CliRunner().invoke(app, ["session", "propose", *words, *place])
        assert "of one plan" in str(refused.exception or refused.output)


def test_the_program_says_its_release():
    """As installed."""
    assert privity("--version").strip() == version("privity")


@pytest.fixture
def run(gateway: House, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A command, as somebody with a token or the gateway's home runs it; its JSON."""
    monkeypatch.setenv("PRIVITY_TOKEN", gateway.token)
    monkeypatch.setenv("PRIVITY_GATEWAY", gateway.serving.url)
    monkeypatch.setenv("PRIVITY_HOME", str(gateway.home))

    def invoke(*words: str) -> Any:
        return json.loads(privity(*words, "--json"))

    return invoke


def test_commands_of_the_gateway_s_operator(run: Callable[..., Any], gateway: House, tmp_path: Path):
    """Invitation, login, token, revision: each is one JSON object."""
    invited = run("gateway", "invite", "clinic-a")
    assert (invited["name"], invited["role"]) == ("clinic-a", "party")
    assert run("gateway", "login")["address"].startswith(f"{gateway.serving.url}/login?code=")
    made = run("gateway", "token", "create", "ada", "--organisation", "clinic-a", "--role", "analyst")
    assert made["secret"].startswith(f"pvt_{made['token']['id']}_")
    file = tmp_path / "token"
    kept = run("gateway", "token", "create", "ada", "--organisation", "clinic-a", "--role", "analyst", "-o", str(file))
    assert (kept["file"], "secret" in kept) == (str(file), False)
    assert run("gateway", "token", "revoke", made["token"]["id"])["revoked_by"] == "bootstrap"
    fresh = run("gateway", "init", "--home", str(tmp_path / "another"), "--name", "other")
    assert (fresh["name"], len(fresh["words"].split())) == ("other", 15)
    assert run("gateway", "migrate", "--home", str(tmp_path / "another"))["revision"]


def test_commands_of_an_analyst(
    run: Callable[..., Any], consortium: Consortium, make_plan: Callable[..., Plan], client: Gateway
):
    """A session is cancelled, in JSON."""
    session = client.propose(make_plan()).id
    assert consortium.proposed().digest == session
    assert run("session", "cancel", session) == {"id": session, "state": "cancelled"}


@pytest.mark.usefixtures("consortium")
def test_a_key_makes_a_command_safe_to_repeat(
    run: Callable[..., Any], make_plan: Callable[..., Plan], client: Gateway, gateway: House
):
    """Under one key a session is cancelled again without complaint, and a token made once."""
    session = client.propose(make_plan()).id
    for _ in range(2):
        assert run("session", "cancel", session, "--key", "once") == {"id": session, "state": "cancelled"}
    with pytest.raises(GatewayError, match="cancelled"):
        client.cancel(session, "another")
    place = ["--gateway", gateway.serving.url, "--token-file", str(gateway.home / TOKEN_FILE)]
    made = run("token", "create", "ada", "--key", "once")["token"]["id"]
    again = CliRunner().invoke(app, ["token", "create", "ada", "--key", "once", *place])
    assert (again.exit_code, "was made under this" in str(again.exception), made in str(again.exception)) == (
        1,
        True,
        True,
    )
    assert [token.id for token in client.tokens()] == [made]


def test_somebody_asks_who_it_is(run: Callable[..., Any], gateway: House, monkeypatch: pytest.MonkeyPatch):
    """Account, scope, end of the token, and what of REST it may: in words, and as JSON what the client has."""
    gateway.invited("clinic-a")
    token = gateway.personal("ada", "clinic-a", "analyst", days=30)
    boss = run("whoami")
    assert (boss["account"], boss["organisation"], boss["expires"], boss["sees"]) == (
        "bootstrap",
        CONSORTIUM,
        None,
        None,
    )
    assert {"GET /metrics", "POST /v1/sessions", "DELETE /v1/tokens/{token}"} <= set(boss["may"])
    assert "which does not end" in privity("whoami")
    monkeypatch.setenv("PRIVITY_TOKEN", token)
    with gateway.client(token) as own:
        me = own.me()
        (kept,) = own.tokens()
    assert (me.token, me.expires, me.sees) == (kept.id, kept.expires, "clinic-a")
    assert run("whoami") == json.loads(me.model_dump_json())
    assert privity("whoami").splitlines() == [
        "ada: analyst of clinic-a",
        f"token {kept.id}, which ends {kept.expires:%Y-%m-%d %H:%M} UTC",
        "sees the sessions that clinic-a is part of or proposed",
        "may read, propose sessions, cancel sessions, make and revoke tokens",
    ]
    monkeypatch.setenv("PRIVITY_TOKEN", gateway.personal("eve", "clinic-a", "compliance", is_read_only=True))
    assert "eve: compliance of clinic-a, reads only" in privity("whoami")
    assert privity("whoami").splitlines()[-1] == "may read"
    assert "POST /v1/tokens" not in run("whoami")["may"]


def test_what_somebody_may_is_what_is_let_in(gateway: House):
    """What `/v1/me` lists is not refused to that very token, and what it does not list is."""
    gateway.invited("clinic-a")
    for role in ROLES:
        for reads_only in (False, True):
            token = gateway.personal(f"{role}-{int(reads_only)}", "clinic-a", role, is_read_only=reads_only)
            with gateway.http(token) as http:
                may = http.get("/v1/me").json()["may"]
                for method, path in TABLE:
                    if path.startswith("/v1/"):
                        place = path.replace("{session}", "0" * 64).replace("{token}", "0" * 12).replace("{entry}", "0")
                        status = http.request(method, place).status_code
                        assert (status != 403) == (f"{method} {path}" in may), (role, reads_only, method, path)


def test_participants_are_listed(run: Callable[..., Any], consortium: Consortium, gateway: House, client: Gateway):
    """Each with its connection, its key and what it publishes; by name, with columns."""
    gateway.invited("clinic-c")
    shown = privity("participants")
    assert run("participants") == [json.loads(one.model_dump_json()) for one in client.participants()]
    assert "clinic-c, party: invited, not joined yet" in shown
    assert "dealer, dealer: connected since " in shown
    assert f"  key {consortium.a.identity.fingerprint}" in shown.splitlines()
    assert shown.count("  cohort: 100 rows, 5 columns, ids in patient") == 2
    alone = privity("participants", "clinic-a").splitlines()
    assert alone[0].startswith("clinic-a, party: connected since ")
    assert alone[3:] == [
        "    age: number",
        "    dose: number",
        "    lab: number, with gaps",
        "    note: text",
        "    outcome: category",
    ]
    assert [one["name"] for one in run("participants", "clinic-b")] == ["clinic-b"]
    place = ["--gateway", gateway.serving.url, "--token-file", str(gateway.home / TOKEN_FILE)]
    refused = CliRunner().invoke(app, ["participants", "nobody", *place])
    assert "no participant 'nobody'" in str(refused.exception)


def watched(client: Gateway, consortium: Consortium, session: str, console: Console) -> SessionView:
    """Followed from the first signature to the end."""

    def events() -> Iterator[Event]:
        for number, event in enumerate(client.open(session).watch()):
            yield event
            if number == 0:
                for daemon in (consortium.a, consortium.b):
                    daemon.say(Progress(session=session, stage="masking", iteration=0, of=0, rounds=2, bytes_sent=9))
                    told = {"iteration": 7, "of": 40, "rounds": 9, "bytes_sent": 2_000_000, "loss": 0.5}
                    daemon.say(Progress(session=session, stage="training", **told)).settled()
                for daemon in consortium.everybody:
                    daemon.say(daemon.finished(session)).settled()

    view = follow(events(), console)
    assert view is not None
    return view


@pytest.fixture
def session(client: Gateway, consortium: Consortium, make_plan: Callable[..., Plan]) -> str:
    """A session that runs."""
    session = client.propose(make_plan()).id
    consortium.started()
    return session


def test_a_terminal_shows_one_picture(client: Gateway, consortium: Consortium, session: str):
    """It is drawn again in its place: the state, a bar, and a row for each participant with what it sent."""
    out = io.StringIO()
    view = watched(client, consortium, session, Console(file=out, force_terminal=True, width=100, color_system=None))
    assert view.state is State.COMPLETED
    drawn = out.getvalue()
    assert "\x1b[1A" in drawn  # the cursor goes up, and the picture over the one before
    last = drawn.rpartition("predict the outcome")[2]
    for said in ("completed", "as agreed", "iteration 7 of 40", "loss 0.5000", "clinic-a", "dealer"):
        assert said in last


def test_without_a_terminal_it_is_lines(client: Gateway, consortium: Consortium, session: str):
    """Each says something new, and who: a log can keep them."""
    out = io.StringIO()
    watched(client, consortium, session, Console(file=out, width=40))
    lines = out.getvalue().splitlines()
    assert lines[0] == "running: computing at clinic-a, clinic-b and dealer"
    assert lines[-1] == "completed: as agreed"
    assert "clinic-a: iteration 7 of 40, loss 0.5000" in lines
    assert "clinic-a: training" in lines
    assert not any("0 of 0" in line for line in lines)
    assert all(one != other for one, other in pairwise(lines))
    assert "\x1b" not in out.getvalue()


def test_a_stage_is_said_once_and_drawn_while_it_lasts(client: Gateway, consortium: Consortium, session: str):
    """Each as it begins; counts wait until there are some."""
    told = [
        Progressed("clinic-a", 0, 0, 2, 9, None, "matching"),
        Progressed("clinic-a", 0, 0, 3, 9, None, "masking"),
        Progressed("clinic-a", 1, 40, 4, 9, None, "training"),
        Progressed("clinic-a", 1, 40, 4, 9, None, "results"),
    ]
    out, drawn = io.StringIO(), io.StringIO()
    view = StateChanged(client.session(session))
    follow(iter([view, *told]), Console(file=out, width=40))
    assert out.getvalue().splitlines()[1:] == [
        "clinic-a: matching",
        "clinic-a: masking",
        "clinic-a: training",
        "clinic-a: iteration 1 of 40",
        "clinic-a: results",
    ]
    follow(iter([view, *told[:2]]), Console(file=drawn, force_terminal=True, width=100, color_system=None))
    assert "masking" in drawn.getvalue()
    assert "0 of 0" not in drawn.getvalue()
    assert consortium.everybody


def test_where_a_run_is_shows_at_any_time(client: Gateway, consortium: Consortium, session: str):
    """Each party's stage and count, once there are some; at the end the loss alone."""
    a, b = consortium.a, consortium.b
    a.say(Progress(session=session, stage="masking", iteration=0, of=0, rounds=2, bytes_sent=9)).settled()
    told = {"iteration": 7, "of": 40, "rounds": 9, "bytes_sent": 2_000_000, "loss": 0.5}
    b.say(Progress(session=session, stage="training", **told)).settled()
    running = ["clinic-a: masking", "clinic-b: training, iteration 7 of 40", "loss after 7 iterations: 0.5000"]
    assert list(so_far(client.session(session))) == running
    for daemon in consortium.everybody:
        daemon.say(daemon.finished(session)).settled()
    assert list(so_far(client.session(session))) == ["loss after 7 iterations: 0.5000"]


def test_words_of_others_stay_words(client: Gateway, consortium: Consortium, session: str):
    """What a participant says can't colour, link or move anything on the terminal."""
    view = client.session(session)
    evil = view.model_copy(update={"purpose": "[red]\x5b/red] [link=http://x]y[/link]"})
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, color_system=None)
    follow(iter([StateChanged(evil), Progressed("clinic-a", 1, 2, 3, 4, None)]), console)
    assert "[red][/red] [link=http://x]y[/link]" in out.getvalue()
    assert consortium.everybody


def test_a_failed_session_ends_with_its_cause(
    gateway: House, client: Gateway, consortium: Consortium, session: str, monkeypatch: pytest.MonkeyPatch
):
    """The command's exit status is 1, and what went wrong is its last line."""
    monkeypatch.setenv("PRIVITY_TOKEN", gateway.token)
    fault = Fault(code="data", who="clinic-b", what="column 'dose' is constant", action="leave the column out")
    consortium.b.say(consortium.b.finished(session, fault)).settled()
    assert client.session(session).state is State.FAILED
    found = CliRunner().invoke(app, ["session", "watch", session, "--gateway", gateway.serving.url])
    assert found.exit_code == 1
    assert found.output.splitlines()[0] == "failed"
    assert found.output.splitlines()[-1] == fault.line()


MATCHING = """\
kind = "matching"
purpose = "is it worth it"
result = "both"
[[parties]]
name = "clinic-a"
data = "cohort"
[[parties]]
name = "clinic-b"
data = "cohort"
"""
TRAINING = 'purpose = "p"\n[[parties]]\nname = "clinic-a"\ndata = "cohort"\ncolumns = ["age"]\n'

BAD_ESTIMATES = {
    "the plan of a training": (TRAINING, "is the plan of a training, not of a matching; .*plan new --kind matching"),
    "the plan of a prediction": ('kind = "prediction"', "is the plan of a prediction, not of a matching"),
    "a plan of no kind": ('kind = ["matching"]', "is no plan, not of a matching"),
    "no TOML": ("kind = ", "is not TOML"),
    "an unknown key": (MATCHING + 'colour = "red"\n', r"does not hold: parties\.1\.colour: there is no such key; mend"),
    "one party": (MATCHING[: MATCHING.rindex("[[")], "parties: at least 2 items are needed, here are 1"),
    "a party twice": (MATCHING.replace("clinic-b", "clinic-a"), "parties: a name stands twice"),
    "an unknown party": (
        MATCHING.replace("clinic-b", "clinic-z"),
        r"parties\.1\.name: this gateway knows no 'clinic-z'",
    ),
    "a data set that is not shared": (
        MATCHING.replace("cohort", "hidden", 1),
        r"parties\.0\.data: 'clinic-a' publishes no data set 'hidden'; .*`privity data share hidden`",
    ),
    "a column that is none": (
        MATCHING.replace('"cohort"', '"cohort"\nid_columns = ["nope"]'),
        "cohort has no column 'nope'",
    ),
    "more matches than records": (
        MATCHING.replace("[[", "[rules]\nminimum = 999999\n[[", 1),
        "rules.minimum: 999999 common records",
    ),
}


@pytest.mark.usefixtures("consortium")
@pytest.mark.parametrize("case", BAD_ESTIMATES)
def test_an_estimate_that_can_t_be_is_refused_before_anybody_is_asked(gateway: House, tmp_path: Path, case: str):
    """One line that says what does not hold, and no session is proposed."""
    text, says = BAD_ESTIMATES[case]
    file = tmp_path / "matching.toml"
    file.write_text(text)
    place = ["--gateway", gateway.serving.url, "--token-file", str(gateway.home / TOKEN_FILE)]
    found = CliRunner().invoke(app, ["match", "estimate", str(file), *place])
    assert isinstance(found.exception, PrivityError)
    said = str(found.exception)
    assert re.search(says, said), said
    assert len(said.splitlines()) == 1
    assert found.output == ""
    listed = CliRunner().invoke(app, ["session", "list", "--json", *place])
    assert json.loads(listed.output) == []


@pytest.mark.parametrize(
    "url", ["nonsense", "localhost:8470", "ftp://127.0.0.1", "http://", "http://h:port", "http://h:0"]
)
def test_a_url_that_is_none_is_named(gateway: House, tmp_path: Path, url: str):
    """At once, instead of after trying to reach it."""
    file = tmp_path / "matching.toml"
    file.write_text(MATCHING)
    place = ["--gateway", url, "--token-file", str(gateway.home / TOKEN_FILE)]
    found = CliRunner().invoke(app, ["match", "estimate", str(file), *place])
    assert isinstance(found.exception, SettingsError)
    assert str(found.exception) == f"'{url}' is no gateway's URL; write it as http://HOST:PORT or https://HOST"


@pytest.fixture
def stated(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a command has said where its session stands."""
    found, say = threading.Event(), Lines._say

    def tell(lines: Lines, text: str) -> None:
        say(lines, text)
        found.set()

    monkeypatch.setattr(Lines, "_say", tell)
    return found


def test_an_estimate_says_whose_node_is_off(
    gateway: House, consortium: Consortium, client: Gateway, tmp_path: Path, stated: threading.Event
):
    """Whoever waits for signatures reads at once which of them can't come; it goes on until the session is over."""
    file = tmp_path / "matching.toml"
    file.write_text(MATCHING)
    consortium.b.hang_up()
    deadline = time.monotonic() + DEADLINE_S
    while "clinic-b" not in {one.name for one in client.participants() if not one.online}:
        assert time.monotonic() < deadline

    def cancel() -> None:
        session = parse_contract(consortium.a.hear(Proposal).contract.encode()).digest
        assert stated.wait(DEADLINE_S)
        client.cancel(session)

    with ThreadPoolExecutor(1) as pool:
        cancelling = pool.submit(cancel)
        words = ["match", "estimate", str(file), "--gateway", gateway.serving.url]
        found = CliRunner().invoke(app, [*words, "--token-file", str(gateway.home / TOKEN_FILE)])
        cancelling.result()
    assert "each at its own node; clinic-b is not connected to the gateway\n" in found.stderr
    assert isinstance(found.exception, GatewayError)
    assert found.exception.what.startswith("the session cancelled: ")


def test_an_estimate_that_a_policy_refuses_says_whose_and_which_rule(
    gateway: House, consortium: Consortium, tmp_path: Path, stated: threading.Event
):
    """`privity match estimate` ends with one line: the party, and what its policy does not allow."""
    file = tmp_path / "matching.toml"
    file.write_text(MATCHING)
    fault = Fault(code="policy.disclosures", who="clinic-b", what="the policy does not allow to tell: estimate")

    def refuse() -> None:
        session = consortium.proposed().digest
        assert stated.wait(DEADLINE_S)
        consortium.b.say(Refuse(session=session, fault=fault))

    with ThreadPoolExecutor(1) as pool:
        refusing = pool.submit(refuse)
        words = ["match", "estimate", str(file), "--gateway", gateway.serving.url]
        found = CliRunner().invoke(app, [*words, "--token-file", str(gateway.home / TOKEN_FILE)])
        refusing.result()
    assert isinstance(found.exception, GatewayError)
    assert found.exception.what.startswith("the session refused: ")
    for said in ("clinic-b", "does not allow to tell: estimate"):
        assert said in found.exception.what
    assert "proposed: waits for the signature of clinic-a, clinic-b and dealer" in found.stderr
    assert "not connected" not in found.stderr
    assert "records are common" not in found.output
