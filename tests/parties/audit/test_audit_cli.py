"""`privity audit` says in one line whether a log verifies, and shows what is in it."""

import csv
import io
import json

import pytest
from typer.testing import CliRunner

from parties.audit.cli import app
from parties.audit.events import ContractReceived, ContractRefused, ModelStored, PartnerAdded, ServiceStarted
from parties.audit.log import AuditLog
from parties.audit.selection import COLUMNS
from parties.errors import AuditError, SettingsError
from parties.keys.identity import Identity
from parties.service.store import SessionStore

IDENTITY = Identity.generate()
SESSION = "ab" * 32


@pytest.fixture
def home(tmp_path):
    with AuditLog.open(tmp_path / "audit.sqlite", IDENTITY, "clinic-a") as log:
        log.append(ServiceStarted(role="node", version="0.1.0"))
        (tmp_path / "head").write_text(log.head())
        log.append(ContractRefused(session=SESSION, by="operator", reason="purpose"))
    return tmp_path


def run(*arguments, environment=None):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment or {"PRIVITY_HOME": None})


def test_a_genuine_log_exits_zero(home):
    """The verdict stands first, on one line; a directory is as good as the file."""
    result = run("verify", home, "--key", IDENTITY.fingerprint, "--head", home / "head")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"verified: {home / 'audit.sqlite'}: 3 entries of clinic-a, signed by {IDENTITY.fingerprint}"
    ]


def test_what_is_not_confirmed_is_said(home):
    """Without a key and a head the limits of the verdict follow it."""
    result = run("verify", home / "audit.sqlite")
    assert result.exit_code == 0
    assert "signer is not confirmed" in result.stdout
    assert "rollback" in result.stdout


def test_an_altered_log_exits_one(home):
    """A log that does not verify says what is wrong and what to do, and the exit status says so to scripts."""
    path = home / "audit.sqlite"
    path.write_bytes(path.read_bytes().replace(b'"reason":"purpose"', b'"reason":"purpore"'))
    result = run("verify", path)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"NOT VERIFIED: {path}: entry 2 was altered")
    assert "what to do: " in result.stdout


def test_verdicts_for_scripts(home):
    """With --json the verdict is one object, with the same exit status."""
    good = run("verify", home, "--json")
    assert good.exit_code == 0
    assert json.loads(good.stdout)["verified"] is True
    bad = run("verify", home, "--key", Identity.generate().fingerprint, "--json")
    assert bad.exit_code == 1
    verdict = json.loads(bad.stdout)
    assert (verdict["verified"], verdict["failure"]["fault"]) == (False, "key")


def test_an_entry_is_proven(home):
    """A proof goes to a file or to standard output, and whoever verifies it is shown the entry."""
    path = home / "2.tlog-proof"
    assert run("prove", 2, "--home", home, "--out", path).exit_code == 0
    assert run("prove", 2, "--home", home).stdout == path.read_text()
    result = run("verify", path, "--key", IDENTITY.fingerprint)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"verified: {path}: entry 2 of clinic-a, signed by {IDENTITY.fingerprint}\n")
    assert "reason: purpose" in result.stdout
    assert json.loads(run("verify", path, "--json").stdout)["index"] == 2
    assert run("verify", path, "--key", Identity.generate().fingerprint).exit_code == 1


def test_entries_are_listed(home):
    """Every entry is listed with its number and type, from the home that the environment names."""
    result = run("list", environment={"PRIVITY_HOME": str(home)})
    lines = result.stdout.splitlines()
    assert len(lines) == 4
    assert "session:contract:refused" in lines[3]


def test_entries_as_a_table(home):
    """With --csv the entries are a table with one heading; days choose among them."""
    rows = list(csv.reader(io.StringIO(run("list", "--home", home, "--csv").stdout)))
    assert rows[0] == list(COLUMNS)
    assert [row[0] for row in rows[1:]] == ["0", "1", "2"]
    assert json.loads(rows[3][5]) == {"session": SESSION, "by": "operator", "reason": "purpose"}
    assert len(run("list", "--home", home, "--csv", "--to", "2020-01-31").stdout.splitlines()) == 1
    assert run("list", "--home", home, "--csv", "--from", "January").exit_code == 2


def test_a_partners_entries(home, consortium):
    """--partner lets through sessions in which the partner takes part, by their contracts, and the models they left."""
    digest = consortium.contract.digest
    SessionStore(home / "state.sqlite").receive(digest, consortium.contract.canonical().decode())
    with AuditLog.open(home / "audit.sqlite", IDENTITY, "clinic-a") as log:
        log.append(ContractReceived(session=digest, parties=2))
        log.append(PartnerAdded(name="clinic-b", fingerprint=IDENTITY.fingerprint))
        log.append(ModelStored(model=digest, days=30))
    for partner, expected in (("clinic-b", [3, 4, 5]), ("dealer", [3, 5]), ("clinic-c", [])):
        lines = run("list", "--home", home, "--partner", partner, "--json").stdout.splitlines()
        assert [int(json.loads(line)["id"]) for line in lines] == expected, partner


def test_entries_as_json_lines(home):
    """With --json each entry is one CloudEvents object a line."""
    result = run("list", "--log", home / "audit.sqlite", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["id"] for event in events] == ["0", "1", "2"]
    assert events[2]["data"] == {"session": SESSION, "by": "operator", "reason": "purpose"}
    for after, expected in ((0, ["1", "2"]), (1, ["2"]), (2, [])):
        lines = run("list", "--home", home, "--json", "--after", after).stdout.splitlines()
        assert [json.loads(line)["id"] for line in lines] == expected


def test_one_entry_in_full(home):
    """An entry is shown with what it means and all its fields."""
    result = run("show", 2, "--home", home)
    assert "entry 2 of clinic-a: session:contract:refused" in result.stdout
    assert "This participant refused the contract." in result.stdout
    assert "reason: purpose" in result.stdout
    assert json.loads(run("show", 2, "--home", home, "--json").stdout)["id"] == "2"


def test_what_is_not_there_is_said(home, tmp_path):
    """A missing entry, log or option is an error with a next step."""
    for arguments, kind, complaint in [
        (("show", 3, "--home", home), AuditError, "there is no entry 3"),
        (("list", "--log", tmp_path / "nothing"), AuditError, "there is no such file"),
        (("prove", 3, "--home", home), AuditError, "there is no entry 3"),
        (("prove", 2, "--home", home, "--out", home / "head"), SettingsError, "exists already"),
        (("prove", 2, "--home", home, "--out", tmp_path / "no" / "where"), SettingsError, "can't be written"),
        (("list",), SettingsError, "give --home DIR"),
        (("list", "--home", home, "--csv", "--json"), SettingsError, "give one of them"),
        (("list", "--log", home, "--partner", "clinic-b"), SettingsError, "give --home DIR with --partner"),
    ]:
        error = run(*arguments).exception
        assert isinstance(error, kind)
        assert complaint in str(error)
