"""`privity doctor` finds what is wrong with a home, says what to do, and changes nothing."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from parties.agreement.contract import Approval, sign_approval
from parties.audit.log import AuditLog
from parties.data.vault import Vault
from parties.doctor import files, machine, network, others
from parties.doctor.examination import examine
from parties.doctor.symptom import Symptom, examined
from parties.errors import ContractError, GatewayError
from parties.keys.identity import Identity
from parties.keys.partners import Partners
from parties.keys.tls import DAEMON_DAYS, Invitation, TlsKey, utc_now
from parties.service import local
from parties.service.home import Home, init
from parties.service.standing import Disk
from parties.service.store import SessionStore
from tests.parties.doors import opened

DEADLINE_S = 60


@contextmanager
def gateway(key: TlsKey, place: Path) -> Iterator[str]:
    """A server that shows a certificate and hangs up; its address."""
    file = place / "server.pem"
    file.write_bytes(key.key_pem + key.certificate.encode())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                raw, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(raw, server_side=True):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        socket.create_connection(listener.getsockname()).close()
        thread.join(DEADLINE_S)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def made(place: Path, role: str = "party", address: str = "127.0.0.1:1", sha256: str = "ab" * 32) -> Home:
    """A home as `init` and an operator's first steps leave it."""
    token = Invitation.create("clinic-a", address, sha256).token()
    home = init(place / "home", role, token, f"127.0.0.1:{free_port()}", utc_now())
    AuditLog.open(home.path("audit.sqlite"), home.identity, "clinic-a").close()
    Partners(home.path("partners.json")).add("clinic-b", Identity.generate().fingerprint)
    return home


@pytest.fixture
def home(tmp_path) -> Home:
    return made(tmp_path)


def settings(home: Home, **changed: str) -> Home:
    """Settings with other lines."""
    path = home.path("settings.toml")
    kept = [line for line in path.read_text().splitlines() if line.partition(" ")[0] not in changed]
    path.write_text("\n".join([*kept, *(f"{key} = {json.dumps(value)}" for key, value in changed.items())]))
    return home


def found(about: str, symptoms: Iterator[Symptom]) -> Symptom:
    """The one symptom about this."""
    (one,) = [one for one in symptoms if one.about == about]
    return one


def seen(place: Path) -> dict[str, tuple[int, int, int]]:
    """Every file as it is: mode, size and time of the last change."""
    return {
        str(path): ((at := path.lstat()).st_mode, at.st_size, at.st_mtime_ns) for path in (place, *place.rglob("*"))
    }


def test_a_healthy_home_needs_nothing(tmp_path):
    """Every examination says something, nothing is to be mended, and nothing was changed by looking."""
    key = TlsKey.generate("gateway", now=utc_now())
    with gateway(key, tmp_path) as address:
        home = made(tmp_path, address=address, sha256=key.sha256)
        before = seen(home.directory)
        symptoms = list(examine(home, utc_now()))
    assert [one for one in symptoms if one.state == "mend"] == []
    assert {one.about for one in symptoms} == {
        *("rights", "identity", "certificates", "clock", "log", "partners", "gateway", "versions", "disk", "entropy"),
        *("listen", "advertise", "policy", "vault", "gpu", "partner clinic-b"),
    }
    assert seen(home.directory) == before


def test_a_dealer_has_neither_vault_nor_policy(tmp_path):
    """What a dealer does not have is not looked for."""
    about = {one.about for one in examine(made(tmp_path, "dealer"), utc_now())}
    assert about & {"vault", "policy", "gpu"} == set()
    assert {"log", "partners", "gateway"} <= about


def test_the_command_says_it_by_line_by_json_and_by_status(home):
    """One line each with what to do; the same as JSON; exit status 1, for the gateway is away."""
    plain = CliRunner().invoke(app, ["doctor", "--home", str(home.directory)])
    told = CliRunner().invoke(app, ["doctor", "--home", str(home.directory), "--json"])
    assert (plain.exit_code, told.exit_code) == (1, 1)
    symptoms = json.loads(told.stdout)
    assert len(plain.stdout.splitlines()) == len(symptoms)
    assert "mend  gateway: 127.0.0.1:1 does not answer (Connection refused); ask its operator" in plain.stdout
    (away,) = [one for one in symptoms if one["state"] == "mend"]
    assert away["about"] == "gateway"
    assert all(one["action"] for one in symptoms if one["state"] != "ok")


def test_a_well_home_ends_with_status_0(tmp_path):
    """So that a monitor may rely on it."""
    key = TlsKey.generate("gateway", now=utc_now())
    with gateway(key, tmp_path) as address:
        home = made(tmp_path, address=address, sha256=key.sha256)
        assert CliRunner().invoke(app, ["doctor", "--home", str(home.directory)]).exit_code == 0


def test_no_home_is_an_error_of_one_line(tmp_path):
    """As at every other command."""
    result = CliRunner().invoke(app, ["doctor", "--home", str(tmp_path)])
    assert "is no home of a node or a dealer" in str(result.exception)


def test_another_certificate_at_the_gateway_s_address_is_found(tmp_path):
    """Something sits in between, or the gateway was made anew."""
    key, other = (TlsKey.generate("gateway", now=utc_now()) for _ in range(2))
    with gateway(other, tmp_path) as address:
        home = made(tmp_path, address=address, sha256=key.sha256)
        one = found("gateway", examined("gateway", lambda: network.gateway(home, None, utc_now())))
    assert one.state == "mend"
    assert "another certificate than the invitation names" in one.what


def test_a_certificate_of_the_gateway_that_has_ended_is_found(tmp_path):
    """The one that the invitation names, and too old: no stream begins under it."""
    key = TlsKey.generate("gateway", now=utc_now() - timedelta(days=30), days=29)
    with gateway(key, tmp_path) as address:
        home = made(tmp_path, address=address, sha256=key.sha256)
        one = found("gateway", network.gateway(home, None, utc_now()))
    assert (one.state, "which has ended" in one.what) == ("mend", True)


def test_a_daemon_that_is_not_connected_is_found(tmp_path):
    """The gateway answers, but the daemon's stream is down."""
    key = TlsKey.generate("gateway", now=utc_now())
    with gateway(key, tmp_path) as address:
        home = made(tmp_path, address=address, sha256=key.sha256)
        _, second = network.gateway(home, {"gateway": False}, utc_now())
        assert second.state == "mend"
        assert len(list(network.gateway(home, {"gateway": True}, utc_now()))) == 1


# addresses


def test_a_port_of_another_program_is_found(home):
    """No daemon of ours runs, and its port is taken."""
    with socket.create_server(tuple(network.parse_address(home.settings.listen))):
        (one,) = network.address(home, None)
    assert (one.about, one.state) == ("listen", "mend")
    assert "stop the other program" in one.action


def test_the_daemon_s_own_port_is_not_another_s(home):
    """What a running daemon holds is its own, and others are led to it."""
    with socket.create_server(tuple(network.parse_address(home.settings.listen))):
        symptoms = list(network.address(home, {"endpoint": home.settings.listen}))
    assert [(one.about, one.state) for one in symptoms] == [("listen", "ok"), ("advertise", "ok")]


def test_an_address_that_is_no_machine_s_must_not_be_told(home):
    """0.0.0.0 means every address here and none elsewhere."""
    settings(home, listen=f"0.0.0.0:{free_port()}")
    assert found("advertise", network.address(home, None)).state == "mend"


def test_a_name_that_nobody_knows_is_found(home):
    """An advertised name that does not resolve leads nowhere from anywhere."""
    settings(home, advertise="nobody.invalid:8480")
    one = found("advertise", network.address(home, None))
    assert (one.state, "can't be resolved" in one.what) == ("mend", True)


def test_an_address_that_does_not_answer_here_may_from_outside(home):
    """A firewall that translates addresses may answer from outside alone: told, not failed."""
    settings(home, advertise=f"127.0.0.1:{free_port()}")
    one = found("advertise", network.address(home, None))
    assert (one.state, "does not answer from here" in one.what) == ("note", True)


def test_an_address_that_leads_elsewhere_is_told(home):
    """Something takes the call, but not the port that the daemon would have."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings(home, advertise=f"127.0.0.1:{other.getsockname()[1]}")
        one = found("advertise", network.address(home, None))
    assert (one.state, "does not arrive here" in one.what) == ("note", True)


def test_a_port_that_changes_is_told(home):
    """Port 0 serves one machine."""
    settings(home, listen="127.0.0.1:0")
    assert [one.state for one in network.address(home, None)] == ["note", "ok", "ok"]


def test_a_silent_daemon_is_found(home):
    """A socket that takes the question and never answers; the port is not called another program's."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(home.path(local.SOCKET)))
        silent.listen()
        symptoms = list(examine(home, utc_now(), daemon_s=0.2))
    assert found("daemon", symptoms).state == "mend"
    assert "listen" not in {one.about for one in symptoms}


# partners

UNHEARD = GatewayError("none answers", action="look")


def port_of(home: Home, *, dialled: str = "", dial_s: float = 5) -> Symptom:
    """What is said of the one partner's port."""
    return found("partner clinic-b", others.partners(home, UNHEARD, {"clinic-b": dialled} if dialled else {}, dial_s))


@contextmanager
def answering(words: bytes) -> Iterator[str]:
    """A port that says something, or takes calls and says nothing; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as raw, suppress(ConnectionResetError):
                raw.sendall(words)
                while raw.recv(1000):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(DEADLINE_S)


def test_a_partner_s_open_port_is_called_in_no_session_s_name(home):
    """A real one takes the call and hangs up; what that does not show, a key, is said; no session hears of it."""
    with opened() as door, door.inbox("11" * 32) as inbox:
        one = port_of(home, dialled=door.endpoint)
        inbox.setblocking(False)
        with pytest.raises(BlockingIOError):
            inbox.recv(1)
    assert (one.state, "its TLS key shows in them alone" in one.what) == ("ok", True)


def test_a_partner_s_closed_port_is_found(home):
    """Nobody listens; whether the partner is down or a route is missing, only the gateway could tell."""
    one = port_of(home, dialled=f"127.0.0.1:{free_port()}")
    assert (one.state, "does not answer (Connection refused)" in one.what) == ("note", True)


def test_a_partner_s_name_that_nobody_knows_is_found(home):
    """An address that does not resolve."""
    assert "can't be resolved" in port_of(home, dialled="nobody.invalid:8480").what


@pytest.mark.parametrize(("words", "said"), [(b"SSH-2.0-x\r\n", "answers with words"), (b"", "no answer in time")])
def test_another_program_at_a_partner_s_port_is_found(home, words, said):
    """A participant's port never speaks first, and hangs up on a call of no session."""
    with answering(words) as address:
        assert said in port_of(home, dialled=address, dial_s=0.5).what


def test_a_partner_s_port_is_where_its_newest_approval_says(home, contract):
    """Of two sessions the later one's address counts; without any, the operator is told how to give one."""
    assert "not known here" in port_of(home).what
    store, partner = SessionStore(home.path("state.sqlite")), Identity.generate()
    with opened() as door:
        for digest, endpoint in (("aa" * 32, "127.0.0.1:1"), ("11" * 32, door.endpoint)):
            store.receive(digest, contract.canonical().decode())
            approval = Approval(
                contract=digest, name="clinic-b", role="party", certificate=home.tls.certificate, endpoint=endpoint
            )
            store.keep_approvals(digest, {"clinic-b": sign_approval(partner, approval)})
        one = port_of(home)
    assert (one.state, door.endpoint in one.what) == ("ok", True)


def test_sessions_that_can_not_be_read_are_found(home):
    """A state file that is none is a finding, not a traceback."""
    home.path("state.sqlite").write_bytes(b"x" * 5000)
    (one,) = examined("each partner", lambda: others.partners(home, UNHEARD, {}))
    assert (one.state, "can't be read" in one.what) == ("mend", True)


def test_a_dealer_dials_nobody(tmp_path):
    """So partners' ports are no matter of its home."""
    assert list(others.partners(made(tmp_path, "dealer"), UNHEARD, {})) == []


def test_an_address_to_dial_must_be_one(home):
    """Anything else is an error of one line, before anything is looked at."""
    result = CliRunner().invoke(app, ["doctor", "--home", str(home.directory), "--dial", "clinic-b"])
    assert "is not NAME=HOST:PORT" in str(result.exception)


def test_a_gateway_of_an_earlier_release_is_told(tmp_path):
    """It has no such method, and the line says so in words."""
    key = TlsKey.generate("gateway", now=utc_now())
    server = grpc.server(ThreadPoolExecutor(1))
    pair = [(key.key_pem, key.certificate.encode())]
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pair))
    server.start()
    try:
        heard = others.hear(made(tmp_path, address=f"127.0.0.1:{port}", sha256=key.sha256))
    finally:
        server.stop(None).wait(DEADLINE_S)
    assert isinstance(heard, GatewayError)
    assert "is of a release that tells no time" in heard.what


def test_a_gateway_that_tells_no_time_is_worth_knowing():
    """Then nothing is known of clocks, and the line says why."""
    (one,) = others.clock(UNHEARD)
    assert (one.state, one.action) == ("note", "look")
    assert list(others.release(UNHEARD)) == []


# files


@pytest.mark.parametrize(("name", "mode"), [("identity.pem", 600), ("vault.key", 600), ("results", 700), ("", 700)])
def test_rights_that_are_too_wide_are_found(home, name, mode):
    """A secret that others may read, with the command that mends it."""
    home.path(name).chmod(0o755)
    one = found("rights", files.rights(home))
    assert (one.state, one.action) == ("mend", f"run: chmod {mode} {home.path(name)}")
    home.path(name).chmod(int(str(mode), 8))
    assert found("rights", files.rights(home)).state == "ok"


def altered(home: Home, name: str, content: bytes | None) -> None:
    path = home.path(name)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


DAMAGE = {
    "no identity": ("identity.pem", None, "identity"),
    "an identity that is none": ("identity.pem", b"x", "identity"),
    "no certificate": ("tls.pem", None, "certificates"),
    "no log": ("audit.sqlite", None, "log"),
    "a log that is none": ("audit.sqlite", b"x" * 5000, "log"),
    "partners that are none": ("partners.json", b"[]", "partners"),
    "no policy": ("policy.toml", None, "policy"),
    "a policy with a slip": ("policy.toml", b"min_training_rows = -1\n", "policy"),
    "no vault key": ("vault.key", None, "vault"),
    "half a vault key": ("vault.key", b"x", "vault"),
    "a rotation of the identity that was broken off": ("identity.next.pem", b"x", "identity"),
    "a rotation of the vault's key that was broken off": ("vault.key.next", b"x", "vault"),
}


@pytest.mark.parametrize(("name", "content", "about"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_found_and_does_not_hide_the_rest(home, name, content, about):
    """Each is named with what to do, and all other examinations are made all the same."""
    home.path("vault").mkdir(mode=0o700)
    altered(home, name, content)
    symptoms = list(examine(home, utc_now()))
    one = [one for one in symptoms if one.about == about and one.state == "mend"]
    assert one, [one.line() for one in symptoms]
    assert {"disk", "entropy", "listen", "gpu"} <= {one.about for one in symptoms}


def test_the_key_of_another_vault_is_found(home):
    """The file is a key, and not this vault's."""
    Vault(home.path("vault"), home.master_key()).check_key()
    assert found("vault", files.vault(home, daemon_runs=False)).state == "ok"
    home.path("vault.key").write_bytes(os.urandom(32))
    one = found("vault", examined("vault", lambda: files.vault(home, daemon_runs=False)))
    assert "another vault key" in one.what


def test_a_key_in_the_daemon_s_environment_alone_is_no_fault(home, monkeypatch):
    """The operator's shell need not have what the unit has; without a daemon it is missed."""
    monkeypatch.delenv("PRIVITY_VAULT_KEY", raising=False)
    settings(home, vault_key="env:PRIVITY_VAULT_KEY")
    assert found("vault", files.vault(home, daemon_runs=True)).state == "note"
    assert found("vault", examined("vault", lambda: files.vault(home, daemon_runs=False))).state == "mend"


def test_nobody_confirmed_and_keys_that_wait(home):
    """Without partners nothing is signed; a key that was handed over to waits for the operator."""
    partners = Partners(home.path("partners.json"))
    partners.offer("clinic-b", Identity.generate().fingerprint)
    assert [one.state for one in files.partners(home)] == ["ok", "note"]
    partners.remove("clinic-b")
    assert [one.state for one in files.partners(home)] == ["mend"]


@pytest.mark.parametrize(("days", "state"), [(31, "ok"), (29, "note"), (-1, "mend")])
def test_certificates_that_end_are_told_in_time(home, days, state):
    """A month before it is news; once it is over it must be mended."""
    now = utc_now() + timedelta(days=DAEMON_DAYS - days, minutes=-1)
    assert found("certificates", files.certificates(home, now)).state == state


def test_a_clock_behind_what_was_written_is_found(home):
    """The log's newest entry, or a certificate, that is ahead of the clock shows that it was set back."""
    assert found("clock", files.clock(home, utc_now())).state == "ok"
    (one,) = files.clock(home, utc_now() - timedelta(minutes=5))
    assert (one.state, "newest entry" in one.what) == ("mend", True)
    assert len(list(files.clock(home, utc_now() - timedelta(hours=2)))) == 2


def test_a_log_is_looked_at_while_its_daemon_writes_it(home):
    """The writer's lock is not asked for."""
    with AuditLog.open(home.path("audit.sqlite"), home.identity, "clinic-a"):
        assert found("log", files.log(home)).state == "ok"


def test_a_log_of_another_key_is_found(home):
    """An identity that was put in the place of the one that signed."""
    home.path("identity.pem").unlink()
    Identity.generate().save(home.path("identity.pem"))
    assert "is not the log of clinic-a" in found("log", examined("log", lambda: files.log(home))).what


# the machine


@pytest.mark.parametrize(("free", "state"), [(1 << 20, "mend"), (1 << 30, "note"), (1 << 40, "ok")])
def test_a_disk_that_fills_is_told(free, state):
    """What can't be recorded is not done."""
    assert found("disk", machine.disk(Disk(free_bytes=free, total_bytes=1 << 41))).state == state


def test_a_daemon_of_another_version_is_told():
    """After an update it must be restarted; one that does not say its version is an earlier one."""
    (installed,) = machine.versions(None)
    assert "crypten" in installed.what
    version = installed.what.split("privity ")[1].split(",")[0]
    assert len(list(machine.versions({"version": version}))) == 1
    assert found("versions", list(machine.versions({"version": "0.0.1"}))[1:]).state == "note"
    assert "an earlier one" in list(machine.versions({}))[1].what


def test_a_missing_library_is_found():
    """An installation that was broken is told with the command that mends it."""
    (one,) = machine.versions(None, ("privity", "no-such-library"))
    assert (one.state, "no-such-library" in one.what) == ("mend", True)


def test_a_generator_without_a_seed_is_found(monkeypatch):
    """Keys must not be made before."""

    def unseeded(*_: int) -> bytes:
        raise BlockingIOError

    assert found("entropy", machine.entropy()).state == "ok"
    monkeypatch.setattr(os, "getrandom", unseeded)
    assert found("entropy", machine.entropy()).state == "mend"


def test_a_gpu_is_told_by_its_driver_s_files(tmp_path):
    """Without loading the engine."""
    card = tmp_path / "gpus" / "0000:01:00.0"
    card.mkdir(parents=True)
    (card / "information").write_text("Model: \t\t NVIDIA H100\nIRQ:   12\n")
    (tmp_path / "gpus" / "0000:02:00.0").mkdir()
    there, nowhere = tmp_path / "gpus", tmp_path / "nowhere"
    assert "NVIDIA H100, unknown" in found("gpu", machine.gpu("auto", there)).what
    assert "is not used" in found("gpu", machine.gpu("cpu", there)).what
    assert "none" in found("gpu", machine.gpu("auto", nowhere)).what
    assert found("gpu", machine.gpu("cpu", nowhere)).state == "ok"
    assert found("gpu", machine.gpu("cuda", there)).state == "ok"


def test_a_gpu_that_is_asked_for_and_missing_is_to_be_mended(tmp_path):
    """Else the operator learns of it when a session fails."""
    symptom = found("gpu", machine.gpu("cuda", tmp_path / "nowhere"))
    assert symptom.state == "mend"
    assert "device" in symptom.action


def test_an_examination_that_fails_is_a_finding():
    """Whatever it meets, ours or the system's."""

    def ours() -> Iterator[Symptom]:
        raise ContractError("broken", action="mend it")
        yield

    def systems() -> Iterator[Symptom]:
        raise PermissionError(13, "Permission denied", "/some/file")
        yield

    assert [one.line() for one in examined("x", ours)] == ["mend  x: broken; mend it"]
    assert found("x", examined("x", systems)).what == "/some/file: Permission denied"
