"""SQLite's own seams under a log: its system calls, and the methods of its files. Doubles in their places make faults.

What changes files goes through these; a double must live as long as any connection that was made over it.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_POINTER, _LONG = ctypes.c_void_p, ctypes.c_long

# What changes files, with the type of its address; every argument and result fits these.
WRITES = {"write": (ctypes.c_int, _POINTER, _LONG), "pwrite64": (ctypes.c_int, _POINTER, _LONG, _LONG)}
CHANGES = {
    "ftruncate": (ctypes.c_int, _LONG),
    "unlink": (_POINTER,),
    "openDirectory": (_POINTER, _POINTER),  # a directory is opened to be synced
}


class Vfs(ctypes.Structure):
    """The head of SQLite's `sqlite3_vfs`, version 3, as far as its system calls."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("os_file", ctypes.c_int),
        ("max_path", ctypes.c_int),
        ("next", _POINTER),
        ("name", ctypes.c_char_p),
        ("app_data", _POINTER),
        *((name, _POINTER) for name in ("open", "delete", "access", "full", "dlopen", "dlerror", "dlsym", "dlclose")),
        *((name, _POINTER) for name in ("randomness", "sleep", "time", "last_error", "time64")),
        ("set_call", ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, ctypes.c_char_p, _POINTER)),
        ("get_call", ctypes.CFUNCTYPE(_POINTER, _POINTER, ctypes.c_char_p)),
        ("next_call", _POINTER),
    )


class Methods(ctypes.Structure):
    """SQLite's `sqlite3_io_methods`, version 3."""

    _fields_ = (
        ("version", ctypes.c_int),
        *((name, _POINTER) for name in ("close", "read", "write", "truncate", "sync", "file_size", "lock", "unlock")),
        *((name, _POINTER) for name in ("check_lock", "control", "sector_size", "characteristics")),
        *((name, _POINTER) for name in ("shm_map", "shm_lock", "shm_barrier", "shm_unmap", "fetch", "unfetch")),
    )


class File(ctypes.Structure):
    """The head of SQLite's `sqlite3_file`."""

    _fields_ = (("methods", ctypes.POINTER(Methods)),)


_OPEN_FILE = ctypes.CFUNCTYPE(
    ctypes.c_int, _POINTER, _POINTER, ctypes.POINTER(File), ctypes.c_int, ctypes.POINTER(ctypes.c_int)
)
_DELETE_FILE = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, ctypes.c_int)
_SYNC = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(File), ctypes.c_int)
_IOERR_FSYNC, _IOERR_DIR_FSYNC = 10 | 4 << 8, 10 | 5 << 8


def library() -> ctypes.CDLL:
    """The SQLite that this Python uses."""
    found = ctypes.CDLL(ctypes.util.find_library("sqlite3") or "")
    found.sqlite3_libversion.restype = ctypes.c_char_p
    if found.sqlite3_libversion().decode() != sqlite3.sqlite_version:
        pytest.skip("this Python has an SQLite of its own inside")
    found.sqlite3_vfs_find.restype = ctypes.POINTER(Vfs)
    return found


class FullDisk:
    """A disk that is full from the n-th change to a file on; `was_met` says whether the run came so far.

    Refused are writes, new files, syncs, and the removal of a file; of a removal that is to be durable also the sync
    that follows it, when the file is gone already.
    """

    def __init__(self) -> None:
        self._left, self._torn, self._lasting = -1, False, False
        self.was_met = False
        self._kept: list[Any] = []

    def fill(self, step: int, *, torn: bool = False, lasting: bool = True) -> None:
        """`torn`: half of that write is done; `lasting`: all that follows is refused too, until there is room."""
        self._left, self._torn, self._lasting, self.was_met = step, torn, lasting, False

    def make_room(self) -> None:
        self._left = -1

    def _refuses(self) -> bool:
        if self._left < 0:
            return False
        if self._left:
            self._left -= 1
        if self._left:
            return False
        self.was_met = True
        if not self._lasting:
            self._left = -1
        return True

    @contextmanager
    def beneath(self) -> Iterator[None]:
        """Under all that SQLite opens meanwhile."""
        place = library().sqlite3_vfs_find(None).contents
        calls = {**WRITES, **CHANGES, "open": (_POINTER, ctypes.c_int, ctypes.c_int)}
        calls = {name: arguments for name, arguments in calls.items() if place.get_call(ctypes.byref(place), _c(name))}
        opened, deleted = place.open, place.delete
        try:
            for name, arguments in calls.items():
                self._put(place, name, arguments)
            place.open = self._keep(_OPEN_FILE(self._open(_OPEN_FILE(opened))))
            place.delete = self._keep(_DELETE_FILE(self._delete(_DELETE_FILE(deleted))))
            yield
        finally:
            place.open, place.delete = opened, deleted
            for name in calls:
                place.set_call(ctypes.byref(place), _c(name), None)

    def _keep(self, double: Any) -> Any:
        self._kept.append(double)
        return ctypes.cast(double, _POINTER)

    def _put(self, place: Any, name: str, arguments: tuple[Any, ...]) -> None:
        kind = ctypes.CFUNCTYPE(_LONG if name in WRITES else ctypes.c_int, *arguments, use_errno=True)
        original = kind(place.get_call(ctypes.byref(place), _c(name)))
        place.set_call(ctypes.byref(place), _c(name), self._keep(kind(self._call(name, original))))

    def _call(self, name: str, original: Callable[..., int]) -> Callable[..., int]:
        def call(*arguments: int) -> int:
            if name == "open" and not arguments[1] & os.O_CREAT:
                return original(*arguments)
            if not self._refuses():
                return original(*arguments)
            if self._torn and name in WRITES:
                descriptor, content, size, *offset = arguments
                self._torn = False  # the rest finds no room
                self._left = 1
                return original(descriptor, content, size // 2, *offset)
            ctypes.set_errno(errno.ENOSPC)
            return -1

        return call

    def _open(self, original: Callable[..., int]) -> Callable[..., int]:
        """Files with a `sync` of ours; directories are synced beside it."""

        def call(vfs: int, name: int, file: Any, flags: int, out: Any) -> int:
            code = original(vfs, name, file, flags, out)
            if code == 0 and file.contents.methods:
                methods = Methods.from_buffer_copy(file.contents.methods.contents)
                methods.sync = self._keep(_SYNC(self._sync(_SYNC(methods.sync))))
                self._kept.append(methods)
                file.contents.methods = ctypes.pointer(methods)
            return code

        return call

    def _sync(self, original: Callable[..., int]) -> Callable[..., int]:
        return lambda file, flags: _IOERR_FSYNC if self._refuses() else original(file, flags)

    def _delete(self, original: Callable[..., int]) -> Callable[..., int]:
        def call(vfs: int, name: int, durably: int) -> int:
            code = original(vfs, name, durably)
            return _IOERR_DIR_FSYNC if code == 0 and durably and self._refuses() else code

        return call


def _c(name: str) -> bytes:
    return name.encode()
