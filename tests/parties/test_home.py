"""A home is made whole or not at all, nobody else can read it, and nothing from outside gets into its settings."""

from __future__ import annotations

import base64
import re
import socket
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parties.agreement.policy import Policy, load_policy
from parties.data.vault_key import load_master_key
from parties.errors import PartnerError, SettingsError
from parties.keys.identity import Identity
from parties.keys.tls import Invitation, TlsKey, certificate_sha256, utc_now, worker_context
from parties.service.home import Home, Settings, init

DEADLINE_S = 30


def token(name: str = "clinic-a", address: str = "127.0.0.1:8471", sha256: str = "ab" * 32) -> str:
    return Invitation.create(name, address, sha256).token()


def made(directory: Path, role: str = "party") -> Home:
    return init(directory, role, token(), "127.0.0.1:0", utc_now())


@pytest.mark.parametrize("role", ["party", "dealer"])
def test_only_its_owner_reads_a_home(tmp_path, role):
    """The directory is 0700, every file in it 0600, and a dealer has neither vault nor policy."""
    home = made(tmp_path / "deep" / "home", role)
    assert home.directory.stat().st_mode & 0o777 == 0o700
    files = [path for path in home.directory.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    names = {"identity.pem", "tls.pem", "settings.toml"}
    assert {path.name for path in files} == (names | {"vault.key", "policy.toml"} if role == "party" else names)


def test_a_home_has_what_its_daemon_needs(tmp_path):
    """Settings say what the invitation said, keys load, and the policy is the one that asks for everything."""
    home = made(tmp_path / "home")
    assert home.settings == Settings(
        name="clinic-a",
        role="party",
        listen="127.0.0.1:0",
        page="127.0.0.1:0",
        gateway="127.0.0.1:8471",
        gateway_certificate_sha256="ab" * 32,
    )
    assert home.identity.fingerprint
    assert home.tls.sha256 == certificate_sha256(home.tls.certificate)
    assert load_policy(home.path("policy.toml")) == Policy()
    load_master_key(home.path("vault.key"))


@pytest.mark.parametrize("role", ["party", "dealer"])
@pytest.mark.parametrize(
    "page", ["0.0.0.0:8481", "10.0.0.1:0", "clinic.example.org:1", "127.0.0.1", "127.0.0.1:70000", "x"]
)
def test_a_page_is_loopback_s_alone(tmp_path, role, page):
    """A page that others could reach is a setting that does not hold, and no dealer has one."""
    home = made(tmp_path / "home", role)
    path = home.path("settings.toml")
    before = path.read_text()
    for wrong in (page, "127.0.0.1:1") if role == "dealer" else (page,):
        path.write_text(re.sub('page = ".*"', f'page = "{wrong}"', before))
        with pytest.raises(SettingsError, match="page"):
            _ = home.settings


@pytest.mark.parametrize("page", ["", "127.0.0.1:0", "localhost:8481", "127.9.9.9:8481", "[::1]:8481"])
def test_a_page_may_be_anywhere_on_loopback(tmp_path, page):
    """Or nowhere."""
    home = made(tmp_path / "home")
    path = home.path("settings.toml")
    path.write_text(path.read_text().replace('page = "127.0.0.1:0"', f'page = "{page}"'))
    assert home.settings.page == page


def test_every_setting_is_explained(tmp_path):
    """Each key in the file has a comment above it; the comments are the manual."""
    lines = made(tmp_path / "home").path("settings.toml").read_text().splitlines()
    for key in Settings.model_fields:
        (number,) = [number for number, line in enumerate(lines) if line.startswith(f"{key} = ")]
        assert lines[number - 1].startswith("# "), key


def test_two_homes_share_no_key(tmp_path):
    """Keys are made, never derived: two homes of one invitation differ in all of them."""
    same = token()
    one, two = (init(tmp_path / name, "party", same, "127.0.0.1:0", utc_now()) for name in ("one", "two"))
    assert one.identity.fingerprint != two.identity.fingerprint
    assert one.tls.sha256 != two.tls.sha256
    assert one.path("vault.key").read_bytes() != two.path("vault.key").read_bytes()


def test_a_home_is_not_made_twice(tmp_path):
    """The keys of a home that stands are never replaced."""
    home = made(tmp_path / "home")
    before = {path: path.read_bytes() for path in home.directory.rglob("*") if path.is_file()}
    with pytest.raises(SettingsError, match="is a home already"):
        made(tmp_path / "home")
    assert {path: path.read_bytes() for path in home.directory.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("in_the_way", ["identity.pem", "tls.pem", "vault.key", "results", "policy.toml"])
def test_a_failure_leaves_what_was_there(tmp_path, in_the_way):
    """Wherever making a home stops, what it had made is gone, and what was there before is as it was."""
    directory = tmp_path / "home"
    directory.mkdir()
    (directory / in_the_way).write_text("mine")
    with pytest.raises(SettingsError):
        made(directory)
    assert [path.name for path in directory.iterdir()] == [in_the_way]
    assert (directory / in_the_way).read_text() == "mine"


def test_a_path_that_can_be_no_home_is_said_so(tmp_path):
    """A file in the way is one line, and stays."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SettingsError, match="can't be a home: Not a directory"):
        made(tmp_path / "file" / "home")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "bad",
    ["", "x", "privity1_", "privity1_AAAA", "privity2_" + "A" * 90, "privity1_" + "A" * 90, "privity1_\u00e9"],
)
def test_what_is_no_invitation_makes_no_home(tmp_path, bad):
    """A token that was cut off or mistyped is told, and nothing is left."""
    with pytest.raises(SettingsError, match=r"not an invitation; copy the whole token"):
        init(tmp_path / "home", "party", bad, "127.0.0.1:0", utc_now())
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ('x"\nrole = "dealer', "127.0.0.1:8471"),
        ("Clinic A", "127.0.0.1:8471"),
        ("clinic-a", '127.0.0.1:1"\nlisten = "0.0.0.0:1'),
        ("clinic-a", "nowhere"),
    ],
)
def test_an_invitation_can_not_write_settings(tmp_path, name, address):
    """What a token holds comes from outside: it is checked as settings are, before a file is made."""
    with pytest.raises(SettingsError, match="no home comes of this"):
        init(tmp_path / "home", "party", token(name, address), "127.0.0.1:0", utc_now())
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("listen", ["", "8471", "host:", 'h"x:1', "a\nb:1", "127.0.0.1:123456"])
def test_a_bad_address_makes_no_home(tmp_path, listen):
    """--listen is checked before a file is made."""
    with pytest.raises(SettingsError, match=r"listen: .*HOST:PORT"):
        init(tmp_path / "home", "party", token(), listen, utc_now())
    assert not (tmp_path / "home").exists()


def test_an_invitation_survives_its_token():
    """A token read back names the same gateway, and signs under the same authority."""
    invitation = Invitation.create("clinic-a", "127.0.0.1:8471", "ab" * 32)
    again = Invitation.parse(f"  {invitation.token()}\n")
    assert (again.name, again.address, again.gateway_sha256) == ("clinic-a", "127.0.0.1:8471", "ab" * 32)
    assert again.token() == invitation.token()


def test_a_printed_invitation_keeps_its_seed():
    """The repr of an invitation says for whom it is, and nothing that admits anybody."""
    invitation = Invitation.create("clinic-a", "127.0.0.1:8471", "ab" * 32)
    raw = base64.urlsafe_b64decode(invitation.token().removeprefix("privity1_") + "==")
    for secret in (raw[:16].hex(), repr(raw[:16]), invitation.token()):
        assert secret not in repr(invitation)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('nmae = "x"', "nmae: there is no such key"),
        ('name = "X"', "name: String should match"),
        ('gateway = "nowhere"', "gateway: String should match"),
        ('role = "witness"', "role: Input should be 'party' or 'dealer'"),
        ("name = ", "is not TOML"),
        ('name = "\udcff"', "is not TOML"),
    ],
)
def test_a_mistake_in_the_settings_is_named(tmp_path, line, says):
    """A daemon does not start on settings that it would have to guess."""
    home = made(tmp_path / "home")
    key = line.split(" ")[0]
    kept = [old for old in home.path("settings.toml").read_text().splitlines() if not old.startswith(key)]
    home.path("settings.toml").write_bytes("\n".join([*kept, line]).encode(errors="surrogateescape"))
    with pytest.raises(SettingsError, match=says):
        _ = home.settings


def test_what_is_no_home_is_said_so(tmp_path):
    """A wrong --home is one line with both ways on."""
    with pytest.raises(SettingsError, match=r"is no home .*; run `privity node init` or .*another --home"):
        _ = Home(tmp_path).settings


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\xff"])
def test_a_damaged_tls_key_is_said_so(tmp_path, content):
    """A daemon whose TLS key is gone says so, and shows nothing of it."""
    home = made(tmp_path / "home")
    home.path("tls.pem").unlink() if content is None else home.path("tls.pem").write_bytes(content)
    with pytest.raises(SettingsError, match="restore"):
        _ = home.tls


def test_a_tls_key_of_another_certificate_is_refused(tmp_path):
    """Key and certificate belong together, or the daemon does not start."""
    home = made(tmp_path / "home")
    home.path("tls.pem").write_bytes(home.tls.key_pem + TlsKey.generate("x", now=utc_now()).certificate.encode())
    with pytest.raises(SettingsError, match="does not belong to its certificate"):
        _ = home.tls


@contextmanager
def gateway(key: TlsKey, calls: int = 1) -> Iterator[str]:
    """Something on loopback that shows a certificate to so many callers."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(DEADLINE_S)
    # Asks for no certificate of the caller's: only what a server shows is of interest here.
    context = worker_context(key, key.certificate, server=True)
    context.verify_mode = False

    def serve() -> None:
        for _ in range(calls):
            raw, _ = listener.accept()
            with raw, context.wrap_socket(raw, server_side=True) as tls:
                tls.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        thread.join(DEADLINE_S)
        listener.close()
    assert not thread.is_alive()


def test_the_gateway_s_certificate_is_the_one_of_the_invitation(tmp_path):
    """It is fetched once, kept, and fetched again if the file was damaged; another than invited is refused."""
    key, other = (TlsKey.generate("gateway", now=utc_now()) for _ in range(2))
    with gateway(key, calls=2) as address:
        home = init(tmp_path / "home", "party", token(address=address, sha256=key.sha256), "127.0.0.1:0", utc_now())
        assert home.gateway_certificate() == key.certificate
        assert home.gateway_certificate() == key.certificate  # no call: the third would be one too many
        home.path("gateway.pem").write_text(other.certificate)
        assert home.gateway_certificate() == key.certificate
    with gateway(other) as address:
        home = init(tmp_path / "two", "party", token(address=address, sha256=key.sha256), "127.0.0.1:0", utc_now())
        with pytest.raises(PartnerError, match="shows another certificate than the invitation names"):
            home.gateway_certificate()
        assert not home.path("gateway.pem").exists()


def test_an_identity_readable_by_others_is_not_used(tmp_path):
    """A key that somebody else could have copied signs nothing."""
    home = made(tmp_path / "home")
    home.path("identity.pem").chmod(0o640)
    with pytest.raises(SettingsError, match="readable by others; run: chmod 600"):
        _ = home.identity


def test_settings_are_toml(tmp_path):
    """What `init` writes is read by any TOML reader."""
    home = made(tmp_path / "home")
    assert tomllib.loads(home.path("settings.toml").read_text())["name"] == "clinic-a"
    assert isinstance(home.identity, Identity)
