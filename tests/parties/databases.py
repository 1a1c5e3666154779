"""A PostgreSQL server of the test's own: in a directory of its own, run by a user without rights, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
DEADLINE_S = 60


class Server:
    """A running server, reached through a Unix socket in its directory."""

    def __init__(self, directory: Path, user: str) -> None:
        self.directory, self.user = directory, user

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://{self.user}@/postgres?host={self.directory}"

    def run(self, program: str, *words: str) -> None:
        subprocess.run(
            [*_as(self.user), str(BINARIES[-1] / program), *words],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=DEADLINE_S,
            check=True,
        )

    def fresh(self, name: str) -> str:
        """The URL of a new, empty database."""
        self.run("createdb", "-h", str(self.directory), "-U", self.user, name)
        return f"postgresql+psycopg://{self.user}@/{name}?host={self.directory}"

    def start(self) -> None:
        """Once it has started it takes connections."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self.directory} -c fsync=off"
        self.run(
            "pg_ctl", "-D", str(self.directory / "db"), "-l", str(self.directory / "log"), "-o", options, "-w", "start"
        )

    def stop(self) -> None:
        """At once, as a machine that loses its power."""
        self.run("pg_ctl", "-D", str(self.directory / "db"), "stop", "-m", "immediate", "-w")


def _as(user: str) -> list[str]:
    return ["setpriv", f"--reuid={user}", "--clear-groups", "--"] if os.geteuid() == 0 else []


@contextmanager
def postgresql(password: str = "") -> Iterator[Server]:
    """With a password, if one is named. Skips the test where no server is installed."""
    if not BINARIES:
        pytest.skip("no PostgreSQL server is installed")
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    directory = Path(tempfile.mkdtemp(prefix="pg."))  # a short path, which a socket's must be
    shutil.chown(directory, user)
    server = Server(directory, user)
    try:
        words = ["-D", str(directory / "db"), "-U", user, "--no-sync", "-E", "UTF8"]
        if password:
            (directory / "password").write_text(password)
            shutil.chown(directory / "password", user)
        who = ["-A", "scram-sha-256", "--pwfile", str(directory / "password")] if password else ["-A", "trust"]
        server.run("initdb", *words, *who)
        server.start()
        yield server
    finally:
        if (directory / "db" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(directory)
