"""What a disclosure told is bound by the log under a salt of its own, and can be shown to others one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from mpc.amounts import keys
from parties.audit.events import DisclosureTold
from parties.audit.snapshot import locate, take
from parties.errors import ContractError, DataError, LifecycleError, PrivityError
from parties.keys.identity import Identity
from parties.outcome import told
from parties.outcome.results import verify_result
from parties.outcome.revealing import Revealed, reveal
from parties.outcome.told import ToldValues
from parties.process.job import Opened
from parties.service.store import SessionStore
from tests.parties.page.conftest import Clinic
from tests.parties.test_prepared_matrix import made

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
    shown_as = [f"{value / 2**18:.6f}  (opened as {value})" for value in VALUES]
    assert said.stdout.splitlines()[-2:] == shown_as
    machine = json.loads(invoke("check", shown, "--key", fingerprint, "--json").stdout)
    assert (machine["opened"], machine["count"], machine["log"]) == ([*VALUES], 2, "clinic-a")
    assert machine["numbers"] == [value / 2**18 for value in VALUES]
    assert next(told.read(told.path_of(clinic.home.path("results"), session))).salt not in shown.read_text()


def test_a_loss_is_shown_as_a_loss(clinic, contract, tmp_path):
    """By the scale and the rows of the contract that the file holds, whose digest is the session's id."""
    (item,) = (one for one in contract.disclosures if one.name == "loss")
    sums = round(0.693147 * contract.program.rows * 2.0 ** (34 - contract.program.loss_shift))
    clinic.node.told.keep(contract, Opened.of(item.name, item.recipient, np.array([sums])))
    path, home = tmp_path / "loss.json", clinic.home
    assert not invoke("reveal", contract.digest, item.clause, "--home", home.directory, "--out", path).exit_code
    said = invoke("check", path, "--key", home.identity.fingerprint)
    number, *opened = said.stdout.splitlines()[-1].split()
    assert float(number) == pytest.approx(0.693147, abs=2.0**-14)  # a disclosed loss has so many digits
    assert opened == ["(opened", "as", f"{sums})"]
    content = json.loads(path.read_text())
    content["contract"] = content["contract"].replace('"loss_shift":', '"loss_shift":1')
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="the contract is not that of the value's session"):
        Revealed.read(path).check(home.identity.fingerprint)


def test_counts_and_bits_stay_whole_numbers(clinic, contract, tmp_path):
    """A guard's bit has no scale."""
    (item,) = (one for one in contract.disclosures if one.name == "guard")
    clinic.node.told.keep(contract, Opened.of(item.name, item.recipient, np.array([1])))
    path, home = tmp_path / "bit.json", clinic.home
    assert not invoke("reveal", contract.digest, item.clause, "--home", home.directory, "--out", path).exit_code
    key = ("--key", home.identity.fingerprint)
    assert invoke("check", path, *key).stdout.splitlines()[-2:] == ["as it was opened, in whole numbers", "1"]
    assert json.loads(invoke("check", path, *key, "--json").stdout)["numbers"] == [1]


@pytest.fixture
def quantiles(home, journal, paper) -> tuple[str, str, list[float]]:
    """Session, clause and numbers of quantiles that an owner of columns was told, in its home: digit by digit."""
    agreed = made(paper, "blocks", [100, 180, 80])
    (item,) = (one for one in agreed.disclosures if one.name == "quantiles")
    SessionStore(home.path("state.sqlite")).receive(agreed.digest, agreed.canonical().decode())
    numbers = [(-1) ** place * (1.5 + place / 16) for place in range(item.values)]
    kept, found = ToldValues("first", home.path("results"), journal), keys(np.array(numbers))
    for digit in range(item.count):
        words = found >> 6 * (item.count - 1 - digit) & 63
        kept.keep(agreed, Opened.of(item.name, item.recipient, words))
    return agreed.digest, item.clause, numbers


def test_quantiles_are_shown_as_numbers(home, quantiles, tmp_path):
    """All four digits make the number, fewer say between which it lies; each stands in the log."""
    session, clause, numbers = quantiles
    fingerprint = home.identity.fingerprint
    for count in (4, 3):
        path = tmp_path / f"{count}.json"
        asked = ("--count", count, "--home", home.directory, "--out", path)
        assert not invoke("reveal", session, clause, *asked).exit_code
        machine = json.loads(invoke("check", path, "--key", fingerprint, "--json").stdout)
        assert len(json.loads(path.read_text())["before"]) == count - 1
        if count == 4:
            assert machine["numbers"] == numbers
            first = f"1.500000  (opened as {machine['opened'][0]})"
            assert invoke("check", path, "--key", fingerprint).stdout.splitlines()[-len(numbers)] == first
        else:
            bounds = machine["numbers"]
            assert all(low <= each < high for each, (low, high) in zip(numbers, bounds, strict=True))
            assert " to " in invoke("check", path, "--key", fingerprint).stdout.splitlines()[-1]


@pytest.mark.parametrize("change", ["fewer", "order", "altered"])
def test_digits_that_do_not_belong_are_refused(home, quantiles, change):
    """One that is missing, in another's place, or another than the log has."""
    session, clause, _ = quantiles
    shown = reveal(home, session, clause, 4)
    first, second, third = shown.before
    before = {
        "fewer": (second, third),
        "order": (second, first, third),
        "altered": (
            first.model_copy(update={"kept": first.kept.model_copy(update={"salt": "00" * 32})}),
            second,
            third,
        ),
    }[change]
    with pytest.raises(DataError):
        shown.model_copy(update={"before": before}).check(home.identity.fingerprint)


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
