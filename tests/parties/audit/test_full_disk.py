"""A disk that is full at any step of an append: one clear error, a log that verifies, and an append once there is room.

The steps are the calls by which SQLite changes files, and those by which it has them written durably.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parties.audit.events import (
    Event,
    IdentityRotated,
    LoginOffered,
    PartnerAdded,
    PartnerKeyReplaced,
    PartnerRemoved,
    PartnerRevoked,
    ServicePaused,
    ServiceResumed,
)
from parties.audit.log import AuditLog
from parties.audit.snapshot import take
from parties.audit.verify import verify
from parties.errors import AuditError
from parties.keys.identity import Identity
from parties.keys.partners import Partners
from parties.service.desk import Desk
from parties.service.home import Home
from parties.service.pause import PAUSED_FILE
from tests.parties.audit.disk import FullDisk

IDENTITY = Identity.generate()
EVENT = LoginOffered(role="officer")
MANY = 300  # events: a commit of many pages
MOST_STEPS = 400
WAYS = {"once": {"lasting": False}, "lasting": {}, "torn": {"torn": True}}

pytestmark = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def disk() -> Iterator[FullDisk]:
    made = FullDisk()
    with made.beneath():
        yield made


@pytest.fixture
def whole(tmp_path) -> Path:
    """A log of 21 entries."""
    path = tmp_path / "whole.sqlite"
    with opened(path) as log:
        log.append_all([EVENT] * 20)
    return path


def opened(path: Path) -> AuditLog:
    return AuditLog.open(path, IDENTITY, "clinic-a")


def steps(disk: FullDisk) -> Iterator[int]:
    """Each step at which an act can meet a full disk, and one that it never comes to."""
    for step in range(1, MOST_STEPS):
        yield step
        if not disk.was_met:
            assert step > 5
            return
    pytest.fail("the act never came to its end")


def refused(act: Callable[[], object], path: Path) -> AuditError | None:
    """The error of an act, which names the log and says what to do; None if it was done."""
    error = None
    try:
        act()
    except AuditError as exc:
        error = exc
    assert error is None or (str(path) in error.what and "room" in error.action), error
    return error


def entries(path: Path) -> int:
    """Of a log that verifies, the way a reader finds it: what a writer left half done is undone."""
    verdict = verify(path, IDENTITY.fingerprint)
    assert verdict.ok, verdict.failure
    return verdict.entries


def place(tmp_path: Path, step: int) -> Path:
    """Where a step's log is, in a directory that holds nothing else."""
    path = tmp_path / str(step) / "audit.sqlite"
    path.parent.mkdir()
    return path


@pytest.mark.parametrize("count", [1, MANY])
def test_at_each_step_of_an_append(tmp_path, disk, whole, way, count):
    """The append is refused whole, in an error that says so; with room again the same writer goes on at once."""
    found = []
    for step in steps(disk):
        path = place(tmp_path, step)
        shutil.copy(whole, path)
        with opened(path) as log:
            disk.fill(step, **WAYS[way])
            error = refused(lambda log=log: log.append_all([EVENT] * count), path)
            if error and way == "lasting":
                assert refused(lambda log=log: log.append(EVENT), path)
            disk.make_room()
            size = entries(path)
            assert log.append(EVENT) == size, step
        assert entries(path) == size + 1
        assert {file.name for file in path.parent.iterdir()} == {"audit.sqlite", "audit.sqlite.lock"}
        shutil.rmtree(path.parent)
        found.append((error is not None, size - 21))
    # There is one moment of commit. What is refused after it, at the last step of all, stands.
    assert set(found) == {(True, 0), (True, count), (False, count)}
    assert found[-2:] == [(True, count), (False, count)]
    assert found.count((True, 0)) > 5


def test_at_each_step_of_a_log_s_birth(tmp_path, disk, way):
    """A log for whose birth there was no room takes none, and begins with room; one that is there verifies."""
    for step in steps(disk):
        path = place(tmp_path, step)
        disk.fill(step, **WAYS[way])
        error = refused(lambda path=path: opened(path).close(), path)
        disk.make_room()
        there = {file.name for file in path.parent.iterdir()} - {"audit.sqlite.lock"}
        assert there == (set() if error else {"audit.sqlite"}), step
        with opened(path) as log:
            log.append(EVENT)
        assert entries(path) == 2, step


def test_at_each_step_of_a_handover(tmp_path, disk, whole, way):
    """A log goes from one key to the next whole, or the old one signs on; never is it nobody's."""
    successor = Identity.generate()
    for step in steps(disk):
        path = place(tmp_path, step)
        shutil.copy(whole, path)
        with opened(path) as log:
            disk.fill(step, **WAYS[way])
            refused(lambda log=log: log.rotate(successor), path)
            disk.make_room()
        last = [entry.event for entry in take(path).entries()]
        handed_over = any(isinstance(event, IdentityRotated) for event in last)
        with AuditLog.open(path, successor if handed_over else IDENTITY, "clinic-a") as log:
            log.append(EVENT)
        assert entries(path) > 21, step


B = Identity.generate()
FIRST, SECOND = B.fingerprint, Identity.generate().fingerprint
ACTS: dict[str, tuple[Callable[[Desk], object], type[Event]]] = {
    "pause": (Desk.node_pause, ServicePaused),
    "resume": (Desk.node_resume, ServiceResumed),
    "confirm": (lambda desk: desk.partner_add("clinic-c", FIRST), PartnerAdded),
    "remove": (lambda desk: desk.partner_remove("clinic-b"), PartnerRemoved),
    "revoke": (lambda desk: desk.partner_revoke("clinic-b"), PartnerRevoked),
    "accept": (lambda desk: desk.partner_accept("clinic-b"), PartnerKeyReplaced),
}


@pytest.mark.parametrize("act", ACTS)
def test_what_is_not_recorded_is_not_done(home, journal, disk, way, act):
    """An act for whose record there is no room does not happen; with room it does, and is recorded."""
    done, event = ACTS[act]
    partners = Partners(home.path("partners.json"))
    partners.add("clinic-b", FIRST)
    partners.offer("clinic-b", SECOND)
    desk = Desk(home, journal, None, partners)
    if act == "resume":
        desk.node_pause()
    before = standing(home)
    disk.fill(1, **WAYS[way])
    assert refused(lambda: done(desk), journal.path)
    assert standing(home) == before
    disk.make_room()
    done(desk)
    assert standing(home) != before
    assert [type(entry.event) for entry in take(journal.path).entries()].count(event) == 1


def standing(home: Home) -> list[tuple[str, bytes]]:
    """What a home's small files say."""
    return sorted((file.name, file.read_bytes()) for file in home.directory.iterdir() if is_small(file.name))


def is_small(name: str) -> bool:
    return name == PAUSED_FILE or name.startswith("partner")
