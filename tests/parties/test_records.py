"""Which records took part is told as long as a session's key exists, and to nobody without the vault's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from parties.audit.snapshot import locate, take
from parties.audit.verify import verify
from parties.data.records import DIGEST_BYTES, Records
from parties.data.vault_key import MasterKey, load_master_key
from parties.errors import SettingsError, VaultError
from parties.service.store import SessionStore
from tests.parties.page.conftest import Clinic
from tests.parties.report.conftest import Ward

SESSION, OTHER = "ab" * 32, "cd" * 32
IDS = [f"patient-{number:05d}" for number in range(1000)]
UNTIL = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def key() -> MasterKey:
    return MasterKey.generate()


@pytest.fixture
def records(tmp_path, key) -> Records:
    made = Records(tmp_path / "records", key)
    made.keep(SESSION, IDS, UNTIL)
    return made


def test_a_record_is_found_and_no_other(records):
    """Each id that took part is held, first and last too; none that differs by a letter, a space or its case is."""
    assert all(records.holds(SESSION, record) for record in (IDS[0], IDS[500], IDS[-1]))
    others = ("", "patient-1", "patient-01000", " patient-00000", "PATIENT-00000", "\ud800")
    assert not any(records.holds(SESSION, record) for record in others)


def test_nothing_of_an_id_lies_in_the_files(tmp_path, records):
    """No id is legible; files are their owner's; two sessions' files of the same ids have no digest in common."""
    records.keep(OTHER, IDS, UNTIL)
    one, two = ((tmp_path / "records" / f"{session}.ids").read_bytes() for session in (SESSION, OTHER))
    assert b"patient" not in one + two
    assert len(one) == len(IDS) * DIGEST_BYTES + 28
    for path in (tmp_path / "records").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert one[:64] != two[:64]
    assert IDS[0] not in repr(records)


def test_no_ids_are_a_set_too(records):
    """An empty set holds nothing."""
    records.keep(OTHER, [], UNTIL)
    assert not records.holds(OTHER, "")


def test_a_session_s_digests_are_kept_once(records):
    """They are not replaced, also not after they were destroyed."""
    with pytest.raises(VaultError, match="kept before"):
        records.keep(SESSION, IDS, UNTIL)
    records.destroy(SESSION)
    with pytest.raises(VaultError, match="kept before"):
        records.keep(SESSION, IDS, UNTIL)


@pytest.mark.parametrize("kind", ["key", "ids"])
@pytest.mark.parametrize("place", [0, 20, -1])
def test_altered_files_are_refused(tmp_path, records, kind, place):
    """A flipped bit, or another vault's key, is an error, never "not held"."""
    path = tmp_path / "records" / f"{SESSION}.{kind}"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(VaultError, match="altered"):
        records.holds(SESSION, IDS[0])
    assert list(records.expired(UNTIL)) == ([] if kind == "key" else [SESSION])


def test_digests_belong_to_their_session_and_vault(tmp_path, records):
    """Under another name or another master key nothing opens."""
    with pytest.raises(VaultError, match="another vault key"):
        Records(tmp_path / "records", MasterKey.generate()).holds(SESSION, IDS[0])
    for kind in ("key", "ids"):
        (tmp_path / "records" / f"{SESSION}.{kind}").rename(tmp_path / "records" / f"{OTHER}.{kind}")
    with pytest.raises(VaultError, match="altered"):
        records.holds(OTHER, IDS[0])


def test_a_destroyed_key_is_gone_and_said_so(tmp_path, records):
    """Its bytes are overwritten, the digests go, and what is left says that there was a key."""
    path = tmp_path / "records" / f"{SESSION}.key"
    with path.open("rb") as still_open:
        records.destroy(SESSION)
        content = still_open.read()
    assert set(content) == {0}
    assert len(content) > 32
    assert [p.name for p in (tmp_path / "records").iterdir()] == [f"{SESSION}.destroyed"]
    assert records.standings() == {SESSION: "destroyed"}
    with pytest.raises(VaultError):
        records.holds(SESSION, IDS[0])
    with pytest.raises(VaultError):
        records.destroy(SESSION)


@pytest.mark.usefixtures("records")
@pytest.mark.parametrize("cut", ["renamed", "overwritten", "digests without a key", "half written"])
def test_what_was_cut_off_is_completed(tmp_path, key, cut):
    """A process that died in the middle leaves nothing behind once the next one starts."""
    place = tmp_path / "records"
    if cut in {"renamed", "overwritten"}:
        (place / f"{SESSION}.key").rename(place / f"{SESSION}.destroyed")
    if cut == "overwritten":
        (place / f"{SESSION}.destroyed").write_bytes(bytes(100))
    if cut == "digests without a key":
        (place / f"{SESSION}.key").unlink()
    if cut == "half written":
        (place / f"{OTHER}.tmp").write_bytes(b"half")
    again = Records(place, key)
    expected = {"half written": {SESSION: "kept"}, "digests without a key": {}}
    assert again.standings() == expected.get(cut, {SESSION: "destroyed"})
    for path in place.iterdir():
        assert path.suffix in ({".key", ".ids"} if cut == "half written" else {".destroyed"})
        assert (path.suffix == ".destroyed") == (not any(path.read_bytes()))


def test_time_is_the_set_s_own(records):
    """Due once its day has come, and not before."""
    assert list(records.expired(UNTIL - timedelta(seconds=1))) == []
    assert list(records.expired(UNTIL)) == [SESSION]


@pytest.mark.parametrize("session", ["", "..", "../vault", "AB" * 32, OTHER])
def test_what_is_not_there_is_an_error(records, session):
    """No digests of that session, or no session's id: one line that says so."""
    for act in (records.destroy, records.find, lambda one: records.holds(one, "x")):
        with pytest.raises(VaultError):
            act(session)


@pytest.fixture
def ward(tmp_path) -> Iterator[Ward]:
    made = Ward(tmp_path)
    yield made
    made.log.close()


@pytest.fixture
def home(ward: Ward):
    """A home whose sessions are: one with the record, one without, one destroyed, one of which nothing was kept."""
    records = Records(ward.home.path("records"), load_master_key(ward.home.path("vault.key")))
    contracts = [ward.contract(purpose=f"study {number}") for number in range(5)]
    for contract in contracts:
        ward.receive(contract)
    for contract in contracts[:4]:
        ward.store.begin_epoch(contract.digest, 1)
    records.keep(contracts[0].digest, IDS, UNTIL)
    records.keep(contracts[1].digest, IDS[1:], UNTIL)
    records.keep(contracts[2].digest, IDS, UNTIL)
    records.destroy(contracts[2].digest)
    ward.log.close()
    return ward.home


def ask(home, *arguments, **how):
    return CliRunner().invoke(app, ["audit", "subject", "--home", str(home.directory), *arguments], **how)


@pytest.mark.parametrize("how", ["prompt", "file", "standard input"])
def test_an_id_is_searched_and_never_recorded(home, tmp_path, how):
    """Held, and what can't be told and why, of sessions that ran; the log has the question, and not the id."""
    (tmp_path / "id").write_text(IDS[0] + "\n")
    arguments = {"prompt": (), "file": ("--file", str(tmp_path / "id")), "standard input": ("--file", "-")}[how]
    told = ask(home, *arguments, input=IDS[0] + "\n")
    assert told.exit_code == 0, told.exception
    assert "took part in 1 session(s)" in told.stdout
    assert "study 0" in told.stdout
    assert "study 1" not in told.stdout
    assert told.stdout.count("can't be told: key destroyed") == 1
    assert told.stdout.count("can't be told: nothing kept") == 1
    assert IDS[0] not in told.stdout
    content = home.path("audit.sqlite").read_bytes()
    assert IDS[0].encode() not in content
    *_, last = take(locate(home.directory)).entries()
    assert (last.event.type, last.event.sessions) == ("vault:records:searched", 2)
    assert verify(home.path("audit.sqlite")).ok


def test_answers_for_programs(home):
    """With --json each session that ran stands there with its answer."""
    told = json.loads(ask(home, "--file", "-", "--json", input=IDS[0]).stdout)
    assert [one["answer"] for one in told] == ["held", "not held", "key destroyed", "nothing kept"]
    (home.path("records") / f"{told[0]['session']}.ids").write_bytes(b"damaged")
    assert json.loads(ask(home, "--file", "-", "--json", input=IDS[0]).stdout)[0]["answer"] == "damaged"


@pytest.mark.parametrize("content", ["", "\n", "a\nb\n"])
def test_a_file_that_is_no_id_is_an_error(home, content):
    """Empty, or more than one line: nothing is searched, and nothing of it is quoted."""
    error = ask(home, "--file", "-", input=content).exception
    assert isinstance(error, SettingsError)
    assert "one record's id" in str(error)
    assert isinstance(ask(home, "--file", "/nowhere/id").exception, SettingsError)


def test_an_id_is_no_argument(home):
    """A shell's history would keep it."""
    assert ask(home, IDS[0]).exit_code == 2


def test_a_node_destroys_keys_whose_time_is_over(tmp_path):
    """With the models, at the node's own hours: the log says that it was the time."""
    clinic = Clinic(tmp_path)
    try:
        clinic.node.records.keep(SESSION, IDS, datetime.now(UTC))
        clinic.node.records.keep(OTHER, IDS, datetime.now(UTC) + timedelta(days=1))
        clinic.node.delete_expired()
        assert clinic.node.records.standings() == {SESSION: "destroyed", OTHER: "kept"}
    finally:
        clinic.stop()
    *_, last = take(locate(clinic.home.directory)).entries()
    assert (last.event.type, last.event.session, last.event.by) == ("vault:records:destroyed", SESSION, "expiry")


def test_a_session_is_forgotten(home):
    """The operator destroys a key; the log says so, and later answers do too."""
    session = SessionStore(home.path("state.sqlite")).all()[0].digest
    done = CliRunner().invoke(app, ["data", "forget", session[:16], "--home", str(home.directory)])
    assert (done.exit_code, session in done.stdout) == (0, True)
    answers = json.loads(ask(home, "--file", "-", "--json", input=IDS[0]).stdout)
    assert answers[0]["answer"] == "key destroyed"
    found = [entry.event for entry in take(locate(home.directory)).entries()]
    assert [(event.session, event.by) for event in found if event.type == "vault:records:destroyed"] == [
        (session, "operator")
    ]
    again = CliRunner().invoke(app, ["data", "forget", session[:16], "--home", str(home.directory)])
    assert isinstance(again.exception, VaultError)
