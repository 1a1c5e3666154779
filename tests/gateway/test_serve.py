"""The gateway as a process, what it leaves on the disk, and peers that fall silent."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from gateway.access.logins import COOKIE
from gateway.client import Gateway
from gateway.home import SERVING_FILE, init, invite
from gateway.storage.database import FILE as STORE_FILE
from parties.audit.entries import decode
from parties.audit.events import CertificateExpiring
from parties.audit.log import FILE_NAME as AUDIT_FILE
from parties.audit.snapshot import take
from parties.audit.verify import verify
from parties.errors import AuditError, SettingsError
from parties.keys.tls import DAEMON_DAYS, split_address
from parties.service.lifecycle import State
from parties.service.messages import Finished, Progress, SignedTranscript, Stop, Welcome, Withdraw

SERVE = (
    "import sys, pathlib, gateway.serve; gateway.serve.serve(pathlib.Path(sys.argv[1])); print('torch' in sys.modules)"
)


@contextmanager
def process(home: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, object]]]:
    """A gateway's process and the line that it prints when ready."""
    command = [sys.executable, "-W", "error", "-c", SERVE, str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout is not None
            yield started, json.loads(started.stdout.readline())
        finally:
            started.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_serves_and_ends(house, number: signal.Signals):
    """The process says when it listens, ends cleanly when told to, and has not loaded torch by then."""
    with process(house.home) as (gateway, ready):
        assert ready["ready"] is True
        house.serving = type(house.serving)(**{name: str(ready[name]) for name in ("rest", "control", "url")})
        with house.client() as client:
            assert client.sessions() == []
        daemon = house.joined("clinic-a")
        gateway.send_signal(number)
        out, err = gateway.communicate(timeout=30)
        assert (gateway.returncode, out) == (0, "False\n"), err
        assert daemon.incoming.get(timeout=30) is None
    assert not (house.home / SERVING_FILE).exists()
    assert not list(house.home.glob("*-wal"))


def test_every_line_about_a_session_has_its_id(house, make_plan):
    """Those of a participant's message and of a request by its path, as the process writes them; others have none."""
    other = "ab" * 32
    with process(house.home) as (gateway, ready):
        house.serving = type(house.serving)(**{name: str(ready[name]) for name in ("rest", "control", "url")})
        consortium = house.consortium()
        with house.client() as client:
            session = client.propose(make_plan()).id
            consortium.proposed()
            nobody = SignedTranscript(peer="nobody", public_key="11" * 32, session=session, envelope={})
            consortium.a.say(nobody).say(Withdraw(session=session, envelope={})).settled()
            consortium.a.say(Progress(session=other, iteration=0, of=0, rounds=0, bytes_sent=0))
            assert consortium.a.hear(Stop).session == other
            client.cancel(session)
        house.hang_up()
        gateway.send_signal(signal.SIGTERM)
        _, err = gateway.communicate(timeout=30)
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]  # gRPC has words of its own
    said = {(line["event"], line.get("session")) for line in lines}
    assert said >= {
        ("message for nobody", session),
        ("a withdrawal that does not hold", session),
        ("message about a foreign session", other),
        ("session", session),
        ("connected", None),
    }
    (cancelled,) = [line for line in lines if line.get("state") == "cancelled"]
    assert (cancelled["session"], len(cancelled["request"])) == (session, 16)


def test_killed_process_leaves_everything_usable(house):
    """After a kill the next start finds store and log whole."""
    with process(house.home) as (gateway, _):
        invite(house.home, "clinic-a")
        gateway.kill()
        gateway.wait(30)
    (house.home / SERVING_FILE).unlink(missing_ok=True)
    with house.serve(), house.client() as client:
        assert [found.name for found in client.participants()] == ["clinic-a"]
    assert verify(house.home / AUDIT_FILE).ok


def test_one_process_a_home(gateway):
    """A second gateway on the same directory is refused before it does anything."""
    with pytest.raises(AuditError), gateway.serve():
        pass


def test_taken_port_is_named(house):
    """A port that something else has is an error that names the setting."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for key in ("rest_address", "control_address"):
            house.change(f'{key} = "127.0.0.1:0"', f'{key} = "{address}"')
            with pytest.raises(SettingsError, match=key), house.serve():
                pass
            house.change(f'{key} = "{address}"', f'{key} = "127.0.0.1:0"')


def test_second_gateway_can_not_share_a_port(gateway, tmp_path: Path):
    """Two gateways never listen on one control port, each getting some of the daemons."""
    other = type(gateway)(tmp_path / "other")
    other.change('control_address = "127.0.0.1:0"', f'control_address = "{gateway.serving.control}"')
    with pytest.raises(SettingsError, match="control_address"), other.serve():
        pass


def test_invitation_needs_an_address(tmp_path: Path):
    """With an open port and no gateway running there is no address to invite to; with a set one there is."""
    init(tmp_path / "open", control="127.0.0.1:0")
    with pytest.raises(SettingsError, match="no gateway runs in"):
        invite(tmp_path / "open", "clinic-a")
    init(tmp_path / "set")
    assert invite(tmp_path / "set", "clinic-a").startswith("privity1_")


def test_store_holds_what_sessions_need_and_no_secret(house, make_plan):
    """On the disk after a session are the tables that are meant to be, and no token or other secret in them."""
    with house.serve(), house.client() as client:
        consortium = house.consortium()
        session = client.propose(make_plan(), "named-by-the-client").id
        consortium.started()
        consortium.a.say(Progress(session=session, iteration=3, of=300, rounds=9, bytes_sent=8, loss=0.25)).settled()
        for daemon in consortium.everybody:
            daemon.say(Finished(session=session, seconds=1, rounds=9, bytes_sent=8)).settled()
        with httpx2.Client() as browser:
            browser.get(client.login())
            cookie, unused = browser.cookies[COOKIE], client.login().partition("=")[2]
        house.hang_up()
    with closing(sqlite3.connect(house.home / STORE_FILE)) as store:
        assert store.execute("SELECT count(*) FROM logins").fetchone() == (2,)
        tables = {name for (name,) in store.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        of_each = {"approvals", "withdrawals", "progress", "reports", "waiting"}
        several = {"gateways", "connections", "posts", "relayed"}
        assert tables - {"alembic_version"} - of_each - several == {
            "participants",
            "data_sets",
            "sessions",
            "taking_part",
            "partners",
            "cosigned",
            "logins",
            "tokens",
            "keyed_proposals",
            "links",
        }
        assert of_each | several <= tables
        (progress,) = store.execute("SELECT content FROM progress").fetchall()
        assert json.loads(progress[0])["loss"] == 0.25
        assert store.execute("SELECT count(*) FROM approvals").fetchone() == (3,)
        assert store.execute("SELECT state FROM sessions").fetchone() == ("completed",)
    everything = b"".join(path.read_bytes() for path in house.home.glob("*.sqlite"))
    for daemon in consortium.everybody:
        assert daemon.invitation.token().encode() not in everything
        assert daemon.invitation._seed not in everything
    for secret in (house.token, cookie, unused):
        assert secret.encode() not in everything
    assert b"named-by-the-client" not in everything


def test_log_tells_the_whole_story(house, make_plan):
    """Every act of the gateway stands in its log, in order, and the log verifies."""
    with house.serve(), house.client() as client:
        consortium = house.consortium()
        session = client.propose(make_plan()).id
        consortium.started()
        client.cancel(session)
        house.hang_up()
    assert verify(house.home / AUDIT_FILE).ok
    with closing(sqlite3.connect(house.home / AUDIT_FILE)) as log:
        rows = log.execute("SELECT content FROM entries ORDER BY number").fetchall()
    entries = [decode(content) for (content,) in rows]
    types = [entry.event.type for entry in entries]
    joining = ["gateway:invitation:made", "gateway:invitation:used", "gateway:node:joined"]
    assert types == [
        "log:file:created",
        "daemon:service:started",
        *joining * 3,
        "gateway:session:proposed",
        *["gateway:approval:stored"] * 3,
        "session:run:started",
        "session:run:cancelled",
        "daemon:service:stopped",
    ]
    assert {entry.event.subject for entry in entries[11:17]} == {session}


class Detour:
    """A TCP relay that can fall silent without closing anything, as a cut cable does."""

    def __init__(self, target: str) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._target = split_address(target)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._ends: list[socket.socket] = []
        self.silent = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            near, _ = self._listener.accept()
            far = socket.create_connection(self._target)
            self._ends = [near, far]
            for pair in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=self._relay, args=pair))
                self._threads[-1].start()

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                if not self.silent.is_set():
                    sink.sendall(content)

    def close(self) -> None:
        for end in [self._listener, *self._ends]:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join(30)


def test_silent_machine_is_noticed(gateway, client: Gateway, make_plan):
    """A participant whose machine falls silent, its connection still open, fails the session within ten seconds."""
    consortium = gateway.consortium()
    detour = Detour(gateway.serving.control)
    try:
        detoured = gateway.again(consortium.b).dial(address=detour.address)
        detoured.hear(Welcome)
        consortium.b = detoured
        session = client.propose(make_plan()).id
        consortium.started()
        detour.silent.set()
        fault = consortium.a.incoming.get(timeout=11).fault
        assert fault.who == "clinic-b"
        assert client.session(session).state is State.FAILED
        assert consortium.dealer.hear(Stop).fault == fault
    finally:
        gateway.hang_up()
        detour.close()


def test_a_certificate_that_ends_is_recorded(house):
    """From thirty days before its end the gateway's certificate is in its log at each start, and not before."""
    for ahead, recorded in ((timedelta(days=DAEMON_DAYS - 31), []), (timedelta(days=DAEMON_DAYS - 29), [28])):
        house.time_ahead = ahead
        with house.serve():
            pass
        events = [entry.event for entry in take(house.home / "audit.sqlite").entries()]
        assert [event.days for event in events if isinstance(event, CertificateExpiring)] == recorded
