"""Keys that show themselves to nobody, and contexts that speak TLS 1.3 with exactly one other key."""

from __future__ import annotations

import pickle  # noqa: TID251
import socket
import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from parties.errors import PartnerError, SettingsError
from parties.keys.tls import (
    TlsKey,
    _load_chain,
    certificate_sha256,
    one_certificate,
    split_address,
    utc_now,
    worker_context,
)
from tests.parties.wires import at_once, connected


@pytest.fixture(scope="module")
def keys() -> list[TlsKey]:
    return [TlsKey.generate(name, now=utc_now()) for name in ("clinic-a", "clinic-b", "stranger")]


def handshake(client: ssl.SSLContext, server: ssl.SSLContext):
    """What each side gets of a handshake, and of one byte the other way."""
    one, two = connected()

    def side(raw: socket.socket, context: ssl.SSLContext, *, server_side: bool):
        raw.settimeout(30)
        with raw, context.wrap_socket(raw, server_side=server_side) as tls:
            tls.sendall(b"!")
            tls.recv(1)
            return tls.version()

    return at_once(lambda: side(one, client, server_side=False), lambda: side(two, server, server_side=True))


def test_two_that_know_each_other_speak_tls_1_3(keys):
    """Each side accepts the other's certificate, and the version is 1.3."""
    a, b, _ = keys
    found = handshake(worker_context(a, b.certificate, server=False), worker_context(b, a.certificate, server=True))
    assert found == ["TLSv1.3", "TLSv1.3"]


@pytest.mark.parametrize("server", [False, True])
def test_a_strange_key_fails_the_handshake(keys, server):
    """Whichever side shows another certificate, neither gets a connection."""
    a, b, stranger = keys
    shown = [stranger, b] if not server else [a, stranger]
    found = handshake(
        worker_context(shown[0], b.certificate, server=False), worker_context(shown[1], a.certificate, server=True)
    )
    assert all(isinstance(each, (ssl.SSLError, ConnectionError)) for each in found), found


def test_a_name_proves_nothing(keys):
    """Another key in a certificate of the same name is as strange as any."""
    a, b, _ = keys
    namesake = TlsKey.generate("clinic-a", now=utc_now())
    found = handshake(
        worker_context(namesake, b.certificate, server=False), worker_context(b, a.certificate, server=True)
    )
    assert all(isinstance(each, (ssl.SSLError, ConnectionError)) for each in found), found


def test_an_older_version_is_refused(keys):
    """A side that has the right key but offers TLS 1.2 alone gets no connection."""
    a, b, _ = keys
    older = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    older.check_hostname = False
    older.load_verify_locations(cadata=b.certificate)
    _load_chain(older, a)
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    found = handshake(older, worker_context(b, a.certificate, server=True))
    assert all(isinstance(each, (ssl.SSLError, ConnectionError)) for each in found), found


def test_an_expired_certificate_is_refused(keys):
    """A session's key is of no use after its days."""
    _, b, _ = keys
    old = TlsKey.generate("clinic-a", now=utc_now() - timedelta(days=91))
    found = handshake(worker_context(old, b.certificate, server=False), worker_context(b, old.certificate, server=True))
    assert all(isinstance(each, (ssl.SSLError, ConnectionError)) for each in found), found


def test_the_key_stays_on_no_disk(keys, tmp_path, monkeypatch):
    """The file through which `ssl` takes a key is gone when the context is there, and never lay on a disk."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shm = Path("/dev/shm")  # noqa: S108
    before = set(shm.iterdir()) if shm.is_dir() else set()
    worker_context(keys[0], keys[1].certificate, server=False)
    assert list(tmp_path.iterdir()) == []
    assert (set(shm.iterdir()) if shm.is_dir() else set()) <= before


def test_a_key_is_not_shown_compared_or_pickled(keys):
    """The private half is in no repr, no comparison and no pickle."""
    key = keys[0]
    assert key.key_pem.decode().splitlines()[1] not in repr(key)
    assert key.sha256[:16] in repr(key)
    with pytest.raises(TypeError):
        key == keys[1]  # noqa: B015
    with pytest.raises(TypeError):
        hash(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_a_key_survives_its_pem(keys):
    """What was written loads as the same key; nonsense or another's certificate does not load."""
    a, b, _ = keys
    assert TlsKey.from_pem(a.key_pem, a.certificate).sha256 == a.sha256
    with pytest.raises(SettingsError, match="does not belong to its certificate"):
        TlsKey.from_pem(a.key_pem, b.certificate)
    with pytest.raises(SettingsError, match="is not PEM"):
        TlsKey.from_pem(b"nonsense", a.certificate)


def test_one_certificate_is_one(keys):
    """What an approval names is one certificate, not a bundle, and nothing around it."""
    a, b, _ = keys
    assert one_certificate(a.certificate) == a.certificate
    for bad in ("", "nonsense", a.certificate + b.certificate, "x\n" + a.certificate, a.certificate + "\n", "\u00e9"):
        with pytest.raises(ValueError, match="certificate in PEM"):
            one_certificate(bad)
    with pytest.raises(PartnerError, match="not PEM"):
        certificate_sha256("nonsense")


@pytest.mark.parametrize(
    "address", ["", "host", ":1", "host:", "host:0", "host:65536", "host:x", "host:\u00b2", "h:-1"]
)
def test_an_address_is_host_and_port(address):
    """Whatever is not HOST:PORT is told so."""
    with pytest.raises(SettingsError, match="is not HOST:PORT"):
        split_address(address)


def test_an_address_is_split_at_its_last_colon():
    """Hosts may have colons of their own."""
    assert split_address("::1:8471") == ("::1", 8471)
