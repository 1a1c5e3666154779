"""The commands of one organisation: lean, one line for an error, JSON where it was asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import rfc8785
import typer
from typer.testing import CliRunner

from mpc.curves import Points
from parties.agreement.contract_text import leaves
from parties.agreement.leaving import leaving
from parties.cli import mount
from parties.columns.preparation import OriginalUnits
from parties.keys.identity import Identity, fingerprint, write_private
from parties.keys.tls import Invitation, utc_now
from parties.process.job import Outcome, OwnModel
from parties.service.home import Home, init
from parties.service.messages import Figures, Validated
from tests.parties.conftest import draft

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "sklearn", "crypten", "pyarrow"}
DEADLINE_S = 60


def application() -> typer.Typer:
    app, session = typer.Typer(), typer.Typer()
    mount(app, session)
    app.add_typer(session, name="session")
    return app


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every group and command, by the words that call it."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


COMMANDS = list(commands(typer.main.get_command(application())))


def privity(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The real program, as a process."""
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def done(*words: str | Path) -> str:
    """What a command that must succeed wrote."""
    found = privity(*words)
    assert (found.returncode, found.stderr) == (0, "")
    return found.stdout


@pytest.fixture(scope="module")
def token() -> str:
    return Invitation.create("clinic-a", "127.0.0.1:1", "ab" * 32).token()


@pytest.fixture
def home(tmp_path, token) -> Path:
    """A node's home that no daemon serves, with its log as `node init` leaves it."""
    done("node", "init", "--invite", token, "--home", tmp_path / "home")
    return tmp_path / "home"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(path):
    """--help of every group and command answers with a sentence."""
    found = CliRunner().invoke(application(), [*path, "--help"])
    assert found.exit_code == 0, found.output
    assert "Usage: " in found.output


def test_the_commands_are_these():
    """A command that vanishes is noticed."""
    assert {" ".join(path) for path in COMMANDS if path} >= {
        "node init",
        "node serve",
        "node status",
        "node pause",
        "node resume",
        "doctor",
        "dealer init",
        "dealer serve",
        "dealer status",
        "partner add",
        "partner list",
        "partner remove",
        "data add",
        "data list",
        "data show",
        "data verify",
        "data delete",
        "data share",
        "data rotate",
        "key show",
        "policy show",
        "policy explain",
        "result show",
        "session pending",
        "session approve",
        "session refuse",
        "audit verify",
    }


def loaded(code: str) -> set[str]:
    """Which heavy libraries a program that ran this code has loaded."""
    script = f"import sys\n{code}\nsys.stderr.write(' '.join({HEAVY!r} & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    return set(found.stderr.split())


def test_help_loads_nothing_heavy():
    """`privity --help` answers at once: neither the engine nor a table library is loaded for it."""
    script = (
        "sys.argv = ['privity', '--help']\nimport gateway.cli\ntry:\n    gateway.cli.app()\nexcept SystemExit: pass"
    )
    assert loaded(script) == set()


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("parties.service.dealer", set()),  # holds no data: not even a table library
        ("parties.service.node", {"pyarrow"}),  # checks its own data before it signs
        ("parties.cli", set()),
        ("parties.process.match_worker", {"pyarrow"}),  # a matching needs no engine
        ("parties.process.dealer_worker", set()),  # and this not before it multiplies
        ("parties.agreement.contract", set()),
        ("parties.service.messages", set()),
    ],
)
def test_daemons_load_no_engine(module, expected):
    """Training happens in processes of their own: a daemon loads neither torch nor CrypTen nor scikit-learn."""
    assert loaded(f"import {module}") == expected


def test_a_node_from_its_invitation_to_its_data(home, tmp_path):
    """Everything that an operator does before the first session, through the program."""
    (tmp_path / "a.csv").write_text("patient,age,note\np1,30,x\np2,41,y\np3,52,z\n")
    shown = json.loads(done("key", "show", "--home", home, "--json"))
    assert shown["fingerprint"] == fingerprint(bytes.fromhex(shown["public_key"]))
    assert done("key", "show", "--home", home).splitlines() == [shown["fingerprint"], shown["words"]]
    added = json.loads(done("data", "add", "cohort", tmp_path / "a.csv", "--id", "patient", "--home", home, "--json"))
    assert (added["name"], added["rows"]) == ("cohort", 3)
    assert json.loads(done("data", "list", "--home", home, "--json")) == [added]
    assert json.loads(done("data", "show", "cohort", "--home", home, "--json")) == added
    assert "age  number" in done("data", "show", "cohort", "--home", home)
    assert done("data", "verify", "cohort", "--home", home) == "cohort is intact\n"
    other = Identity.generate().fingerprint
    done("partner", "add", "clinic-b", other, "--home", home)
    assert json.loads(done("partner", "list", "--home", home, "--json")) == {"clinic-b": other}
    done("partner", "remove", "clinic-b", "--home", home)
    assert done("partner", "list", "--home", home) == ""
    assert json.loads(done("policy", "show", "--home", home, "--json"))["approve"] == "operator"
    assert done("data", "delete", "cohort", "--home", home) == "cohort is deleted\n"
    entries = [json.loads(line)["type"] for line in done("audit", "list", "--home", home, "--json").splitlines()]
    assert len(entries) >= 6
    assert json.loads(done("audit", "verify", home, "--key", shown["fingerprint"], "--json"))


def test_no_value_of_the_data_is_shown(home, tmp_path):
    """What `data` prints is columns and counts; what was in the rows is in no output."""
    (tmp_path / "a.csv").write_text("patient,age\nanna-xyzzy,3141.5\nbert-xyzzy,2718.2\n")
    for words in (
        ("data", "add", "cohort", tmp_path / "a.csv", "--id", "patient"),
        ("data", "show", "cohort"),
        ("data", "list", "--json"),
        ("audit", "list", "--json"),
    ):
        found = done(*words, "--home", home)
        assert "xyzzy" not in found
        assert "3141" not in found


ERRORS = {
    "a home that is none": (["key", "show", "--home", "/nonexistent"], "there is no identity"),
    "status of no daemon": (["node", "status", "--home", "{home}"], "no daemon runs"),
    "nothing pending without a daemon": (["session", "pending", "--home", "{home}"], "no daemon runs"),
    "a doctor of no home": (["doctor", "--home", "/nonexistent"], "is no home"),
    "approval without a daemon": (["session", "approve", "ab", "--home", "{home}"], "no daemon runs"),
    "a dealer's command at a node": (["dealer", "serve", "--home", "{home}"], "start it with `privity node serve`"),
    "a file that is not there": (["data", "add", "x", "/none.csv", "--id", "a", "--home", "{home}"], "/none.csv"),
    "a data set that is not there": (["data", "show", "none", "--home", "{home}"], "`privity data list`"),
    "a data set's name": (["data", "verify", "../x", "--home", "{home}"], "not a name for a data set"),
    "a fingerprint": (["partner", "add", "b", "12-34", "--home", "{home}"], "hexadecimal digits"),
    "a partner's name": (["partner", "add", "B b", "12-34", "--home", "{home}"], "not a participant's name"),
    "partners of no home": (["partner", "list", "--home", "/nonexistent"], "is no home"),
    "data of no home": (["data", "list", "--home", "/nonexistent"], "is no home"),
    "a home twice": (["node", "init", "--invite", "{token}", "--home", "{home}"], "is a home already"),
    "a token that is none": (["dealer", "init", "--invite", "x", "--home", "{home}/new"], "not an invitation"),
    "no contract": (["policy", "explain", "/none.json", "--home", "{home}"], "is not a contract's JSON"),
    "a result that is not there": (["result", "show", "ab", "--home", "{home}"], "0 results begin with 'ab'"),
    "a log that is not there": (["audit", "list", "--home", "/nonexistent"], "/nonexistent"),
}


@pytest.mark.parametrize(("words", "says"), ERRORS.values(), ids=ERRORS)
def test_an_error_is_one_line_with_the_next_step(home, token, words, says):
    """Standard error has one line: what happened and what to do; standard output nothing; the exit status is 1."""
    found = privity(*(word.format(home=home, token=token) for word in words))
    assert (found.returncode, found.stdout) == (1, "")
    (line,) = found.stderr.splitlines()
    assert line.startswith("privity: ")
    assert says in line
    assert "; " in line


def test_an_unknown_option_is_explained(home):
    """A slip at the terminal exits with status 2 and names the option."""
    found = privity("key", "show", "--home", home, "--jsno")
    assert found.returncode == 2
    assert "--jsno" in found.stderr


def test_the_policy_is_explained_rule_by_rule(home, tmp_path):
    """An operator sees before a session what the policy says of a contract, in words and as JSON."""
    own = Home(home).identity.public.hex()
    contract = draft(own, "22" * 32, "33" * 32)
    file = tmp_path / "contract.json"
    file.write_text(json.dumps(contract.model_dump(mode="json"), indent=2))
    policy = home / "policy.toml"
    policy.write_text(policy.read_text().replace("min_training_rows = 50", "min_training_rows = 500"))
    shown = done("policy", "explain", file, "--home", home)
    assert "refuses  min_training_rows: 300 training rows; the policy asks for 500" in shown
    assert shown.count("holds ") == 17
    assert "asks     approve: every contract waits for the operator" in shown
    assert shown.endswith("The contract would be refused.\n")
    told = json.loads(done("policy", "explain", file, "--home", home, "--json"))
    assert told["verdict"] == "refuses"
    assert [rule["rule"] for rule in told["rules"] if rule["verdict"] == "refuses"] == ["min_training_rows"]
    file.write_bytes(rfc8785.dumps({"version": 1}))
    assert "the contract does not hold" in privity("policy", "explain", file, "--home", home).stderr


TABLE = Points(thresholds=(0.0,), positives=((0, 9), (10, 29)), negatives=((0, 0), (10, 19)))


def test_a_result_is_shown_in_both_units(home):
    """Coefficients stand beside their columns, standardised and in the column's own units."""
    outcome = Outcome(
        columns=("age", "dose"),
        models=(
            OwnModel(
                C="0.5",
                positive="yes",
                figures=Figures(auc=0.75, calibration=TABLE),
                standardised=(0.5, -0.25),
                original=OriginalUnits(names=("age", "dose"), coefficients=(0.05, -0.5), offset=-2.0),
                intercept=0.125,
                losses=(0.69,),
            ),
        ),
        validated=(Validated(C="0.5", loss=0.25), Validated(C="8", loss=0.75)),
        rungs=(0, 1),
        iterations=7,
        tol="0.0001",
        converged=False,
        stages={"matching": 0.5, "training": 1.25},
    )
    write_private(home / "results" / f"{'ab' * 32}.json", outcome.model_dump_json().encode())
    shown = done("result", "show", "abab", "--home", home)
    for part in ("age", "0.500000", "0.05", "dose", "-0.250000", "intercept", "0.125000", "tol=0.0001 in 7 iterations"):
        assert part in shown
    for part in (
        "yes, C=0.5",
        "loss 0.2500 (taken)",
        "C=8: cross-validated loss 0.7500",
        "climbs of the range ladder: 1 (each segment's rung: 0, 1)",
        "seconds: matching 0.50, training 1.25",
        "auc of the held-out rows 0.7500",
        "calibration on the held-out rows",
        "0.00 to 0.50",
        "1 to 29",
        "11 to 48",
    ):
        assert part in shown
    assert Outcome.model_validate_json(done("result", "show", "abab", "--home", home, "--json")) == outcome


def test_a_contract_is_read_on_one_screen(contract):
    """What an operator reads before signing names purpose, basis, everybody, and every opening with its recipient."""
    screen = leaves(contract, "clinic-a")
    lines = screen.splitlines()
    assert len(lines) == 13 + len(contract.disclosures)
    assert "schemas  clinic-a 5a5a5a5a5a5a, clinic-b 5b5b5b5b5b5b" in lines
    for part in (contract.digest, contract.purpose, contract.legal_basis, "clinic-b (1 column)", "dealer", "outcome"):
        assert part in screen
    for item in leaving(contract, "clinic-a"):
        (line,) = [line for line in lines if line.strip().startswith(f"{item.clause}:")]
        assert item.what in line
        assert line.endswith(f"{'once' if item.times == 1 else f'{item.times} times'} at most, to {item.to}")
    assert "(s)" not in screen


def test_noise_is_read_with_what_it_is_on(contract):
    """The model's line has it, and each told weight's, and no other."""
    noised = contract.model_copy(update={"model": contract.model.model_copy(update={"noise": "0.05"})})
    lines = leaves(noised, "clinic-a").splitlines()
    told = [line.split(":")[1] for line in lines if "with normal noise of 0.05 from each party" in line]
    assert [what.split(" of ")[0].split(",")[0].strip() for what in told] == [
        "The model’s coefficients",
        "The model’s coefficients",
        "The model’s intercept",
    ]
    assert "model    logistic-regression, C=1.0, noise of 0.05 from each party, 20 iterations" in lines


def test_home_may_come_from_the_environment(tmp_path, token, monkeypatch):
    """PRIVITY_HOME stands in for --home."""
    init(tmp_path / "home", "party", token, "127.0.0.1:0", utc_now())
    monkeypatch.setenv("PRIVITY_HOME", str(tmp_path / "home"))
    assert done("key", "show").splitlines()[0] == Home(tmp_path / "home").identity.fingerprint
