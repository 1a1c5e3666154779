"""Recordings are kept sealed for as long as the contract says, and go with their data set."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from mpc.channel import MemoryChannel, MemoryLink
from parties.agreement.plan import RetentionPlan
from parties.agreement.policy import Circumstances, Policy, judge
from parties.audit.events import ReplayDeleted
from parties.audit.snapshot import locate, take
from parties.errors import VaultError
from parties.process.job import Recording, TapeDigests
from parties.process.recording import NAME, Tape
from parties.sealing import DataKey, Digests, Unsealed, unseal
from parties.service.desk import destroy_replay
from parties.service.lifecycle import Step
from parties.testimony.replays import Replays
from tests.parties.page.conftest import Clinic

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
UNTIL = NOW + timedelta(days=3)
WHOLE = TapeDigests(version="11" * 32, ciphertext="22" * 32)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory) -> Iterator[Clinic]:
    made = Clinic(tmp_path_factory.mktemp("clinic"))
    yield made
    made.stop()


@pytest.fixture
def replays(clinic, tmp_path):
    return Replays(tmp_path / "replays", clinic.node.vault)


@pytest.fixture
def contract(clinic):
    return clinic.contract(nonce=secrets.token_hex(32), retention=RetentionPlan(replay_days=3))


def test_a_recording_is_kept_and_opened(replays, contract):
    """Its secrets come back as they were, once the run has ended; nothing of them is readable in the file."""
    made = replays.begin(contract.digest, "cohort", UNTIL)
    with pytest.raises(VaultError, match="was not finished"):
        replays.opened(contract.digest)
    replays.finish(contract.digest, WHOLE)
    assert replays.opened(contract.digest) == (made, WHOLE)
    assert replays.list() == (contract.digest,)
    content = (replays.tape(contract.digest).with_suffix(".replay")).read_text()
    assert made.seed not in content
    assert made.key not in content
    assert made.seed not in repr(made)


def test_its_time_ends_when_it_was_said_to(replays, contract):
    """Not a second before."""
    replays.begin(contract.digest, "cohort", UNTIL)
    assert list(replays.expired(UNTIL - timedelta(seconds=1))) == []
    assert list(replays.expired(UNTIL)) == [contract.digest]
    assert list(replays.of_data("cohort")) == [contract.digest]
    assert list(replays.of_data("another")) == []


@pytest.mark.parametrize("how", ["bit", "until", "data", "session"])
def test_an_altered_file_is_refused(replays, contract, how):
    """A flipped bit, another end, another data set, another session's: it does not open."""
    replays.begin(contract.digest, "cohort", UNTIL)
    replays.finish(contract.digest, WHOLE)
    path = replays.tape(contract.digest).with_suffix(".replay")
    content, session = path.read_text(), contract.digest
    if how == "bit":
        at = content.index('"sealed":"') + 40
        path.write_text(content[:at] + ("A" if content[at] != "A" else "B") + content[at + 1 :])
    elif how == "session":
        session = "ab" * 32
        path.rename(path.with_name(f"{session}.replay"))
    else:
        path.write_text(content.replace(*{"until": ("2026", "2036"), "data": ("cohort", "others")}[how]))
    with pytest.raises(VaultError):
        replays.opened(session)


def test_it_is_destroyed_with_its_record(clinic, contract):
    """Both files are gone, the log says why, and a second time nothing happens."""
    replays, journal = clinic.node.replays, clinic.node.journal
    replays.begin(contract.digest, "cohort", UNTIL)
    replays.tape(contract.digest).write_bytes(b"sealed")
    for _ in range(2):
        destroy_replay(replays, journal, contract.digest, by="expiry")
    found = [entry.event for entry in take(locate(clinic.home.directory)).entries()]
    assert [event.by for event in found if isinstance(event, ReplayDeleted)] == ["expiry"]
    assert replays.list() == ()
    assert not replays.tape(contract.digest).exists()
    with pytest.raises(VaultError, match="no recording"):
        replays.opened(contract.digest)


def test_a_recording_is_listed_and_deleted_by_command(clinic, contract, monkeypatch):
    """Size, end and data set; by the beginning of its id, once the session has ended, and recorded."""
    monkeypatch.setenv("COLUMNS", "200")
    replays, home = clinic.node.replays, str(clinic.home.directory)
    ask = CliRunner().invoke
    replays.begin(contract.digest, "cohort", UNTIL)
    replays.tape(contract.digest).write_bytes(bytes(3_000_000))
    listed = ask(app, ["recording", "list", "--home", home])
    assert f"{contract.digest}  3.0 MB  until 2026-11-05  data set cohort\n" in listed.output, listed.output
    (one,) = json.loads(ask(app, ["recording", "list", "--json", "--home", home]).output)
    assert (one["session"], one["data"], one["until"]) == (contract.digest, "cohort", UNTIL.isoformat())
    assert one["bytes"] > 3_000_000
    store = clinic.node.store
    store.receive(contract.digest, contract.canonical().decode())
    store.step(contract.digest, Step.APPROVE)
    store.step(contract.digest, Step.START)
    with pytest.raises(VaultError, match="is being recorded"):
        clinic.node.desk.recording_delete(contract.digest[:12])
    store.step(contract.digest, Step.COMPLETE)
    assert clinic.node.desk.recording_delete(contract.digest[:12]) == contract.digest
    with pytest.raises(VaultError, match="0 recordings are of a session that begins with"):
        clinic.node.desk.recording_delete(contract.digest[:12])
    assert ask(app, ["recording", "list", "--home", home]).output == "no recordings are kept\n"
    found = [entry.event for entry in take(locate(clinic.home.directory)).entries()]
    assert ReplayDeleted(session=contract.digest, by="operator") in found


def test_a_node_deletes_what_is_over(clinic, contract):
    """As it does with models."""
    clinic.node.replays.begin(contract.digest, "cohort", NOW - timedelta(days=400))
    clinic.node.delete_expired()
    assert clinic.node.replays.list() == ()


@pytest.mark.parametrize(("days", "verdict"), [(2, "refuses"), (3, "holds")])
def test_a_policy_says_how_long(contract, days, verdict):
    """No recording, unless the operator's rule allows it for as long."""
    assert Policy().max_replay_days == 0
    circumstances = Circumstances(datetime.now().astimezone())
    found = judge(Policy(max_replay_days=days), contract, "clinic-a", circumstances)
    assert next(finding.verdict for finding in found if finding.rule == "max_replay_days") == verdict


def test_a_full_disk_ends_the_run():
    """What can't be recorded is an error that says so, at whichever write; inwards and outwards."""
    recording = Recording(seed="5a" * 32, key=secrets.token_hex(32), path="/dev/full")
    with Path("/dev/full").open("wb", buffering=0) as full:
        with pytest.raises(VaultError, match="can't be written: No space left on device") as refused:
            Tape(full, recording).write(bytes(3 << 20))
        assert refused.value.outward == "a recording for a replay can't be written"
        tape = Tape(full, recording)
        tape.write(b"a little")
        with pytest.raises(VaultError, match="can't be written: No space left on device"):
            tape.finish()


def test_a_tape_is_sealed_as_it_comes(tmp_path):
    """What goes over the wires comes back from the tape, and from no altered one; it holds no words in clear."""
    recording = Recording(seed="5a" * 32, key=secrets.token_hex(32), path=str(tmp_path / "tape"))
    words = bytes(range(64)) * (1 << 15)
    with (tmp_path / "tape").open("wb") as file:
        tape = Tape(file, recording)
        channel, link = tape.wires(MemoryChannel.mesh(2)[0], MemoryLink.pair()[0])
        assert (channel.rank, link is not None) == (0, True)
        tape.write(memoryview(words))
        assert tape.entropy.fresh("x") == Tape(file, recording).entropy.fresh("x")
        digests = tape.finish()
    content = (tmp_path / "tape").read_bytes()
    assert words[:64] not in content
    key, expected = DataKey(bytes.fromhex(recording.key)), Digests(digests.version, digests.ciphertext)
    with (tmp_path / "tape").open("rb") as file:
        assert Unsealed(unseal(file, NAME, key, expected)).read(len(words) + 1) == words
    (tmp_path / "tape").write_bytes(content[:-1])
    with (tmp_path / "tape").open("rb") as file, pytest.raises(VaultError):
        Unsealed(unseal(file, NAME, key, expected)).finish()
