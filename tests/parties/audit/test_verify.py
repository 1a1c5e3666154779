"""Nothing about a log can be changed unnoticed, and the first bad thing is named."""

import hashlib
import secrets
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from parties.audit import layout, notes
from parties.audit.entries import Entry
from parties.audit.events import LibraryChanged, LogCreated, ServiceStarted, ServiceStopped
from parties.audit.log import AuditLog, utc_now
from parties.audit.merkle import Frontier
from parties.audit.snapshot import Snapshot, take
from parties.audit.verify import examine, verify
from parties.errors import AuditError, PartnerError
from parties.keys.identity import Identity

IDENTITY = Identity.generate()
STARTED = ServiceStarted(role="node", version="0.1.0")
STOPPED = ServiceStopped(role="node")
HEADER_BYTES = 100
RANDOM_FLIPS = 150


def write(path, commits, identity=IDENTITY):
    """A log with commits of these sizes after its first; returns its heads."""
    heads = []
    with AuditLog.open(path, identity, "clinic-a") as log:
        for size in commits:
            heads.append(log.head())
            log.append_all([STARTED, STOPPED][: 1 + size % 2] * size)
        return [*heads, log.head()]


@pytest.fixture
def path(tmp_path):
    """A log of five commits and seven entries, the second to last of two."""
    path = tmp_path / "audit.sqlite"
    with AuditLog.open(path, IDENTITY, "clinic-a") as log:
        for events in ([STARTED], [STOPPED], [STARTED, STOPPED], [STARTED, STOPPED]):
            log.append_all(events)
    return path


def tamper(path, *statements, guards=False):
    """Change a log by SQL, its triggers taken away and, unless `guards`, put back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        triggers = {name: sql for name, sql in layout.SCHEMA.items() if "TRIGGER" in sql}
        for name in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        if not guards:
            for sql in triggers.values():
                connection.execute(sql)


def test_a_genuine_log_verifies(path):
    """A log by itself verifies to the last byte, and the verdict says what nobody confirmed."""
    verdict = verify(path)
    assert (verdict.ok, verdict.entries, verdict.layout_checked) == (True, 7, True)
    assert (verdict.signer_confirmed, verdict.head_checked) == (False, False)
    assert "signer is not confirmed" in verdict.remarks[0]
    assert "--head" in verdict.remarks[1]
    assert IDENTITY.fingerprint in verdict.line()


def test_key_and_head_are_confirmed(path, tmp_path):
    """With the signer's fingerprint, however it is typed, and an earlier head nothing is left to remark."""
    head = tmp_path / "head"
    with AuditLog.open(path, IDENTITY, "clinic-a") as log:
        head.write_text(log.head())
        log.append(STARTED)
    verdict = verify(path.parent, IDENTITY.fingerprint.upper().replace("-", " "), head)
    assert verdict.ok
    assert (verdict.signer_confirmed, verdict.head_checked, verdict.remarks) == (True, True, ())


def test_a_log_verifies_while_it_is_written(path):
    """An open log can be verified by others, also between its appends, without getting in its way."""
    with AuditLog.open(path, IDENTITY, "clinic-a") as log:
        for entries in range(8, 12):
            log.append(STARTED)
            assert verify(path).entries == entries


def test_verifying_changes_nothing(path):
    """The file and its directory are as before."""
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in path.parent.iterdir()}
    assert verify(path).ok
    assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in path.parent.iterdir()} == before


def test_a_flipped_bit_in_any_byte_is_found(tmp_path):
    """Whichever byte of the file changes, in content, header, slack or free space, the log does not verify."""
    write(tmp_path / "audit.sqlite", [1])
    content = take(tmp_path / "audit.sqlite").content
    assert examine(Snapshot(content)).ok
    missed = []
    for offset in range(len(content)):
        altered = bytearray(content)
        altered[offset] ^= 1 << secrets.randbelow(8)
        if examine(Snapshot(bytes(altered))).ok:
            missed.append(offset)
    assert missed == []


def test_a_flipped_bit_in_a_file_is_found(tmp_path):
    """As above through the file itself, where SQLite reads the header: there every byte, elsewhere at random."""
    path = tmp_path / "audit.sqlite"
    write(path, [1, 300, 1, 700])
    content = path.read_bytes()
    offsets = [*range(HEADER_BYTES), *(secrets.randbelow(len(content)) for _ in range(RANDOM_FLIPS))]
    for offset in offsets:
        altered = bytearray(content)
        altered[offset] ^= 1 << secrets.randbelow(8)
        path.write_bytes(altered)
        assert not verify(path).ok, offset
    path.write_bytes(content)
    assert verify(path).ok


TAMPERINGS = {
    "a flipped bit in an entry": (
        ["UPDATE entries SET content = CAST(replace(content, 'started', 'stopped') AS BLOB) WHERE number = 3"],
        ("altered", 3, "entry 3 was altered: its content"),
    ),
    "a removed entry": (["DELETE FROM entries WHERE number = 2"], ("missing", 2, "entry 2 is missing")),
    "a removed first entry": (["DELETE FROM entries WHERE number = 0"], ("missing", 0, "entry 0 is missing")),
    "entries that follow on a removed one": (
        ["DELETE FROM entries WHERE number = 2", "UPDATE entries SET number = number - 1 WHERE number > 2"],
        ("moved", 2, "entry 2 was written as entry 3"),
    ),
    "reordered entries": (
        [
            "UPDATE entries SET number = 99 WHERE number = 1",
            "UPDATE entries SET number = 1 WHERE number = 2",
            "UPDATE entries SET number = 2 WHERE number = 99",
        ],
        ("moved", 1, "entry 1 was written as entry 2"),
    ),
    "altered hashes": (
        ["UPDATE entries SET hashes = CAST(hashes || x'00' AS BLOB) WHERE number = 5"],
        ("altered", 5, "entry 5 was altered: its hashes"),
    ),
    "an added entry": (
        ["INSERT INTO entries SELECT 7, content, hashes FROM entries WHERE number = 6"],
        ("unsigned", 7, "entry 7 is not under any signed head"),
    ),
    "a truncated tail of entries": (
        ["DELETE FROM entries WHERE number > 4"],
        ("truncated", 5, "entry 5 is missing, and so"),
    ),
    "a truncated tail of heads": (
        ["DELETE FROM heads WHERE size > 3"],
        ("unsigned", 3, "entry 3 is not under any signed head"),
    ),
    "a tail truncated with its heads": (
        ["DELETE FROM entries WHERE number > 2", "DELETE FROM heads WHERE size > 3"],
        ("layout", None, "other transactions"),
    ),
    "a missing head": (["DELETE FROM heads WHERE size = 3"], ("layout", None, "other transactions")),
    "no heads": (["DELETE FROM heads"], ("unsigned", 0, "not under any signed head")),
    "an altered head": (
        ["UPDATE heads SET note = replace(note, 'clinic-a', 'clinic-b') WHERE size = 3"],
        ("head", None, "head over 3 entries is not signed"),
    ),
    "a head in another's place": (
        ["UPDATE heads SET note = (SELECT note FROM heads WHERE size = 2) WHERE size = 3"],
        ("altered", 2, "entry 2 was altered: the signed head over 3"),
    ),
    "a head that is no note": (["UPDATE heads SET note = 'x'"], ("head", None, "head over 1 entries is damaged")),
    "another name": (
        ["UPDATE log SET origin = 'clinic-b'"],
        ("moved", 0, "entry 0 was written as entry 0 of clinic-a"),
    ),
    "a name that plays with terminals": (
        ["UPDATE log SET origin = 'clinic-a' || char(27)"],
        ("schema", None, "whose log"),
    ),
    "no name": (["DELETE FROM log"], ("schema", None, "whose log")),
    "another table": (["CREATE TABLE notes (note TEXT)"], ("schema", None, "altered, first at 'notes'")),
    "another format": (["PRAGMA user_version = 2"], ("schema", None, "format 2")),
    "another application": (["PRAGMA application_id = 7"], ("schema", None, "not an audit log")),
    "a rebuilt file": (["VACUUM"], ("layout", None, "other transactions")),
}


@pytest.mark.parametrize(("statements", "expected"), TAMPERINGS.values(), ids=TAMPERINGS)
def test_tampering_is_found_and_named(path, statements, expected):
    """Each way to alter a log has its own finding, with the first bad entry where there is one."""
    tamper(path, *statements)
    failure = verify(path).failure
    fault, entry, what = expected
    assert (failure.fault, failure.entry) == (fault, entry)
    assert what in failure.what
    assert failure.action


def test_missing_triggers_are_found(path):
    """A log whose guards were taken away does not verify, though nothing else changed."""
    tamper(path, guards=True)
    assert "schema was altered" in verify(path).failure.what


def rewrite(path, identity, events, signer=None):
    """A log as somebody would write it who has the code and a key, but not this log's history."""
    path.unlink()
    frontier = Frontier()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        layout.configure(connection)
        layout.create(connection, "clinic-a", identity.public)
        contents = [Entry(index, "clinic-a", utc_now(), event).encode() for index, event in enumerate(events)]
        layout.insert_entries(connection, layout.rows_of(frontier, contents))
        checkpoint = notes.Checkpoint("clinic-a", frontier.size, frontier.root()).render()
        layout.insert_head(connection, frontier.size, notes.sign(checkpoint, "clinic-a", signer or identity).render())
        connection.execute("COMMIT")


def created(identity=IDENTITY, sqlite=sqlite3.sqlite_version):
    return LogCreated(fingerprint=identity.fingerprint, sqlite=sqlite)


def test_a_log_rewritten_under_another_key_is_found(path):
    """Whoever lacks the key can write a log that hangs together, but not one by the confirmed signer."""
    other = Identity.generate()
    rewrite(path, other, [created(other), STARTED])
    assert verify(path).ok
    verdict = verify(path, IDENTITY.fingerprint)
    assert verdict.failure.fault == "key"
    assert other.fingerprint in verdict.failure.what
    assert not verdict.signer_confirmed


def test_a_log_signed_by_another_than_it_names_is_found(path):
    """The confirmed key in the file is no use without its signatures."""
    rewrite(path, IDENTITY, [created(), STARTED], signer=Identity.generate())
    assert "not signed by the log's key" in verify(path).failure.what


def test_a_forked_or_rolled_back_log_is_revealed_by_a_head(path, tmp_path):
    """The owner of the key can write another history; a head that somebody kept tells."""
    with AuditLog.open(path, IDENTITY, "clinic-a") as log:
        kept = tmp_path / "head"
        kept.write_text(log.head())
    rewrite(path, IDENTITY, [created(), *[STOPPED] * 9])
    assert verify(path, IDENTITY.fingerprint).ok
    assert verify(path, IDENTITY.fingerprint, kept).failure.fault == "fork"
    rewrite(path, IDENTITY, [created(), STOPPED])
    failure = verify(path, IDENTITY.fingerprint, kept).failure
    assert (failure.fault, failure.entry) == ("rollback", 2)
    assert "head given is over 7 entries, the log has 2" in failure.what


def test_a_file_put_back_from_a_backup_is_revealed_by_a_head(path, tmp_path):
    """An older copy of the same log is genuine, but shorter than a head that somebody kept."""
    backup, kept = tmp_path / "backup.sqlite", tmp_path / "head"
    shutil.copyfile(path, backup)
    with AuditLog.open(path, IDENTITY, "clinic-a") as log:
        log.append(STOPPED)
        kept.write_text(log.head())
    assert verify(backup).ok
    failure = verify(backup, None, kept).failure
    assert (failure.fault, failure.entry) == ("rollback", 7)


def test_several_heads_are_compared(path, tmp_path):
    """With several heads the first that does not agree tells; all must agree."""
    kept = [tmp_path / "early", tmp_path / "late"]
    with AuditLog.open(path, IDENTITY, "clinic-a") as log:
        kept[0].write_text(log.head())
        log.append(STARTED)
        kept[1].write_text(log.head())
        log.append(STOPPED)
    verdict = verify(path, None, *kept)
    assert (verdict.ok, verdict.head_checked) == (True, True)
    rewrite(path, IDENTITY, [created(), *[STOPPED] * 9])
    failure = verify(path, None, *reversed(kept)).failure
    assert failure.fault == "fork"
    assert "within the first 7 entries" in failure.what


def test_a_head_of_another_log_or_key_is_no_head_of_this(path, tmp_path):
    """A head is compared only if this log's key signed it, under this log's name."""
    kept = tmp_path / "head"
    root = hashlib.sha256(b"").digest()
    for signer, origin, complaint in [
        (IDENTITY, "clinic-b", "is of clinic-b"),
        (Identity.generate(), "clinic-a", "not signed by this log's key"),
    ]:
        kept.write_text(notes.sign(notes.Checkpoint(origin, 2, root).render(), origin, signer).render())
        failure = verify(path, None, kept).failure
        assert failure.fault == "head"
        assert complaint in failure.what


def test_what_cannot_be_used_is_the_callers_error(path, tmp_path):
    """A fingerprint that is none and a head that is none are errors, not verdicts on the log."""
    with pytest.raises(PartnerError):
        verify(path, "abcd")
    with pytest.raises(AuditError, match="can't be read"):
        verify(path, None, tmp_path / "nothing")
    (tmp_path / "head").write_text("x")
    with pytest.raises(AuditError, match="not a signed note"):
        verify(path, None, tmp_path / "head")
    (tmp_path / "head").write_text(notes.sign("clinic-a says hello\n", "clinic-a", IDENTITY).render())
    with pytest.raises(AuditError, match="not the head of a log"):
        verify(path, None, tmp_path / "head")


@pytest.mark.parametrize("content", [None, b"", b"text", bytes(4096), b"SQLite format 3\x00" + bytes(5000)])
def test_missing_and_foreign_files_do_not_verify(tmp_path, content):
    """What is not there, not SQLite or not a log is said to be so."""
    path = tmp_path / "audit.sqlite"
    if content is not None:
        path.write_bytes(content)
    verdict = verify(tmp_path)
    assert verdict.failure.fault in {"file", "schema"}
    assert str(path) in verdict.line()


@pytest.mark.parametrize("cut", [1, 4096, 8191])
def test_a_truncated_or_extended_file_is_found(path, cut):
    """Bytes cut off the end of the file, or added to it, are missed."""
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    assert not verify(path).ok
    path.write_bytes(content + bytes(cut))
    assert not verify(path).ok


@pytest.mark.parametrize(
    ("events", "complaint"),
    [
        ([STARTED], "a log begins with"),
        ([created(), created()], "a log begins with"),
        ([created(Identity.generate())], "names another key"),
        ([created(sqlite="3.99.0")], "another SQLite"),
    ],
)
def test_a_signed_log_that_makes_no_sense_is_refused(path, events, complaint):
    """A signature does not make up for a beginning that no log has."""
    rewrite(path, IDENTITY, events)
    assert complaint in verify(path).failure.what


def test_a_signed_event_of_another_release_is_named(path):
    """A log with an event that this release does not know is not vouched for, and says which."""

    class Sold(STOPPED.__class__):
        type = "vault:data:sold"

    rewrite(path, IDENTITY, [created(), STARTED, Sold(role="node")])
    failure = verify(path).failure
    assert (failure.fault, failure.entry) == ("entry", 2)
    assert "'vault:data:sold'" in failure.what
    assert "later one" in failure.action


def test_a_damaged_log_is_read_as_far_as_it_goes(path):
    """Listing a log with a damaged page ends in one clear error, after the entries before it."""
    content = path.read_bytes()
    root = content.index(b"service:stopped") // layout.PAGE_BYTES * layout.PAGE_BYTES
    damaged = content[:root] + bytes(layout.PAGE_BYTES) + content[root + layout.PAGE_BYTES :]
    with pytest.raises(AuditError, match="damaged"):
        list(Snapshot(damaged).entries())


def other_sqlite(content, version):
    """The file as another version of SQLite would have stamped it."""
    header = layout.Header.of(content)
    return layout.Header(header.change_counter, header.valid_for, layout.version_number(version)).stamp(content)


def test_a_log_of_another_sqlite_is_checked_as_far_as_possible(path):
    """Where another SQLite laid out the file, equal bytes verify; unequal slack is a remark, content still counts."""
    rewrite(path, IDENTITY, [created(sqlite="3.37.2"), STARTED])
    content = other_sqlite(path.read_bytes(), "3.37.2")
    assert examine(Snapshot(content)).layout_checked
    slack = bytearray(content)
    slack[2 * layout.PAGE_BYTES - 2000] ^= 1
    verdict = examine(Snapshot(bytes(slack)))
    assert (verdict.ok, verdict.layout_checked) == (True, False)
    assert "laid out by SQLite 3.37.2" in verdict.remarks[-1]
    assert not examine(Snapshot(content.replace(b"service:started", b"service:stopped"))).ok


def test_another_sqlite_is_written_down_when_it_takes_over(path):
    """A log that another SQLite wrote last says so in its next entry, and verifies."""
    rewrite(path, IDENTITY, [created(sqlite="3.37.2"), STARTED])
    path.write_bytes(other_sqlite(path.read_bytes(), "3.37.2"))
    with AuditLog.open(path, IDENTITY, "clinic-a") as log:
        assert log.append(STOPPED) == 3
    assert [entry.event for entry in take(path).entries()][2] == LibraryChanged(sqlite=sqlite3.sqlite_version)
    assert verify(path).ok


INTERRUPTED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # so that pages reach the file before the commit
connection.execute("BEGIN IMMEDIATE")
for number in range(7, 400):
    connection.execute("INSERT INTO entries VALUES (?, zeroblob(900), x'00')", (number,))
os._exit(9)
"""


def test_an_interrupted_append_is_undone_on_a_copy(path):
    """A file that a dead writer left half changed verifies as of its last commit, and is not touched."""
    subprocess.run([sys.executable, "-c", INTERRUPTED, str(path)], check=False)
    journal = Path(f"{path}-journal")
    before = path.read_bytes(), journal.read_bytes()
    verdict = verify(path)
    assert verdict.ok
    assert verdict.entries == 7
    assert "cut off" in verdict.remarks[-1]
    assert (path.read_bytes(), journal.read_bytes()) == before
    # Without its journal the same file is what it looks like: half written.
    journal.rename(path.parent / "aside")
    assert not verify(path).ok


def test_a_journal_that_names_other_files_is_refused(path):
    """A stranger's journal can't make SQLite touch a file that it names."""
    subprocess.run([sys.executable, "-c", INTERRUPTED, str(path)], check=False)
    journal = Path(f"{path}-journal")
    victim = path.parent / "victim"
    victim.write_bytes(b"precious")
    name = str(victim).encode()
    trailer = layout_trailer(name)
    journal.write_bytes(journal.read_bytes() + trailer)
    assert "not one that a log's daemon writes" in verify(path).failure.what
    assert victim.read_bytes() == b"precious"


def layout_trailer(name):
    """How SQLite ends a journal that is one of several: page number, the other's name, length, checksum, magic."""
    number = (1 << 30) // layout.PAGE_BYTES + 1
    parts = [number, len(name), sum(name)]
    first, *rest = (part.to_bytes(4, "big") for part in parts)
    return first + name + b"".join(rest) + bytes.fromhex("d9d505f920a163d7")
