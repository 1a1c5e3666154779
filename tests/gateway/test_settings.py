"""The gateway's settings file."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.home import init
from gateway.settings import FILE, GatewaySettings, Grant, OidcSettings, load_settings, parse_address
from parties.errors import SettingsError


def write(home: Path, text: str) -> Path:
    (home / FILE).write_text(text)
    return home


def test_rendered_settings_read_back(tmp_path: Path):
    """What `init` writes is what is read, and every key in it says what it means and its default."""
    settings = GatewaySettings(name="consortium", rest_address="127.0.0.1:1", absence_s=7)
    text = settings.render()
    assert load_settings(write(tmp_path, text)) == settings
    for model in (GatewaySettings, OidcSettings):
        for key, field in model.model_fields.items():
            comment = textwrap.indent(str(field.description), "# ")
            if isinstance(field.default, OidcSettings):
                assert f"{comment}\n[{key}]\n" in text
                continue
            assert f"{comment}\n{key} = " in text
            shown = f"{field.default:g}" if isinstance(field.default, int | float) else json.dumps(field.default)
            assert f"Default {shown}" in str(field.description)


def test_rendered_grants_read_back(tmp_path: Path):
    """Lists and tables come back as they were, whatever characters are in them."""
    grant = Grant(claim="groups", value='a "quoted\\ name"', organisation="clinic-a", role="analyst")
    oidc = OidcSettings(issuer="https://login.example.org", client_id="x", grants=(grant, grant))
    settings = GatewaySettings(rest_urls=("https://gate.example.org", "https://gate.example.org:8470"), oidc=oidc)
    assert load_settings(write(tmp_path, settings.render())) == settings


@pytest.mark.parametrize("address", ["0.0.0.0:8470", "192.168.1.2:8470", "example.org:8470", "[::]:8470"])
def test_rest_goes_beyond_loopback_with_tls_alone(tmp_path: Path, address: str):
    """Tokens never travel in the clear: an address that others could reach takes a certificate and public names."""
    with pytest.raises(SettingsError, match="is not loopback, which takes TLS: give rest_certificate"):
        load_settings(write(tmp_path, f'rest_address = "{address}"'))
    files = 'rest_certificate = "rest.crt"\nrest_key = "rest.key"\n'
    with pytest.raises(SettingsError, match="rest_urls"):
        load_settings(write(tmp_path, f'rest_address = "{address}"\n{files}'))
    urls = 'rest_urls = ["https://gate.example.org"]'
    assert load_settings(write(tmp_path, f'rest_address = "{address}"\n{files}{urls}')).places.has_tls
    with pytest.raises(SettingsError, match="is not loopback"):
        init(tmp_path / "new", rest=address)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:8470", "[::1]:8470", "127.9.9.9:65535"])
def test_loopback_has_many_names(tmp_path: Path, address: str):
    """Every loopback address will do."""
    assert load_settings(write(tmp_path, f'rest_address = "{address}"')).rest_address == address


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("nmae = 'x'", "nmae: there is no such key"),
        ("name = 'Not A Name'", "name: String should match"),
        ("absence_s = 'soon'", "absence_s: Input should be a valid number"),
        ("control_address = 'nowhere'", "control_address: 'nowhere' is not HOST:PORT"),
        ("control_address = '::1:8471'", "is not HOST:PORT"),
        ("control_address = '127.0.0.1:65536'", "is not HOST:PORT"),
        ("name = ", "is not TOML"),
        ("rest_key = 'rest.key'", "rest_certificate, rest_key: TLS takes both, or neither"),
        ("rest_urls = ['http://gate.example.org']", "is not https: tokens and cookies would travel in the clear"),
        ("rest_urls = ['https://gate.example.org/path']", "is not https://HOST or https://HOST:PORT"),
        ("rest_urls = ['https://u@gate.example.org']", "is not https://HOST or https://HOST:PORT"),
        ("rest_urls = ['gate.example.org']", "is not https://HOST or https://HOST:PORT"),
        ("request_rate = 0", "request_rate: Input should be greater than or equal to 0.1"),
        ("[oidc]\nissuer = 'https://login.example.org'", "client_id: must be given"),
        ("[oidc]\nissuer = 'http://login.example.org'\nclient_id = 'x'", "is not https://HOST"),
        ("[oidc]\nissuer = 'https://login.example.org'\nclient_id = 'x'", "give rest_urls"),
        ("[oidc]\ngrants = [{claim = 'a', value = 'b', organisation = 'c', role = 'king'}]", "grants.0.role"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, text: str, what: str):
    """A key that is unknown or does not fit is an error that names it and the file."""
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, text))
    assert what in caught.value.what
    assert FILE in caught.value.what


def test_missing_settings_say_how_to_begin(tmp_path: Path):
    """A directory without a gateway is told from a broken one."""
    with pytest.raises(SettingsError, match="privity gateway init"):
        load_settings(tmp_path)


def test_init_never_overwrites(tmp_path: Path):
    """A second `init` leaves the first one's keys alone."""
    init(tmp_path / "g")
    before = {path.name: path.read_bytes() for path in (tmp_path / "g").iterdir()}
    with pytest.raises(SettingsError, match="exists already"):
        init(tmp_path / "g")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "g").iterdir()}


def test_init_keeps_secrets_to_the_owner(tmp_path: Path):
    """Nothing that `init` writes can be read by another user."""
    init(tmp_path / "g")
    assert {path.stat().st_mode & 0o077 for path in [tmp_path / "g", *(tmp_path / "g").iterdir()]} == {0}


@given(st.text(max_size=30))
def test_addresses_parse_or_are_refused(text: str):
    """Any text is an address that reads back, or a ValueError."""
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address
