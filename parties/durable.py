"""Files that are there whole or not at all, and that are gone when they are said to be."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

STRIP_BYTES: Final = 1 << 20  # written at once


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A new file that only its owner reads, locked while it is open."""
    while True:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            break
        file.close()  # a sweep took it between its creation and its lock
    with file:
        yield file


def overwrite(file: BinaryIO) -> None:
    """Zeros for every byte of an open file, durably; a disk that copies on write may keep the old ones."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    file.writelines(bytes(min(STRIP_BYTES, size - start)) for start in range(0, size, STRIP_BYTES))
    sync(file)


def replace(fresh: Path, path: Path) -> None:
    """Put a synced file in the place of another, of which no byte is left."""
    with path.open("r+b") as old:
        fresh.rename(path)
        sync_directory(path.parent)
        overwrite(old)


def sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One process at a time, among those who ask."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
