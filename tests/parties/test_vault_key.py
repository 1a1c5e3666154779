"""Where the vault's key comes from, and how it is replaced: nothing is lost wherever that is interrupted."""

from __future__ import annotations

import base64
import os
import secrets
import sys

import numpy as np
import pyarrow as pa
import pytest

from parties import durable
from parties.agreement.plan import RetentionPlan
from parties.columns.preparation import Standardiser
from parties.data.rotation import rotate
from parties.data.tables import Table
from parties.data.vault import Vault
from parties.data.vault_key import (
    KEY_FILE,
    NEXT_FILE,
    create_master_key,
    master_key,
    parse_key_source,
)
from parties.errors import AuditError, SettingsError, VaultError
from parties.keys.tls import Invitation, utc_now
from parties.outcome.models import KeptModel, Models
from parties.process.job import ModelPart
from parties.service.home import Home, init
from tests.parties.conftest import draft, plain

TABLE = Table("t", "id", pa.table({"id": ["a", "b"], "x": [1.0, 2.0]}))
SESSION = "ab" * 32


@pytest.fixture
def home(tmp_path) -> Home:
    """A node's home with two data sets and a model."""
    token = Invitation.create("clinic-a", "127.0.0.1:1", "ab" * 32).token()
    made = init(tmp_path / "home", "party", token, "127.0.0.1:0", utc_now())
    for name in ("a", "b"):
        vault_of(made).add(name, TABLE, created=utc_now())
    return made


def kept() -> KeptModel:
    contract = draft("11" * 32, "22" * 32, "33" * 32).model_copy(update={"retention": RetentionPlan(model_days=30)})
    standardiser = Standardiser(names=("age",), mean=(40.5,), deviation=(9.75,), clip=32.0)
    part = ModelPart.of(plain("age"), standardiser, np.array([1, -1, 7], dtype=np.int64))
    return KeptModel(contract=contract.canonical().decode(), stored=utc_now(), part=part)


def vault_of(home: Home) -> Vault:
    return Vault(home.path("vault"), home.master_key())


def opens(home: Home) -> bool:
    """Whether all that the home has opens under the key that its settings name."""
    vault = vault_of(home)
    vault.check_key()
    return [vault.open(name).arrow.equals(TABLE.arrow) for name in vault.list()] == [True, True]


def settings(home: Home, words: str) -> None:
    path = home.path("settings.toml")
    path.write_text(path.read_text().replace('vault_key = "file"', f"vault_key = {words}"))


def test_a_key_comes_from_the_environment(tmp_path, monkeypatch):
    """Sixty-four hexadecimal digits, or base64, with or without a line break."""
    content = secrets.token_bytes(32)
    for text in (content.hex(), base64.b64encode(content).decode(), content.hex().upper() + "\n"):
        monkeypatch.setenv("CLINIC_KEY", text)
        assert master_key(tmp_path, "env:CLINIC_KEY").reveal() == content
    monkeypatch.delenv("CLINIC_KEY")
    with pytest.raises(SettingsError, match="has no CLINIC_KEY"):
        master_key(tmp_path, "env:CLINIC_KEY")


@pytest.mark.parametrize("text", ["sekrit", "ab" * 31, "ab" * 33, "sekrit" + "0" * 58, "=" * 44, "\u00e4" * 64])
def test_what_is_no_key_is_not_repeated(tmp_path, monkeypatch, text):
    """A variable that holds something else is refused without a word of it."""
    monkeypatch.setenv("CLINIC_KEY", text)
    with pytest.raises(SettingsError, match="what CLINIC_KEY holds is no vault key") as caught:
        master_key(tmp_path, "env:CLINIC_KEY")
    error: BaseException | None = caught.value
    while error is not None:
        assert text not in str(error)
        error = error.__cause__ or error.__context__


def test_a_key_comes_from_a_command(tmp_path):
    """The words are run as they are, without a shell; what is printed is the key."""
    content = secrets.token_bytes(32)
    (tmp_path / "a key; rm -rf x").write_text(content.hex())
    words = ("cat", str(tmp_path / "a key; rm -rf x"))
    assert master_key(tmp_path, words).reveal() == content


BAD_COMMANDS = {
    "no such program": (("/nowhere/kms",), "can't be run: No such file"),
    "a failure": ((sys.executable, "-c", "import sys; sys.exit('sekrit')"), "ended with exit status 1"),
    "no key": ((sys.executable, "-c", "print('sekrit')"), "prints is no vault key"),
    "no end": ((sys.executable, "-c", "print('sekrit' * 10**6)"), "prints is no vault key"),
}


@pytest.mark.parametrize("case", BAD_COMMANDS)
def test_a_bad_command_is_one_line(tmp_path, case):
    """Whatever a command prints or says stays out of the error."""
    words, says = BAD_COMMANDS[case]
    with pytest.raises(SettingsError, match=says) as caught:
        master_key(tmp_path, words)
    assert "sekrit" not in str(caught.value).replace(" ".join(words), "")


@pytest.mark.parametrize("text", ["", "file:x", "env:", "env:A B", "[]", '["a", 1]', "[", '[""]', "cat key"])
def test_what_is_no_source_is_refused(text):
    """A source is file, env:NAME or a list of words."""
    with pytest.raises(SettingsError, match="no place of a vault key"):
        parse_key_source(text)


def test_sources_are_parsed():
    """As settings.toml and --to have them."""
    assert parse_key_source("file") == "file"
    assert parse_key_source("env:A_1") == "env:A_1"
    assert parse_key_source('["kms", "a b"]') == ("kms", "a b")


def test_a_rotation_replaces_the_key_and_keeps_the_data(home):
    """Every data set opens under the next key and none under the old one; the ciphertext is untouched."""
    old = home.master_key()
    before = {path.name: path.read_bytes() for path in home.path("vault").glob("*.data")}
    os.link(home.path("vault") / "a.manifest", home.directory / "kept")
    os.link(home.path(KEY_FILE), home.directory / "kept-key")
    rotated = rotate(home)
    assert (rotated.data_sets, rotated.models, rotated.to, rotated.moved) == (2, 0, "file", False)
    assert opens(home)
    assert {path.name: path.read_bytes() for path in home.path("vault").glob("*.data")} == before
    with pytest.raises(VaultError, match="another vault key"):
        Vault(home.path("vault"), old).open("a")
    assert home.path(KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert not home.path(NEXT_FILE).exists()
    assert not any((home.directory / "kept").read_bytes())  # the old wrapped key, and the old key itself
    assert not any((home.directory / "kept-key").read_bytes())


def test_a_rotation_takes_models_along(home):
    """Shares of models are sealed under the next key as well."""
    models = Models(home.path("models"), home.master_key())
    model = kept()
    models.store(SESSION, model)
    assert rotate(home).models == 1
    assert Models(home.path("models"), home.master_key()).load(SESSION) == model
    with pytest.raises(VaultError):
        models.load(SESSION)


def test_a_key_moves_to_the_environment_and_back(home, monkeypatch):
    """Settings name the next source afterwards; the file is made again on the way back."""
    monkeypatch.setenv("CLINIC_KEY", secrets.token_hex(32))
    assert rotate(home, "env:CLINIC_KEY").moved
    settings(home, '"env:CLINIC_KEY"')
    assert opens(home)
    home.path(KEY_FILE).unlink()
    with pytest.raises(SettingsError, match="only a key in the home's file"):
        rotate(home)
    with pytest.raises(SettingsError, match="only a key in the home's file"):
        rotate(home, "env:CLINIC_KEY")
    assert rotate(home, "file").moved
    home.path("settings.toml").write_text(home.path("settings.toml").read_text().replace("env:CLINIC_KEY", "file"))
    assert opens(home)


def test_a_damaged_data_set_stops_a_rotation_before_it_changes_anything(home):
    """What opens under neither key is named; all else is as it was, and can be rotated once it is deleted."""
    (home.path("vault") / "b.manifest").write_bytes(b"damaged")
    before = (home.path("vault") / "a.manifest").read_bytes()
    with pytest.raises(VaultError, match="data set b was altered"):
        rotate(home)
    assert (home.path("vault") / "a.manifest").read_bytes() == before
    assert not home.path(NEXT_FILE).exists()
    vault_of(home).check_key()
    vault_of(home).remove("b")
    assert rotate(home).data_sets == 1
    assert vault_of(home).open("a").arrow.equals(TABLE.arrow)


@pytest.mark.parametrize("done", range(6))
def test_an_interrupted_rotation_is_finished_by_the_same_command(home, done):
    """After any of its steps: the node does not start, and the next rotation goes on with the same next key."""
    old, new = home.master_key(), create_master_key(home.path(NEXT_FILE))
    before, after = Vault(home.path("vault"), old), Vault(home.path("vault"), new)
    steps = [
        before.mark_rotating,
        lambda: before.rewrap("a", after),
        lambda: before.rewrap("b", after),
        after.mark_key,
        lambda: durable.replace(home.path(NEXT_FILE), home.path(KEY_FILE)),
    ]
    for step in steps[:done]:
        step()
    if done < len(steps):
        with pytest.raises(SettingsError, match="run `privity data rotate` again"):
            home.master_key()
        assert rotate(home).data_sets == 2
    assert home.master_key().reveal() == new.reveal()
    assert opens(home)


@pytest.mark.parametrize("done", range(1, 4))
def test_an_interrupted_move_is_finished_by_the_same_command(home, monkeypatch, done):
    """Also where no file stands for the next key, a vault of two keys is none that a node starts with."""
    monkeypatch.setenv("CLINIC_KEY", secrets.token_hex(32))
    before = vault_of(home)
    after = Vault(home.path("vault"), master_key(home.directory, "env:CLINIC_KEY"))
    for step in (before.mark_rotating, lambda: before.rewrap("a", after), lambda: before.rewrap("b", after))[:done]:
        step()
    for vault in (before, after):
        with pytest.raises(VaultError, match="run `privity data rotate` again"):
            vault.check_key()
    rotate(home, "env:CLINIC_KEY")
    settings(home, '"env:CLINIC_KEY"')
    assert opens(home)


def test_what_was_being_added_meanwhile_is_refused(home):
    """A data set that was still being written under the old key does not appear in a vault of the next one."""
    vault = vault_of(home)

    class Slow:
        arrow_schema, schema = TABLE.arrow_schema, TABLE.schema

        def batches(self):
            rotate(home)
            yield from TABLE.batches()

    with pytest.raises(VaultError, match="the vault belongs to another vault key"):
        vault.add("c", Slow(), created=utc_now())
    assert vault_of(home).list() == ("a", "b")
    assert opens(home)


def test_no_record_no_rotation(home):
    """A rotation that can't be recorded changes nothing."""

    def fail(_: object) -> None:
        raise AuditError("the disk is full")

    key = home.path(KEY_FILE).read_bytes()
    with pytest.raises(AuditError):
        rotate(home, record=fail)
    assert home.path(KEY_FILE).read_bytes() == key
    assert rotate(home).data_sets == 2
    assert opens(home)
