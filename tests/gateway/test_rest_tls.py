"""REST beyond loopback: TLS, public names, cookies and headers."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from typer.testing import CliRunner

from gateway.access.logins import COOKIE
from gateway.cli import app
from parties.errors import GatewayError, SettingsError
from parties.web.trust import CA_VARIABLE, trusted
from tests.certificates import self_signed
from tests.gateway.conftest import House, check_problem


def write_certificate(home: Path, name: str = "localhost", *, password: bytes | None = None) -> None:
    """rest.crt and rest.key, self-signed."""
    key, made = self_signed(name, x509.DNSName(name))
    (home / "rest.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (home / "rest.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, how))
    (home / "rest.key").chmod(0o600)


def open_up(house: House) -> str:
    """Have REST listen on every address of the machine; its public address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"https://localhost:{port}"
    house.change('rest_address = "127.0.0.1:0"', f'rest_address = "0.0.0.0:{port}"')
    house.change("rest_urls = []", f'rest_urls = ["{url}"]')
    house.change('rest_certificate = ""', 'rest_certificate = "rest.crt"')
    house.change('rest_key = ""', 'rest_key = "rest.key"')
    return url


@pytest.fixture
def public(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A gateway that serves REST over TLS on every address, and clients that trust its certificate."""
    write_certificate(house.home)
    open_up(house)
    monkeypatch.setenv(CA_VARIABLE, str(house.home / "rest.crt"))
    with house.serve():
        yield house


def test_clients_come_over_tls(public: House):
    """Client and commands work with the public address, and verify the certificate."""
    with public.client() as client:
        assert client.health().name == "gateway"
    place = ["--gateway", public.serving.url, "--token-file", str(public.home / "token")]
    assert CliRunner().invoke(app, ["session", "list", *place]).exit_code == 0
    login = CliRunner().invoke(app, ["gateway", "login", "--home", str(public.home)])
    assert login.output.startswith(f"{public.serving.url}/login?code=")


def test_no_client_trusts_another_certificate(public: House, monkeypatch: pytest.MonkeyPatch):
    """A certificate of no authority that the client knows is an error, not a warning."""
    monkeypatch.delenv(CA_VARIABLE)
    with public.client() as client, pytest.raises(GatewayError, match="is of no authority that is trusted here"):
        client.health()
    monkeypatch.setenv(CA_VARIABLE, str(public.home / "nothing"))
    with pytest.raises(SettingsError, match="has no certificates"):
        trusted()


def test_plain_http_and_old_tls_are_refused(public: House):
    """Nothing of a request is answered in the clear, nor over a TLS that is no longer safe."""
    port = int(public.serving.url.rpartition(":")[2])
    with pytest.raises(httpx2.HTTPError):
        httpx2.get(f"http://localhost:{port}/v1/health")
    context = ssl.create_default_context(cafile=public.home / "rest.crt")
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("localhost", port)) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="localhost")


def test_only_public_names_are_answered(public: House):
    """Beyond loopback its names are foreign too; another site's page may change nothing."""
    with public.http() as http:
        for host in ("127.0.0.1", "localhost", "evil.example", public.serving.rest):
            found = check_problem(http.get("/v1/me", headers={"host": host}), 403, "rest.forbidden")
            assert found.action == f"use {public.serving.url}"
        for origin in ("https://localhost", public.serving.url.replace("https", "http"), "null"):
            check_problem(http.post("/v1/logins", headers={"origin": origin}), 403, "rest.forbidden")
        assert http.post("/v1/logins", headers={"origin": public.serving.url}).status_code == 201


def test_cookies_are_bound_to_the_host_and_to_tls(public: House):
    """The login's cookie has the prefix by which browsers refuse it from anywhere else; a plain one is no login."""
    with public.client() as client, httpx2.Client(verify=trusted()) as browser:
        first = browser.get(client.login())
        parts = {part.strip().lower() for part in first.headers["set-cookie"].split(";")}
        assert first.headers["set-cookie"].startswith(f"__Host-{COOKIE}=")
        assert {"httponly", "secure", "path=/", "samesite=strict"} <= parts
        assert not any(part.startswith("domain") for part in parts)
        me = f"{public.serving.url}/v1/me"
        answer = browser.get(me)
        assert answer.json()["role"] == "admin"
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        value = browser.cookies[f"__Host-{COOKIE}"]
    with httpx2.Client(verify=trusted(), cookies={COOKIE: value}) as other:
        check_problem(other.get(me), 401, "rest.unauthorised")


def test_a_proxy_on_the_machine_may_end_tls(house: House):
    """On loopback a public https name is taken too, and its cookies are as over TLS."""
    house.change("rest_urls = []", 'rest_urls = ["https://gate.example.org"]')
    with house.serve():
        listening = f"http://{house.serving.rest}"
        headers = {"host": "gate.example.org", "authorization": f"Bearer {house.token}"}
        offered = httpx2.post(f"{listening}/v1/logins", headers=headers | {"origin": "https://gate.example.org"})
        opened = httpx2.get(listening + offered.json()["path"], headers={"host": "gate.example.org"})
        assert opened.headers["set-cookie"].startswith(f"__Host-{COOKIE}=")
        assert httpx2.get(f"{listening}/v1/me", headers=headers).status_code == 200
        assert httpx2.get(f"{listening}/v1/health").status_code == 200
        assert house.serving.url == "https://gate.example.org"


def test_every_answer_confines_browsers(gateway: House):
    """Answers of every kind, refusals too, forbid framing, sniffing and all sources, and are not kept.

    What has a tag is kept by its reader alone, who asks each time whether it still holds.
    """
    with gateway.http() as http:
        tagged = http.get("/v1/participants")
        answers = [http.get(path) for path in ("/v1/health", "/", "/nowhere", "/v1/me", "/openapi.json")]
        answers.append(http.get("/v1/me", headers={"host": "evil.example"}))
    for answer in (tagged, *answers):
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == ("private, no-cache" if answer is tagged else "no-store")
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "strict-transport-security" not in answer.headers


def test_bad_certificates_are_named(house: House):
    """Files that are missing, open to others, encrypted or of two pairs are told apart, before anything is served."""
    open_up(house)

    def refusal() -> str:
        with pytest.raises(SettingsError) as caught, house.serve():
            pass
        return str(caught.value)

    assert "rest.key can't be read: No such file" in refusal()
    write_certificate(house.home)
    (house.home / "rest.key").chmod(0o640)
    assert "rest_key: " in refusal()
    assert "chmod 600" in refusal()
    (house.home / "rest.key").chmod(0o600)
    (house.home / "rest.crt").rename(house.home / "other.crt")
    assert "rest.crt can't be read: No such file" in refusal()
    write_certificate(house.home)
    (house.home / "other.crt").replace(house.home / "rest.crt")
    assert "are not a certificate and its unencrypted key" in refusal()
    write_certificate(house.home, password=b"secret")
    assert "are not a certificate and its unencrypted key" in refusal()
