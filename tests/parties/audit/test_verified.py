"""That the operator had the log verified stands in it, and recording it changes nothing of what was verified."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from parties.audit.events import LogVerified, ServiceStarted
from parties.audit.snapshot import take
from parties.errors import AuditError
from parties.keys.identity import Identity
from parties.keys.partners import Partners
from parties.service.desk import Desk
from parties.service.local import direct
from tests.parties.answering import answering


@pytest.fixture
def daemon(home, journal):
    """Whoever writes the log of that home answers on its socket; the log has two entries."""
    journal.append(ServiceStarted(role="node", version="0.1.0"))
    desk = Desk(home, journal, None, Partners(home.path("partners.json")))
    with answering(home.directory, {"audit-verified": direct(desk.audit_verified)}):
        yield


def verified(*arguments: object):
    return CliRunner().invoke(app, ["audit", "verify", *map(str, arguments)])


def recorded(home) -> list[LogVerified]:
    found = (entry.event for entry in take(home.path("audit.sqlite")).entries())
    return [event for event in found if isinstance(event, LogVerified)]


@pytest.mark.usefixtures("daemon")
def test_the_daemon_records_who_verified_how_much(home):
    """Each time of the entries before it: the verdict and its record are two things."""
    for entries in (2, 3):
        done = verified(home.directory, "--key", home.identity.fingerprint)
        assert (done.exit_code, done.stderr) == (0, "")
        assert f"{entries} entries of clinic-a" in done.stdout
        assert recorded(home)[-1] == LogVerified(by="operator", entries=entries, intact=True)
    assert len(recorded(home)) == 2


@pytest.mark.usefixtures("daemon")
def test_a_log_that_does_not_verify_is_recorded_so(home):
    """For whoever watches the log: verdict and exit status are as they would be without that."""
    path = home.path("audit.sqlite")
    path.write_bytes(path.read_bytes().replace(b'"version":"0.1.0"', b'"version":"0.1.1"'))
    done = verified(home.directory)
    assert (done.exit_code, done.stdout.startswith("NOT VERIFIED")) == (1, True)
    assert [event.intact for event in recorded(home)] == [False]


@pytest.mark.usefixtures("daemon")
def test_what_is_not_about_the_log_is_not_recorded(home, tmp_path):
    """A key, or a head, that is another log's says nothing of this one; a file is verified without its daemon."""
    before = home.path("audit.sqlite").read_bytes()
    stranger = Identity.generate()
    assert verified(home.directory, "--key", stranger.fingerprint).exit_code == 1
    head = tmp_path / "head"
    head.write_text("clinic-b\n3\n" + "A" * 43 + "=\n\n\u2014 clinic-b AAAA\n", encoding="utf-8")
    assert verified(home.directory, "--head", head).exit_code != 0
    assert verified(home.path("audit.sqlite")).exit_code == 0
    assert home.path("audit.sqlite").read_bytes() == before


def test_without_a_daemon_nothing_is_written(home, journal):
    """A home that nobody serves is verified offline, and is afterwards what it was."""
    journal.close()
    before = home.path("audit.sqlite").read_bytes()
    done = verified(home.directory)
    assert (done.exit_code, done.stderr) == (0, "")
    assert home.path("audit.sqlite").read_bytes() == before


def test_a_record_that_fails_leaves_the_verdict(home, journal):
    """A daemon whose disk is full, or of an older version: said beside the verdict, which stands."""

    async def full(_):
        raise AuditError("the audit log could not be written", action="make room on the disk")

    assert journal.size == 1
    for handlers, why in (({"audit-verified": full}, "make room on the disk"), ({}, "does not do 'audit-verified'")):
        with answering(home.directory, handlers):
            done = verified(home.directory)
        assert (done.exit_code, done.stdout.startswith("verified: ")) == (0, True)
        assert "could not be recorded" in done.stderr
        assert why in done.stderr
