"""`privity demo --keep`: what somebody is shown who wants to look around, until they have seen enough."""

from __future__ import annotations

import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from gateway.access.tokens import TOKEN_FILE, Token
from gateway.client import Gateway
from parties.audit.verify import verify
from parties.errors import GatewayError
from parties.service.lifecycle import State

DEADLINE_S = 240
LAST = "Ctrl-C ends it."


@dataclass
class Kept:
    """A demonstration that goes on, what it printed so far, and where it keeps everything."""

    process: subprocess.Popen[str]
    place: Path
    lines: list[str]

    @property
    def login(self) -> str:
        return next(line.strip() for line in self.lines if "/login?code=" in line)

    @property
    def url(self) -> str:
        return re.search(r"for programs: (\S+),", "\n".join(self.lines))[1]  # type: ignore[index]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    place = tmp_path_factory.mktemp("kept") / "all"
    command = [sys.executable, "-m", "gateway.cli", "demo", "--keep", "--dir", str(place)]
    said: queue.Queue[str | None] = queue.Queue()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:

        def read() -> None:
            for line in process.stdout or ():
                said.put(line.rstrip())
            said.put(None)

        reader = threading.Thread(target=read)
        reader.start()
        made = Kept(process, place, [])
        try:
            while LAST not in made.lines:
                line = said.get(timeout=DEADLINE_S)
                assert line is not None, made.lines
                made.lines.append(line)
            yield made
        finally:
            process.kill()
            reader.join()


def test_its_address_logs_a_browser_in_once(kept: Kept):
    """It opens the console, where the session that was run is ready to be read; a second time it opens nothing."""
    with httpx2.Client(follow_redirects=True, timeout=DEADLINE_S) as browser, httpx2.Client() as thief:
        first = browser.get(kept.login)
        assert (first.status_code, str(first.url)) == (200, f"{kept.url}/")
        found = re.findall(r'href="(/sessions/[0-9a-f]{64})"', first.text)
        assert len(found) == 2  # a matching, and the training on what it left
        shown = browser.get(kept.url + found[0]).text
        assert "completed" in shown
        assert "AUC" in shown
        again = thief.get(kept.login)
        assert again.status_code == 401
        assert not thief.cookies
        assert thief.get(f"{kept.url}/v1/me").status_code == 401
        assert browser.get(f"{kept.url}/v1/me").json()["account"] == "bootstrap"


def test_programs_find_all_running(kept: Kept):
    """By the address and the token that it names: sessions that completed, and participants that are connected."""
    token = Path(re.search(r"token in (\S+)", "\n".join(kept.lines))[1])  # type: ignore[index]
    assert token == kept.place / "gateway" / TOKEN_FILE
    with Gateway(kept.url, Token.load(token).reveal()) as client:
        assert [(one.kind, one.state) for one in client.sessions()] == [
            ("training", State.COMPLETED),
            ("matching", State.COMPLETED),
        ]
        assert [one.online for one in client.participants()] == [True] * 4


def test_it_ends_when_it_is_told(kept: Kept):
    """Ctrl-C ends every process in good order: status 0, nobody answers, and each log is whole and verifies."""
    kept.process.send_signal(signal.SIGINT)
    assert kept.process.wait(DEADLINE_S) == 0
    with Gateway(kept.url, "token") as client, pytest.raises(GatewayError, match="does not answer"):
        client.health()
    homes = {path.parent for path in kept.place.glob("*/audit.sqlite")}
    assert len(homes) == 5
    assert all(verify(home).ok for home in homes)
