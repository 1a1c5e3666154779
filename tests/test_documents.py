"""Documents say what is so: commands, links, formats, settings and risks are compared with the code."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel

from gateway import problems
from gateway.access.accounts import Accounts
from gateway.access.logins import Logins
from gateway.access.permissions import TABLE, routes_of
from gateway.access.tokens import Token
from gateway.app import make_app
from gateway.cli import app
from gateway.coordination.journal import MemoryJournal
from gateway.coordination.sessions import Sessions
from gateway.home import init as init_gateway
from gateway.home import invite, load_tls_key
from gateway.metrics import Metrics, Place
from gateway.sandbox.demo import ID, LABEL, LABEL_OWNER, POSITIVE, RESULT, write_files
from gateway.settings import load_settings
from gateway.storage.store import Store
from mpc.frames import HEADER_BYTES
from parties.agreement.contract import APPROVAL_TYPE, Contract
from parties.agreement.match_plan import parse_matching_plan
from parties.agreement.match_planning import propose_matching
from parties.agreement.plan import Plan, load_plan
from parties.agreement.planning import propose_plan
from parties.audit.bundle import BUNDLE_TYPE
from parties.errors import LifecycleError
from parties.keys.handover import HANDOVER_TYPE
from parties.keys.tls import utc_now
from parties.service.home import init
from parties.service.lifecycle import FINAL, State, Step, advance
from parties.service.messages import HEAD_OFFER_TYPE, HEAD_REFUSAL_TYPE, INTRODUCTION_TYPE, FromDaemon, FromGateway
from parties.testimony.commitment import COMMITMENT_TYPE, DEALER_KEY_TYPE
from parties.testimony.statement import TRANSCRIPT_TYPE
from parties.testimony.withdrawal import WITHDRAWAL_TYPE

ROOT = Path(__file__).parent.parent
PAGES = sorted(path for place in (".", "docs", "examples", "mpc") for path in (ROOT / place).glob("*.md"))
TEXTS = [
    *PAGES,
    *(path for place in ("deploy", "examples", ".ci") for path in sorted((ROOT / place).rglob("*")) if path.is_file()),
    ROOT / "Makefile",
    ROOT / "pyproject.toml",
]
PROGRAM: Any = typer.main.get_command(app)
COMMAND = re.compile(r"^(?:sudo -u privity )?privity (?P<arguments>[a-z].*)$")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def fenced(text: str) -> Iterator[str]:
    """Lines of fenced blocks."""
    for block in re.findall(r"^```[a-z]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield from block.splitlines()


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next of the same depth."""
    depth = re.escape(heading.split(maxsplit=1)[0])
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^{depth} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables' rows, headings too."""
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]


def leaf(words: list[str]) -> tuple[Any, list[str]]:
    """The command that these words name, and what follows it."""
    command, rest = PROGRAM, list(words)
    while hasattr(command, "commands"):
        assert {*rest[:1]} & set(command.commands), f"there is no command: {' '.join(words)}"
        command = command.commands[rest.pop(0)]
    return command, rest


def written_commands() -> list[Any]:
    """Every command that stands on a line of its own, ready to be typed."""
    lines = [(page.name, line.strip()) for page in PAGES for line in fenced(page.read_text(encoding="utf-8"))]
    matches = [(name, match["arguments"]) for name, line in lines if (match := COMMAND.match(line))]
    return [pytest.param(arguments, id=f"{name}: {arguments[:50]}") for name, arguments in matches]


def mentioned_commands() -> list[Any]:
    """Every command that is mentioned within a sentence, as `privity data add` or `data add`."""
    found = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for code in re.findall(r"`([^`\n]+)`", text):
            words = code.removeprefix("privity ").split()
            is_group = hasattr(PROGRAM.commands.get(words[0]), "commands")
            if code.startswith("privity ") or (is_group and len(words) > 1 and words[1].isalpha()):
                found.append(pytest.param(words, id=f"{page.name}: {code[:50]}"))
    return found


@pytest.mark.parametrize("arguments", written_commands())
def test_commands_can_be_typed(arguments: str, monkeypatch: pytest.MonkeyPatch):
    """A command in a block parses as it stands: the command exists, and its options and arguments are right."""
    for variable in ("PRIVITY_HOME", "PRIVITY_GATEWAY", "PRIVITY_TOKEN_FILE"):
        monkeypatch.delenv(variable, raising=False)
    words = shlex.split(arguments, comments=True)
    words = words[: words.index(">")] if ">" in words else words
    command, rest = leaf(words)
    command.make_context(command.name, rest)


def test_the_officers_questions_are_answered():
    """There are ten, and each has its command, none of which signs a contract, adds or removes."""
    page = read("docs/officer.md")
    headings = re.findall(r"^## \d+\. .+\?$", page, re.MULTILINE)
    assert [int(re.sub(r"\D", "", heading)) for heading in headings] == list(range(1, 11))
    reading = {
        "report",
        "subject",
        "verify",
        "list",
        "show",
        "explain",
        "pending",
        "login",
        "export",
        "reconcile",
        "prove",
        "heads",
        "reveal",
    }
    for heading in headings:
        commands = [
            match["arguments"].split() for line in fenced(section(page, heading)) if (match := COMMAND.match(line))
        ]
        assert commands, heading
        assert {words[1] for words in commands} <= reading, heading


@pytest.mark.parametrize("words", mentioned_commands())
def test_mentioned_commands_exist(words: list[str]):
    """A command in a sentence exists, and so does each option that is mentioned with it."""
    if words[0].startswith("-"):
        assert words[0] in {option for parameter in PROGRAM.params for option in parameter.opts} | {"--help"}
        return
    command, rest = leaf(words)
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word for word in rest if word.startswith("-")} <= options


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path):
    """Every link leads to a file of the repository, and its anchor to a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert found.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(found), target


def test_the_map_names_every_page():
    """docs/index.md links to each page of docs/."""
    linked = set(re.findall(r"\]\(([a-z-]+\.md)\)", read("docs/index.md")))
    assert linked == {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_texts_speak_of_the_project_alone(path: Path):
    """No path of the machine on which something was written, and no host but examples."""
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"(?<![\w.])/(?:work|tmp|root|home/\w+|Users)(?:/|\b)", text)
    hosts = re.findall(r"\b(?:[a-z0-9-]+\.)+(?:org|com|io|net|dev|cloud)\b", text)
    assert {host for host in hosts if not host.endswith("example.org")} == set()
    addressed = re.findall(r"https?://([^\s:/`\"]+)", text)
    assert {host for host in addressed if host != "127.0.0.1" and not host.endswith(".example.org")} == set()


def test_changes_begin_with_what_is_not_released():
    """The newest section of the change log is the unreleased one, of the version in pyproject.toml."""
    headings = re.findall(r"^## (.+)$", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == f"{tomllib.loads(read('pyproject.toml'))['project']['version']} (unreleased)"


@pytest.mark.parametrize("path", sorted(p for r in ("mpc", "parties", "gateway") for p in (ROOT / r).rglob("*.py")))
def test_modules_say_what_they_are(path: Path):
    """Every module begins with a docstring of at least one sentence."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, path
    assert re.search(r"[.`!?)]$", docstring.split("\n\n")[0].strip()), docstring


def test_known_flaws_stand_in_the_security_policy():
    """Each BUG paragraph of the code stands in SECURITY.md, word for word, with its file; and no other does."""
    listed = " ".join(section(read("SECURITY.md"), "## Residual risks").split())
    found = {}
    for path in (p for room in ("mpc", "parties", "gateway") for p in (ROOT / room).rglob("*.py")):
        for paragraph in re.findall(
            r"^BUG: (.+?)(?:\n\n|\"\"\")", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        ):
            found[name_of(path)] = " ".join(paragraph.split())
    assert set(re.findall(r"- `([\w/]+\.py)`:", listed)) == set(found)
    for name, paragraph in found.items():
        assert f"- `{name}`: {paragraph}" in listed


def test_every_room_is_documented():
    """The architecture's table says of each folder what its matter is."""
    listed = re.findall(r"`((?:parties|gateway)/\w+)/`", section(read("docs/architecture.md"), "## Rooms"))
    found = {path.parent for room in ("parties", "gateway") for path in (ROOT / room).glob("*/__init__.py")}
    assert sorted(listed) == sorted(str(path.relative_to(ROOT)) for path in found)


def test_endpoints_are_documented(tmp_path: Path):
    """The table of REST endpoints has the application's routes, no more and no fewer, and says which need no login."""
    init_gateway(tmp_path)
    store = Store.open(tmp_path)
    try:
        settings, journal = load_settings(tmp_path), MemoryJournal()
        coordinator, accounts = Sessions(store, journal, settings), Accounts(store, journal)
        metrics = Metrics(coordinator, Place(tmp_path, load_tls_key(tmp_path).certificate))
        token = Token.load(tmp_path / "token")
        made = make_app(coordinator, accounts, Logins(store), token, settings, metrics, tmp_path / "audit.sqlite")
    finally:
        store.close()
    listed = [row for row in rows(section(read("docs/formats.md"), "## REST")) if row[1].startswith("`/")]
    assert {(row[0], row[1].strip("`")) for row in listed} == set(routes_of(made.routes))
    assert {row[1].strip("`") for row in listed if row[2].endswith("; open")} == {
        path for (_, path), rule in TABLE.items() if rule.is_open
    }


def test_problems_are_documented():
    """The table of problems has the gateway's codes and statuses."""
    listed = re.findall(r"^\| `([a-z.-]+)` \| (\d{3}) \|$", read("docs/formats.md"), re.MULTILINE)
    assert dict(listed) == {code: str(int(status)) for code, (status, _) in problems.TABLE.items()}


def test_contracts_are_documented():
    """The table of a contract's keys has every key."""
    table = section(read("docs/formats.md"), "## Contract")
    keys = [key for row in rows(table)[1:] for key in re.findall(r"`(\w+)`", row[0])]
    assert keys == list(Contract.model_fields)


def test_messages_are_documented():
    """The table of the control stream has every message of either side."""
    listed = re.findall(r"^\| (daemon|gateway) \| `([\w-]+)` \|", read("docs/formats.md"), re.MULTILINE)
    kinds = {"daemon": FromDaemon, "gateway": FromGateway}
    types = {
        (side, model.model_fields["type"].default)
        for side, union in kinds.items()
        for model in get_args(get_args(union)[0])
    }
    assert set(listed) == types


def test_envelopes_and_frames_are_documented():
    """Types of signed payloads and the lengths of a frame header's fields are the code's."""
    text = read("docs/formats.md")
    assert set(re.findall(r"^\| `(application/vnd[^`]+)`", text, re.MULTILINE)) == {
        APPROVAL_TYPE,
        BUNDLE_TYPE,
        COMMITMENT_TYPE,
        DEALER_KEY_TYPE,
        HANDOVER_TYPE,
        HEAD_OFFER_TYPE,
        HEAD_REFUSAL_TYPE,
        INTRODUCTION_TYPE,
        WITHDRAWAL_TYPE,
        TRANSCRIPT_TYPE,
    }
    lengths = re.findall(r"^\| (\d+) \| ", section(text, "## Between workers"), re.MULTILINE)
    assert sum(map(int, lengths)) == HEADER_BYTES
    assert f"a header of {HEADER_BYTES} bytes" in text


def test_states_are_documented():
    """The table of a session's states has every step of the transition table."""
    listed = {}
    for row in rows(section(read("docs/architecture.md"), "## The life of a session")):
        following = set(re.findall(r"`(\w+)`", row[2])) if len(row) > 2 else set()
        listed |= {State(name): following for name in re.findall(r"`(\w+)`", row[0])}
    assert listed == {state: following_states(state) for state in State}
    assert {state for state, following in listed.items() if not following} == FINAL


def following_states(state: State) -> set[str]:
    found = set()
    for step in Step:
        try:
            found.add(advance(state, step).value)
        except LifecycleError:
            continue
    return found


def test_files_of_a_home_are_documented(tmp_path: Path):
    """What `init` makes in a gateway's and a node's home is named where homes are described."""
    init_gateway(tmp_path / "gateway")
    init(tmp_path / "node", "party", invite(tmp_path / "gateway", "clinic-a"), "127.0.0.1:0", utc_now())
    named = set(re.findall(r"`([\w./]+)`", section(read("docs/architecture.md"), "## Files in a home")))
    made = {path.name for home in ("gateway", "node") for path in (tmp_path / home).iterdir()}
    assert made <= {name.strip("/") for name in named}


def test_the_example_is_what_plan_new_writes(tmp_path: Path):
    """examples/plan.toml is the plan of the demo's clinics; after a change of the format write it anew.

    `privity plan new` with the files of `gateway.sandbox.demo.write_files` does, after a matching that leaves `RESULT`.
    """
    path = ROOT / "examples/plan.toml"
    files = write_files(tmp_path)
    matching = parse_matching_plan(tomllib.loads(propose_matching(files, ID, result=RESULT)))
    written = propose_plan(files, ID, f"{LABEL_OWNER}:{LABEL}", POSITIVE, matching=matching)
    assert path.read_text(encoding="utf-8") == written
    assert [party.name for party in load_plan(path).parties] == list(files)


def test_the_example_explains_every_key():
    """Each key that a plan may have stands in examples/plan.toml below a comment."""
    text = read("examples/plan.toml")
    for key in keys_of(Plan):
        written = re.search(rf"^#.*\n{key} = ", text, re.MULTILINE) or re.search(
            rf"^\[+(\w+\.)?{key}\]+", text, re.MULTILINE
        )
        assert written or f"`{key}`" in text, key  # or named where another stands instead


def keys_of(model: type[BaseModel]) -> Iterator[str]:
    for key, field in model.model_fields.items():
        yield key
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from keys_of(inner)
