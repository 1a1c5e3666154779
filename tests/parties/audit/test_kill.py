"""A writer that dies at any step of an append leaves a log that verifies: with all of the append, or none of it.

The steps are the calls by which SQLite changes files. Its own seam for tests, `xSetSystemCall`, puts a double in their
places, in a child process, that ends the process at the n-th of them: before it, or after half of what it should write.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from parties.audit.events import LoginOffered
from parties.audit.log import AuditLog
from parties.audit.verify import verify
from parties.keys.identity import Identity
from tests.parties.audit.disk import CHANGES, WRITES, library

IDENTITY = Identity.generate()
EVENT = LoginOffered(role="officer")
MANY = 300  # events: a commit of many pages
MOST_STEPS = 400
DIED, DONE, FAILED = 7, 0, 9


class Death:
    """Ends this process at the n-th change to a file; `torn`: after half of that write. Kept alive by its owner."""

    def __init__(self, sqlite: ctypes.CDLL, step: int, *, torn: bool) -> None:
        self._left, self._torn, self._doubles = step, torn, []
        place = sqlite.sqlite3_vfs_find(None)
        for name, arguments in {**WRITES, **CHANGES}.items():
            original = place.contents.get_call(place, name.encode())
            if original:
                kind = ctypes.CFUNCTYPE(ctypes.c_long if name in WRITES else ctypes.c_int, *arguments)
                double = kind(self._double(kind(original), is_write=name in WRITES))
                self._doubles.append(double)
                assert place.contents.set_call(place, name.encode(), ctypes.cast(double, ctypes.c_void_p)) == 0

    def _double(self, original: Callable[..., int], *, is_write: bool) -> Callable[..., int]:
        def call(*arguments: int) -> int:
            self._left -= 1
            if self._left == 0:
                if self._torn and is_write:
                    descriptor, content, size, *offset = arguments
                    original(descriptor, content, size // 2, *offset)
                os._exit(DIED)
            return original(*arguments)

        return call


def act_and_die(act: Callable[[], object], step: int, *, torn: bool) -> int:
    """The exit status of a child that did the act and died at that step, if it came so far."""
    sqlite = library()
    child = os.fork()
    if child == 0:
        try:
            death = Death(sqlite, step, torn=torn)
            act()
            assert death
        except BaseException:  # noqa: BLE001 - a child must not go on in the parent's tests
            os._exit(FAILED)
        os._exit(DONE)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def opened(path: Path) -> AuditLog:
    return AuditLog.open(path, IDENTITY, "clinic-a")


def append(path: Path, count: int) -> None:
    with opened(path) as log:
        log.append_all([EVENT] * count)


@pytest.mark.parametrize("torn", [False, True], ids=["before", "torn"])
@pytest.mark.parametrize("count", [1, MANY])
def test_a_kill_at_each_step_of_an_append(tmp_path, count, torn):
    """Whichever step of an append is the last one, the log verifies, has all of it or nothing, and goes on."""
    whole = tmp_path / "whole.sqlite"
    append(whole, 20)
    sizes = []
    for step in range(1, MOST_STEPS):
        place = tmp_path / str(step)
        place.mkdir()
        path = place / "audit.sqlite"
        shutil.copy(whole, path)
        status = act_and_die(lambda path=path: append(path, count), step, torn=torn)
        assert status in {DIED, DONE}
        verdict = verify(path, IDENTITY.fingerprint)
        assert verdict.ok, (step, verdict.failure)
        assert verdict.entries in {21, 21 + count}, step
        sizes.append(verdict.entries)
        append(path, 1)
        again = verify(path, IDENTITY.fingerprint)
        assert again.ok, (step, again.failure)
        assert again.entries == verdict.entries + 1
        shutil.rmtree(place)
        if status == DONE:
            break
    else:
        pytest.fail("the append never came to its end")
    # There is one moment of commit: before it nothing of the append is there, after it all.
    assert sizes == sorted(sizes)
    assert len(sizes) > 5
    assert {21, 21 + count} == set(sizes)


@pytest.mark.parametrize("torn", [False, True], ids=["before", "torn"])
def test_a_kill_at_each_step_of_a_log_s_birth(tmp_path, torn):
    """A log that was never begun whole is not there, and begins anew; one that is there verifies."""
    for step in range(1, MOST_STEPS):
        place = tmp_path / str(step)
        place.mkdir()
        path = place / "audit.sqlite"
        status = act_and_die(lambda path=path: opened(path).close(), step, torn=torn)
        assert status in {DIED, DONE}
        assert not path.exists() or verify(path, IDENTITY.fingerprint).ok, step
        append(path, 1)
        verdict = verify(path, IDENTITY.fingerprint)
        assert (verdict.ok, verdict.entries) == (True, 2), (step, verdict.failure)
        if status == DONE:
            assert step > 5
            return
    pytest.fail("the log never came to be")
