"""The log only grows, by one writer, and what `append` returned for is there, whatever happens next."""

import resource
import secrets
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from parties.audit import layout
from parties.audit.events import DisclosureRecorded, ServiceStarted, ServiceStopped
from parties.audit.log import AuditLog
from parties.audit.notes import parse_checkpoint, parse_note
from parties.audit.snapshot import take
from parties.audit.verify import verify
from parties.errors import AuditError
from parties.keys.identity import Identity

IDENTITY = Identity.generate()
STARTED = ServiceStarted(role="node", version="0.1.0")
STOPPED = ServiceStopped(role="node")
WRITER = Path(__file__).with_name("writer.py")
KILLS = 6


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.sqlite"


def reopen(path, **options):
    return AuditLog.open(path, IDENTITY, "clinic-a", **options)


def stored(path):
    return [entry.event for entry in take(path).entries()]


def test_events_come_back_in_order(path):
    """What was appended, alone or together, in one opening or the next, is there under the index returned."""
    with reopen(path) as log:
        assert log.append(STARTED) == 1
        assert log.append_all([STOPPED, STARTED]) == range(2, 4)
        assert log.append_all([]) == range(0)
    with reopen(path) as log:
        assert log.append(STOPPED) == 4
    assert stored(path)[1:] == [STARTED, STOPPED, STARTED, STOPPED]
    assert verify(path).ok


def test_a_new_log_says_whose_it_is(path):
    """The first entry names the key and is signed; the file is its owner's alone and complete by itself."""
    with reopen(path) as log:
        head = log.head()
    assert stored(path)[0].fingerprint == IDENTITY.fingerprint
    assert parse_note(head).signed_by("clinic-a", IDENTITY.public)
    assert path.stat().st_mode & 0o777 == 0o600
    assert {file.name for file in path.parent.iterdir()} == {"audit.sqlite", "audit.sqlite.lock"}


def test_each_commit_has_a_signed_head(path):
    """The head moves with every append and covers every entry."""
    with reopen(path) as log:
        for _ in range(5):
            index = log.append(STARTED)
            note = parse_note(log.head())
            assert note.signed_by("clinic-a", IDENTITY.public)
            assert parse_checkpoint(note.text).size == index + 1 == log.size
        last = log.head()
    with reopen(path) as log:
        assert log.head() == last


def test_there_is_one_writer(path):
    """A second opener is told who is in the way; once the first closed, it gets the log."""
    with reopen(path) as log, pytest.raises(AuditError, match="open in another process"):
        reopen(path)
    log.close()
    with pytest.raises(AuditError, match="closed"):
        log.append(STARTED)
    with reopen(path) as log:
        log.append(STARTED)


def test_another_key_or_origin_is_refused(path, tmp_path):
    """A log goes on only under the key and the name that it began with."""
    reopen(path).close()
    for identity, origin in [(Identity.generate(), "clinic-a"), (IDENTITY, "clinic-b")]:
        with pytest.raises(AuditError, match="is not the log of"):
            AuditLog.open(path, identity, origin)
    with pytest.raises(AuditError, match="can't name a log"):
        AuditLog.open(tmp_path / "new", IDENTITY, "Clinic A")
    assert verify(path).ok


def test_a_missing_log_is_not_begun_again_by_mistake(path):
    """A daemon that knows that it has a log does not start without it; a missing directory is named."""
    with pytest.raises(AuditError, match="there is no audit log"):
        reopen(path, must_exist=True)
    assert not path.exists()
    with pytest.raises(AuditError, match="check that its directory exists"):
        reopen(path.parent / "nowhere" / "audit.sqlite")


def test_threads_share_a_log(path):
    """Appends from several threads each get an index of their own, and nothing is lost."""
    found, guard = [], threading.Lock()

    def work():
        for _ in range(20):
            index = log.append(STARTED)
            with guard:
                found.append(index)

    with reopen(path) as log:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(found) == list(range(1, 81))
    assert verify(path).entries == 81


TOO_BIG = DisclosureRecorded(
    session="ab" * 32,
    name="loss",
    recipients=("parties:" + ",".join(f"{number:064d}" for number in range(16)),) * 64,
    shape=(),
    clause="disclosures.0",
    count=1,
)


def test_what_waits_is_committed_together(path):
    """Appends that wait for the same disk share one commit and one head; one that does not fit fails alone."""
    found, failed = [], []

    def work(events):
        try:
            found.append(log.append_all(events))
        except AuditError as exc:
            failed.append(exc.what)

    with reopen(path) as log:
        threads = [threading.Thread(target=work, args=(events,)) for events in ([STARTED] * 2, [TOO_BIG], [STOPPED])]
        with log._mutex:  # as if a commit went on
            for number, thread in enumerate(threads, 1):
                thread.start()
                while len(log._waiting) < number:
                    thread.join(0.001)
        for thread in threads:
            thread.join()
        assert sorted(found, key=lambda one: one.start) == [range(1, 3), range(3, 4)]
        assert ["takes" in what for what in failed] == [True]
        assert log.append(STARTED) == 4
    assert heads(path) == [1, 4, 5]
    assert verify(path).ok


def test_a_commit_that_fails_fails_for_all_in_it(path):
    """Each of those whose events shared a commit hears that nothing was written, in an error of its own."""
    errors = []

    def work():
        try:
            log.append_all([STARTED] * 500)
        except AuditError as exc:
            errors.append(exc)

    with reopen(path) as log:
        log._connection.execute("PRAGMA max_page_count = 16")
        threads = [threading.Thread(target=work) for _ in range(3)]
        with log._mutex:
            for thread in threads:
                thread.start()
            while len(log._waiting) < 3:
                threads[0].join(0.001)
        for thread in threads:
            thread.join()
        assert ["SQLITE_FULL" in error.what for error in errors] == [True] * 3
        assert len({id(error) for error in errors}) == 3
        assert log.append(STOPPED) == 1
    assert verify(path).ok


def heads(path):
    with closing(sqlite3.connect(path)) as connection:
        return [size for (size,) in connection.execute("SELECT size FROM heads ORDER BY size")]


def test_the_tables_refuse_changes(path):
    """Not even our own connection can change, remove, replace, skip or repeat a row."""
    with reopen(path) as log:
        log.append(STARTED)
    before = path.read_bytes()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        layout.configure(connection)
        for statement in [
            "UPDATE entries SET content = x'00' WHERE number = 1",
            "DELETE FROM entries WHERE number = 1",
            "INSERT INTO entries VALUES (3, x'00', x'00')",
            "INSERT OR REPLACE INTO entries VALUES (1, x'00', x'00')",
            "UPDATE heads SET note = ''",
            "DELETE FROM heads",
            "INSERT INTO heads VALUES (1, '')",
            "INSERT INTO heads VALUES (9, '')",
            "UPDATE log SET origin = 'clinic-b'",
            "DELETE FROM log",
            "INSERT INTO log VALUES ('clinic-b', x'00')",
        ]:
            with pytest.raises(sqlite3.IntegrityError, match="only grows"):
                connection.execute(statement)
    assert path.read_bytes() == before


def test_a_full_disk_leaves_the_log_as_it_was(path):
    """An append for which there is no room is refused whole; with room again the same log goes on."""
    with reopen(path) as log:
        log.append(STARTED)
        before, head = path.read_bytes(), log.head()
        # SQLite reports its own limit by the very code of a full disk.
        pages = len(before) // layout.PAGE_BYTES
        log._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(AuditError, match=r"SQLITE_FULL.*make room"):
            log.append_all([STARTED] * 500)
        assert (path.read_bytes(), log.head(), log.size) == (before, head, 2)
        assert log.append(STOPPED) == 2
        log._connection.execute("PRAGMA max_page_count = 1000000")
        assert log.append_all([STARTED] * 500)[-1] == 502
    assert verify(path).entries == 503


def test_a_failing_disk_stops_the_log(path):
    """After a write error nothing more is appended before the log is read, and so checked, again."""
    with reopen(path) as log:
        log.append(STARTED)
        before = path.read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before), limits[1]))
        try:
            for _ in range(2):
                with pytest.raises(AuditError, match=r"SQLITE_IOERR_WRITE.*make room.*audit verify"):
                    log.append_all([STARTED] * 500)
            with pytest.raises(AuditError, match=r"closed.*make room"):
                log.root(2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, previous)
        assert log.append(STARTED) == 2
    assert verify(path).entries == 3


@pytest.mark.parametrize("entries", [2, 40], ids=["shorter", "longer"])
def test_a_log_that_changed_while_it_was_in_doubt_is_not_taken_up(path, tmp_path, entries):
    """What this writer had written must be there still once the disk writes again, though the same key signed all."""
    other = tmp_path / "other.sqlite"
    with reopen(other) as log:
        for _ in range(entries):
            log.append(STOPPED)
    with reopen(path) as log:
        for _ in range(9):
            log.append(STARTED)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limits[1]))
        try:
            with pytest.raises(AuditError, match="SQLITE_IOERR_WRITE"):
                log.append_all([STARTED] * 500)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, previous)
        other.rename(path)
        before = path.read_bytes()
        for complaint in ("changed by something else", "closed; start the daemon again"):
            with pytest.raises(AuditError, match=complaint):
                log.append(STARTED)
        assert path.read_bytes() == before


def test_a_change_behind_its_back_is_not_built_upon(path, tmp_path):
    """A log that somebody else wrote to, or put another file in the place of, takes no further entry."""
    with reopen(path) as log:
        log.append(STARTED)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("DROP TRIGGER heads_delete")
            connection.execute("DELETE FROM heads WHERE size = 2")
        with pytest.raises(AuditError, match="changed by something else"):
            log.append(STARTED)
    with pytest.raises(AuditError, match="no signed head over its last entry"):
        reopen(path)
    other = tmp_path / "other.sqlite"
    with reopen(other) as log:
        other.rename(tmp_path / "aside.sqlite")
        for complaint in ("moved or replaced", "closed"):
            with pytest.raises(AuditError, match=complaint):
                log.append(STARTED)


@pytest.mark.parametrize("content", [b"", b"not a database", bytes(8192)])
def test_a_foreign_file_is_left_alone(path, content):
    """A file that is no log is refused and not written to."""
    path.write_bytes(content)
    with pytest.raises(AuditError):
        reopen(path)
    assert path.read_bytes() == content


def test_a_foreign_database_is_left_alone(path):
    """Another program's database, in whichever journal mode, is refused and not changed."""
    for mode in ("DELETE", "WAL"):
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA journal_mode = {mode}")
            connection.execute("CREATE TABLE log (origin TEXT, public_key BLOB)")
            connection.commit()
        before = path.read_bytes()
        with pytest.raises(AuditError, match="not an audit log"):
            reopen(path)
        assert path.read_bytes() == before


def test_a_log_that_was_cut_off_at_birth_is_begun_anew(path):
    """What a kill leaves of a log that was never finished does not stand in the way."""
    path.with_name("audit.sqlite.new").write_bytes(b"half")
    path.with_name("audit.sqlite.new-journal").write_bytes(b"half")
    with reopen(path) as log:
        log.append(STARTED)
    assert verify(path).ok
    assert {file.name for file in path.parent.iterdir()} == {"audit.sqlite", "audit.sqlite.lock"}


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path):
    """A writer killed again and again, at any moment, leaves a log that verifies and holds every index it returned."""
    IDENTITY.save(tmp_path / "identity.pem")
    path = tmp_path / "audit.sqlite"
    reopen(path).close()
    for _ in range(KILLS):
        last = _append_until_killed(tmp_path)
        verdict = verify(path, IDENTITY.fingerprint)
        assert verdict.ok, verdict.failure
        assert verdict.entries > last
    with reopen(path) as log:  # undoes what the last kill left
        log.append(STOPPED)
    entries = list(take(path).entries())
    assert [entry.index for entry in entries] == list(range(len(entries)))
    assert sum(isinstance(entry.event, DisclosureRecorded) for entry in entries) == len(entries) - 2
    assert verify(path).ok


def _append_until_killed(home):
    """The last index that a writer printed before it was killed at a moment of its own choosing by nobody."""
    with subprocess.Popen([sys.executable, str(WRITER), str(home)], stdout=subprocess.PIPE, text=True) as writer:
        lines = [writer.stdout.readline() for _ in range(2 + secrets.randbelow(8))]
        # Not in step with its commits: anywhere within the next few milliseconds.
        timer = threading.Timer(secrets.randbelow(8000) / 1e6, writer.kill)
        timer.start()
        lines += writer.stdout.readlines()
        timer.join()
    return int([line for line in lines if line.endswith("\n")][-1])
