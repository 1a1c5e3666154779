"""What a disclosure told is bound by the log under a salt of its own, and can be shown to others one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from parties.audit.events import DisclosureTold
from parties.audit.snapshot import locate, take
from parties.errors import ContractError, DataError, LifecycleError, PrivityError
from parties.keys.identity import Identity
from parties.outcome import told
from parties.outcome.results import verify_result
from parties.outcome.revealing import Revealed, reveal
from parties.process.job import Opened
from tests.parties.page.conftest import Clinic

VALUES = (718281828, -5)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory) -> Iterator[Clinic]:
    made = Clinic(tmp_path_factory.mktemp("clinic"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def contract(clinic):
    return clinic.agreed(clinic.proposed())


@pytest.fixture(scope="module")
def item(contract):
    """The clause by which clinic-a is told its own coefficients."""
    found = (one for one in contract.disclosures if (one.name, one.recipient) == ("coefficients", "party:clinic-a"))
    return next(found)


@pytest.fixture(scope="module")
def session(clinic, contract, item) -> str:
    """A session in which the party was told the same two numbers twice."""
    for _ in range(2):
        opened = Opened.of(item.name, item.recipient, np.array(VALUES))
        clinic.node.told.keep(contract, opened)
    return contract.digest


def entries(clinic, session):
    recorded = take(locate(clinic.home.directory)).entries()
    return [entry for entry in recorded if isinstance(entry.event, DisclosureTold) and entry.event.session == session]


def invoke(*words):
    return CliRunner().invoke(app, ["result", *map(str, words)])


def test_equal_values_have_unequal_digests(clinic, session, item):
    """The log shows neither a value nor that two were the same; both lie with the results, for their owner alone."""
    first, second = (entry.event for entry in entries(clinic, session))
    assert first.digest != second.digest
    assert [(event.clause, event.count) for event in (first, second)] == [(item.clause, 1), (item.clause, 2)]
    path = told.path_of(clinic.home.path("results"), session)
    kept = list(told.read(path))
    assert [one.numbers().tolist() for one in kept] == [list(VALUES)] * 2
    assert len({one.salt for one in kept}) == 2
    assert path.stat().st_mode & 0o077 == 0
    assert kept[0].words not in repr(kept)


def test_what_is_not_told_is_not_kept(clinic, contract):
    """A worker that says it was told what goes to somebody else is believed nothing."""
    for name, recipient in (("coefficients", "party:clinic-b"), ("gradient", "session")):
        with pytest.raises(ContractError, match="does not tell clinic-a"):
            clinic.node.told.keep(contract, Opened.of(name, recipient, np.array(VALUES)))


def test_all_values_are_those_of_the_log(clinic, session):
    """`result verify` goes through them, of a session that left no result too."""
    assert (verify_result(clinic.home, session).path, verify_result(clinic.home, session).told) == (None, 2)
    said = invoke("verify", session[:12], "--home", clinic.home.directory)
    assert (said.exit_code, "all 2 values" in said.stdout) == (0, True)


def altered(lines, how):
    first = json.loads(lines[0])
    match how:
        case "value":
            words = Opened.of("x", "session", np.array((VALUES[0] + 1, VALUES[1]))).words
            return [json.dumps({**first, "words": words}), lines[1]]
        case "salt":
            return [json.dumps({**first, "salt": "00" * 32}), lines[1]]
        case "order":
            return lines[::-1]
        case "removed":
            return lines[:1]
        case "added":
            return [*lines, lines[0]]
        case _:
            return [lines[0], lines[1][:-9]]


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ("value", "line 1 .* is not what entry {0} of the log has"),
        ("salt", "line 1 .* is not what entry {0} of the log has"),
        ("order", "line 1 .* is not what entry {0} of the log has"),
        ("removed", "lacks what entry {1} of the log has"),
        ("added", "line 3 .* is not in the log"),
        ("cut", "line 2 .* is damaged"),
    ],
)
def test_what_differs_is_named(clinic, session, how, complaint):
    """The first line that is not what the log has, or that is missing, and nothing of its value."""
    path = told.path_of(clinic.home.path("results"), session)
    kept = path.read_text()
    path.write_text("\n".join(altered(kept.splitlines(), how)) + "\n")
    indices = [entry.index for entry in entries(clinic, session)]
    try:
        with pytest.raises(DataError, match=complaint.format(*indices)) as raised:
            verify_result(clinic.home, session)
    finally:
        path.write_text(kept)
    assert json.loads(kept.splitlines()[0])["words"] not in str(raised.value)


@pytest.fixture
def shown(clinic, session, item, tmp_path):
    path = tmp_path / "value.json"
    said = invoke("reveal", session[:12], item.clause, "--count", 2, "--home", clinic.home.directory, "--out", path)
    assert said.exit_code == 0, said.output
    return path


def test_one_value_is_shown_and_no_other(clinic, session, shown):
    """Value, salt and proof in a file that anybody checks against the owner's fingerprint alone."""
    fingerprint = clinic.home.identity.fingerprint
    said = invoke("check", shown, "--key", fingerprint)
    assert (said.exit_code, f"entry {entries(clinic, session)[1].index} of its log" in said.stdout) == (0, True)
    shown_as = [f"{value / 2**18:.6f}  (opened as {value}, in units of 2**-18)" for value in VALUES]
    assert said.stdout.splitlines()[-2:] == shown_as
    machine = json.loads(invoke("check", shown, "--key", fingerprint, "--json").stdout)
    assert (machine["numbers"], machine["count"], machine["log"]) == ([*VALUES], 2, "clinic-a")
    assert next(told.read(told.path_of(clinic.home.path("results"), session))).salt not in shown.read_text()


@pytest.mark.parametrize("part", ["words", "salt", "count", "proof", "key"])
def test_another_value_is_refused(clinic, shown, part):
    """A changed value, salt, place or proof, and a log of somebody else, are each an error."""
    content = json.loads(shown.read_text())
    key = clinic.home.identity.fingerprint
    if part == "words":
        content["kept"]["words"] = Opened.of("x", "session", np.array((1, 2))).words
    elif part == "salt":
        content["kept"]["salt"] = "00" * 32
    elif part == "count":
        content["kept"]["count"] = 1
    elif part == "proof":
        content["proof"] = content["proof"].replace("\nindex ", "\nindex 1")
    else:
        key = Identity.generate().fingerprint
    shown.write_text(json.dumps(content))
    with pytest.raises(PrivityError):
        Revealed.read(shown).check(key)


def test_what_was_not_told_can_not_be_shown(clinic, session, item):
    """An unknown session, clause or number is one clear error."""
    for beginning, clause, count in (("00", item.clause, 1), (session, "disclosures.99", 1), (session, item.clause, 3)):
        with pytest.raises(LifecycleError, match="0 values that were told"):
            reveal(clinic.home, beginning, clause, count)


def test_a_file_that_is_none_is_refused(tmp_path):
    """Nonsense is named as such."""
    for content in (b"", b"{}", b"\xff"):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(DataError, match="is not what `privity result reveal` writes"):
            Revealed.read(tmp_path / "x")
    with pytest.raises(DataError, match="can't be read"):
        Revealed.read(tmp_path / "none")
