"""The operator's door: its own user only, one answer to every request, and no request that ends the daemon."""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from parties.errors import PartnerError, SettingsError
from parties.service.local import MAX_REQUEST_BYTES, SOCKET, RemoteError, call
from tests.parties.answering import answering

DEADLINE_S = 30
SECRET = "haemoglobin of 13.2"
SESSION = "ab" * 32


async def echo(request):
    return request


async def refuse(_):
    raise PartnerError("no such partner", action="add it")


async def fail(_):
    raise ZeroDivisionError(SECRET)


def whole(beginning):
    return SESSION if SESSION.startswith(beginning) else ""


@pytest.fixture
def home(tmp_path) -> Iterator[Path]:
    """A directory in which a daemon answers."""
    directory = tmp_path / "home"
    directory.mkdir(mode=0o700)
    with answering(directory, {"echo": echo, "refuse": refuse, "fail": fail}, whole):
        yield directory


def raw(home: Path, content: bytes) -> bytes:
    """What the daemon answers to these bytes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(DEADLINE_S)
        stream.connect(str(home / SOCKET))
        stream.sendall(content)
        stream.shutdown(socket.SHUT_WR)
        with stream.makefile("rb") as lines:
            return lines.read()


def test_a_request_is_answered(home):
    """Fields go in and the handler's answer comes out, whatever letters they hold."""
    assert call(home, "echo", path="/tmp/\u00e9 \n", number=7) == {"path": "/tmp/\u00e9 \n", "number": 7}  # noqa: S108


def test_an_error_crosses_with_its_code_and_action(home):
    """What a handler refuses, the command line reports as if it had happened there."""
    with pytest.raises(RemoteError, match="no such partner; add it") as caught:
        call(home, "refuse")
    assert caught.value.code == "partner"


def test_an_unexpected_error_is_named_and_not_quoted(home, capfd):
    """A mistake of ours answers with its type alone, its text in no answer and no log, and the daemon goes on."""
    with pytest.raises(RemoteError, match="the daemon met an unexpected ZeroDivisionError; see"):
        call(home, "fail")
    assert SECRET not in "".join(capfd.readouterr())
    assert call(home, "echo") == {}


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"session": SESSION}, True),
        ({"session": SESSION[:6]}, True),
        ({"beginning": SESSION[:6]}, True),
        ({"session": f"cd{SECRET}"}, False),
        ({"session": [SESSION]}, False),
        ({"session": ""}, False),
        ({}, False),
    ],
)
def test_a_failure_about_a_session_has_its_id(home, capfd, fields, shown):
    """The line of the log names the session that there is, whole, and repeats nothing that came with the request."""
    with pytest.raises(RemoteError, match="an unexpected ZeroDivisionError"):
        call(home, "fail", **fields)
    written = "".join(capfd.readouterr())
    assert "a request failed" in written
    assert (f"session={SESSION}" in written) == shown
    assert SECRET not in written
    with pytest.raises(RemoteError, match="an unexpected ZeroDivisionError"):
        call(home, "fail")
    assert "session=" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\n", b"{\n", b"[1]\n", b"5\n", b"null\n", b'"echo"\n', b"{}\n"),
        *(b'{"do": "echo"', b"\xff\xfe\n", b"[" * 100_000 + b"\n"),
    ],
)
def test_a_malformed_request_is_answered_too(home, content):
    """Nonsense gets one line of JSON, and the next request is served."""
    answer = json.loads(raw(home, content))
    assert answer["error"]["code"] == "local"
    assert "not understood" in answer["error"]["what"]
    assert call(home, "echo", a=1) == {"a": 1}


@pytest.mark.parametrize("wanted", ["no", []])
def test_an_unknown_request_is_named(home, wanted):
    """What this daemon does not do is said with its name."""
    answer = json.loads(raw(home, json.dumps({"do": wanted}).encode() + b"\n"))
    assert f"does not do '{wanted}'" in answer["error"]["what"]


def test_a_large_request_is_whole(home):
    """A line of megabytes comes through."""
    text = "x" * (MAX_REQUEST_BYTES // 2)
    assert call(home, "echo", text=text) == {"text": text}


def test_a_request_without_end_is_refused(home):
    """Past the limit nothing more is read; whoever sent it learns that, and the daemon goes on."""
    with pytest.raises(RemoteError):
        call(home, "echo", text="x" * (MAX_REQUEST_BYTES + 1))
    assert call(home, "echo") == {}


def test_many_ask_at_once(home):
    """Requests do not mix."""
    found: queue.Queue[bool] = queue.Queue()
    threads = [threading.Thread(target=lambda n=n: found.put(call(home, "echo", n=n) == {"n": n})) for n in range(20)]
    for thread in threads:
        thread.start()
    assert all(found.get(timeout=DEADLINE_S) for _ in threads)


def test_whoever_hangs_up_does_no_harm(home):
    """A caller that goes away before its answer ends nothing but its own request."""
    for _ in range(5):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            stream.connect(str(home / SOCKET))
            stream.sendall(b'{"do": "echo"}\n')
    assert call(home, "echo") == {}


def test_the_socket_is_its_owner_s(home):
    """Socket and directory admit the user that runs the daemon and nobody else."""
    assert (home / SOCKET).stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_turned_away(home):
    """Even in a directory that everybody may pass through, the kernel refuses another user's connection."""
    for directory in (home, *list(home.parents)[:3]):
        directory.chmod(0o755)
    script = "import os, socket, sys; os.setuid(65534); socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    other = subprocess.run(
        [sys.executable, "-c", script, str(home / SOCKET)], capture_output=True, text=True, check=False
    )
    assert "PermissionError" in other.stderr
    assert call(home, "echo") == {}


def test_no_daemon_is_no_answer(tmp_path):
    """Without a daemon, or with the socket of one that died, the caller is told at once."""
    with pytest.raises(ConnectionRefusedError):
        call(tmp_path, "echo")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left_behind:
        left_behind.bind(str(tmp_path / SOCKET))
    with pytest.raises(ConnectionRefusedError):
        call(tmp_path, "echo")


def test_a_daemon_that_dies_first_is_said_so(tmp_path):
    """A request whose daemon ends before the answer is an error with the next step, not a traceback."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / SOCKET))
        listener.listen()

        def die() -> None:
            stream, _ = listener.accept()
            stream.recv(1 << 16)
            stream.close()

        thread = threading.Thread(target=die)
        thread.start()
        with pytest.raises(RemoteError, match="ended before it answered; see its operational log"):
            call(tmp_path, "echo")
        thread.join(DEADLINE_S)


def test_a_home_deep_down_is_reached_from_nearby(tmp_path, monkeypatch):
    """Sockets have short paths: seen from its directory a home may lie anywhere, else the line says what to do."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with pytest.raises(SettingsError, match="too long a path for a socket; choose a shorter --home"):
        call(deep, "echo")
    monkeypatch.chdir(deep)
    with pytest.raises(ConnectionRefusedError):
        call(deep, "echo")
