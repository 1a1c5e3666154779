"""The vault: data sets are whole or absent, authentic or refused, and in plaintext nowhere."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from parties.data.data_set import Manifest, read
from parties.data.schema import Column, Schema
from parties.data.tables import Table, features
from parties.data.vault import KEY_CHECK, Vault
from parties.data.vault_key import MasterKey, create_master_key, load_master_key
from parties.errors import AuditError, DataError, SettingsError, VaultError

CREATED = datetime(2026, 11, 1, 12, tzinfo=UTC)
VALUES = np.array([3141.5926, 2718.2818, 1618.0339, 1414.2135])


def table(rows: int = 4, shift: float = 0.0) -> Table:
    """A table of a multiple of four rows."""
    columns = {
        "patient": [f"patient-{i:06d}" for i in range(rows)],
        "marker": np.tile(VALUES, rows // 4) + shift,
        "finding": ["malignant-xyzzy", "benign-plugh", "malignant-xyzzy", None] * (rows // 4),
    }
    return Table(name="file", id_column="patient", arrow=pa.table(columns))


@pytest.fixture
def key() -> MasterKey:
    return MasterKey.generate()


@pytest.fixture
def vault(tmp_path, key) -> Vault:
    return Vault(tmp_path / "vault", key)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != KEY_CHECK}


@pytest.mark.parametrize("rows", [4, 400_000])
def test_what_was_added_opens(vault, rows):
    """A table of one chunk or of many comes back with every value, under the data set's name."""
    manifest = vault.add("clinic-a", table(rows), created=CREATED)
    opened = vault.open("clinic-a")
    assert opened.arrow.equals(table(rows).arrow)
    assert (opened.name, opened.id_column) == ("clinic-a", "patient")
    assert vault.manifest("clinic-a") == manifest
    assert manifest.created == CREATED
    vault.verify("clinic-a")


def test_names_and_schemas_are_listed(vault):
    """The vault lists its data sets by name and publishes what a schema holds, no more."""
    assert vault.list() == ()
    vault.add("b", table(), created=CREATED)
    vault.add("a-2_x", table(8), created=CREATED)
    assert vault.list() == ("a-2_x", "b")
    assert vault.schema("b") == table().schema("b")
    assert vault.schema("a-2_x").rows == 8


def test_a_worker_reads_with_manifest_and_data_key_alone(vault):
    """The worker gets the manifest as JSON and the data key's bytes, and never needs the master key."""
    vault.add("clinic-a", table(), created=CREATED)
    data_key = vault.data_key("clinic-a")
    manifest = Manifest.model_validate_json(vault.manifest("clinic-a").model_dump_json())
    assert read(vault.path(manifest), type(data_key)(data_key.reveal()), manifest).arrow.equals(table().arrow)


def test_plaintext_is_in_no_file(tmp_path, vault):
    """No id, text or number of the table is in any file, as text or as the bytes of a number."""
    vault.add("clinic-a", table(4000), created=CREATED)
    needles = [b"patient-000", b"malignant", b"xyzzy", b"benign", b"plugh"]
    needles += [struct.pack("<d", value) for value in VALUES] + [str(value).encode() for value in VALUES]
    held = table(4000).arrow
    batch = held.combine_chunks().to_batches()[0].serialize().to_pybytes()
    assert sum(needle in batch for needle in needles) == 9  # the search would find them
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    for path in files:
        content = path.read_bytes()
        assert not [needle for needle in needles if needle in content]


def test_files_are_readable_by_their_owner_alone(tmp_path, vault):
    """Neither the directory nor a file in it can be read by another user of the machine."""
    vault.add("clinic-a", table(), created=CREATED)
    for path in (tmp_path / "vault", *(tmp_path / "vault").iterdir()):
        assert path.stat().st_mode & 0o077 == 0


def test_a_flipped_bit_anywhere_is_an_error_that_names_the_data_set(tmp_path, vault):
    """Whichever byte of whichever file is altered, the data set is refused by name."""
    vault.add("clinic-a", table(), created=CREATED)
    for path in (tmp_path / "vault").glob("clinic-a.*"):
        content = path.read_bytes()
        for position in range(len(content)):
            altered = bytearray(content)
            altered[position] ^= 1 << (position % 8)
            path.write_bytes(altered)
            with pytest.raises(VaultError, match="data set clinic-a"):
                vault.verify("clinic-a")
        path.write_bytes(content)
    vault.verify("clinic-a")


def test_files_can_not_be_swapped(tmp_path, vault):
    """Neither files nor manifests of two data sets, nor those of an earlier version, pass for each other."""
    directory = tmp_path / "vault"
    vault.add("a", table(), created=CREATED)
    earlier = contents(directory)
    a = vault.path(vault.manifest("a"))
    vault.remove("a")
    vault.add("a", table(shift=1.0), created=CREATED)
    current = vault.path(vault.manifest("a"))
    current.write_bytes(earlier[a.name])
    with pytest.raises(VaultError, match="data set a was altered"):
        vault.open("a")
    vault.add("b", table(), created=CREATED)
    shutil.copy(directory / "b.manifest", directory / "a.manifest")
    with pytest.raises(VaultError, match="its manifest is that of b"):
        vault.open("a")
    vault.verify("b")


def test_a_manifest_is_bound_to_its_key(vault):
    """A worker that is handed one data set's manifest and another's key gets nothing."""
    first, second = (vault.add(name, table(), created=CREATED) for name in ("a", "b"))
    with pytest.raises(VaultError, match="data set a was altered"):
        read(vault.path(first), vault.data_key("b"), first)
    with pytest.raises(VaultError, match="data set a was altered"):
        read(vault.path(second), vault.data_key("a"), first)


def test_a_wrapped_key_is_bound_to_name_and_version(vault):
    """A wrapped key in another data set's manifest, or in that of another version, does not open."""
    first, second = (vault.add(name, table(), created=CREATED) for name in ("a", "b"))
    for change in ({"wrapped_key": second.wrapped_key}, {"version": second.version}, {"table": second.table}):
        with pytest.raises(VaultError, match="its data key does not open"):
            vault._unwrap(first.model_copy(update=change))


def test_versions_name_contents(vault):
    """Adding the same table again is a new version, since versions are keyed."""
    first = vault.add("a", table(), created=CREATED)
    vault.remove("a")
    second = vault.add("a", table(), created=CREATED)
    assert first.version != second.version


def test_another_master_key_opens_nothing(tmp_path, vault):
    """Under another master key every data set is refused, none is shown as empty."""
    vault.add("clinic-a", table(), created=CREATED)
    stranger = Vault(tmp_path / "vault", MasterKey.generate())
    for act in (stranger.open, stranger.manifest, stranger.schema, stranger.data_key, stranger.verify):
        with pytest.raises(VaultError, match="data set clinic-a was altered or belongs to another vault key"):
            act("clinic-a")


def test_a_missing_file_is_named(vault):
    """A manifest without its file, and a name without a manifest, say what is missing and what to do."""
    manifest = vault.add("clinic-a", table(), created=CREATED)
    vault.path(manifest).unlink()
    with pytest.raises(VaultError, match="the file of data set clinic-a can't be read") as caught:
        vault.open("clinic-a")
    assert str(vault.path(manifest).parent) not in caught.value.outward
    for act in (vault.open, vault.manifest, vault.verify, vault.remove, vault.data_key):
        with pytest.raises(VaultError, match="there is no data set clinic-b"):
            act("clinic-b")


@pytest.mark.parametrize("name", ["", "A", "-a", "_a", "a b", "a/b", "../a", "a.b", "a\n", "ä", "a" * 65])
def test_names_that_are_none_are_refused(tmp_path, vault, name):
    """A name can't be a path, can't mislead, and nothing is written for it."""
    with pytest.raises(VaultError, match="is not a name for a data set"):
        vault.add(name, table(), created=CREATED)
    with pytest.raises(VaultError, match="is not a name for a data set"):
        vault.remove(name)
    assert contents(tmp_path / "vault") == {}


def test_a_taken_name_is_refused_and_nothing_changes(tmp_path, vault):
    """Adding under a taken name leaves the vault as it was, byte for byte."""
    vault.add("clinic-a", table(), created=CREATED)
    before = contents(tmp_path / "vault")
    with pytest.raises(VaultError, match="there is a data set clinic-a in the vault already"):
        vault.add("clinic-a", table(shift=1.0), created=CREATED)
    assert contents(tmp_path / "vault") == before


def test_a_removed_data_set_is_gone(tmp_path, vault):
    """Nothing of a removed data set stays, others are untouched, and the name is free again."""
    vault.add("a", table(), created=CREATED)
    vault.add("b", table(), created=CREATED)
    vault.remove("a")
    assert vault.list() == ("b",)
    assert {name.split(".")[0] for name in contents(tmp_path / "vault")} == {"b"}
    vault.verify("b")
    vault.add("a", table(), created=CREATED)


def test_removing_overwrites_the_wrapped_key(tmp_path, vault):
    """The bytes of the manifest, which hold the key, are zeros once it is removed: a link kept elsewhere shows it."""
    vault.add("a", table(), created=CREATED)
    os.link(tmp_path / "vault" / "a.manifest", tmp_path / "kept")
    vault.remove("a")
    assert not any((tmp_path / "kept").read_bytes())


def test_a_damaged_data_set_can_be_removed(tmp_path, vault):
    """An operator gets rid of a data set whose manifest or file is broken or missing."""
    manifest = vault.add("a", table(), created=CREATED)
    vault.path(manifest).unlink()
    (tmp_path / "vault" / "a.manifest").write_bytes(b"broken")
    vault.remove("a")
    assert contents(tmp_path / "vault") == {}


def test_of_many_who_add_one_name_one_succeeds(tmp_path, key):
    """However adds and removals of several users interleave, exactly one add wins and what stands is whole."""

    def add(number: int) -> bool:
        try:
            Vault(tmp_path / "vault", key).add("same", table(400, shift=number), created=CREATED)
        except VaultError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(add, range(24)))
    assert sum(won) == 1
    opened = Vault(tmp_path / "vault", key).open("same")
    assert features(opened, ["marker"])[0, 0] == VALUES[0] + won.index(True)
    assert len(contents(tmp_path / "vault")) == 2


def test_adds_and_removals_at_once_leave_whole_data_sets(tmp_path, key):
    """Sweeping up after one data set never takes a file that another user is just writing."""

    def churn(number: int) -> None:
        mine = Vault(tmp_path / "vault", key)
        for turn in range(6):
            mine.add(f"s{number}", table(400, shift=turn), created=CREATED)
            mine.verify(f"s{number}")
            if turn < 5:
                mine.remove(f"s{number}")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(churn, range(6)))
    vault = Vault(tmp_path / "vault", key)
    assert vault.list() == tuple(f"s{number}" for number in range(6))
    assert len(contents(tmp_path / "vault")) == 12


# The kernel stops the process in the middle of writing the file: with the signal's default action by killing it,
# and under Python's own (ignore) by an error, as a full disk would.
ADD_WITHIN = """
import resource, signal, sys
from datetime import UTC, datetime
from pathlib import Path
import numpy as np, pyarrow as pa
from parties.data.tables import Table
from parties.data.vault import Vault
from parties.data.vault_key import load_master_key
home, dies = Path(sys.argv[1]), sys.argv[2] == "killed"
if dies:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
arrow = pa.table({"id": [str(i) for i in range(500_000)], "x": np.arange(500_000.0)})
vault = Vault(home / "vault", load_master_key(home / "vault.key"))
vault.add("big", Table("big", "id", arrow), created=datetime.now(UTC))
"""


def add_within_limit(home: Path, how: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ADD_WITHIN, str(home), how]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_full_disk_leaves_the_vault_as_it_was(tmp_path):
    """An add that can't be written says so and leaves nothing behind."""
    key = create_master_key(tmp_path / "vault.key")
    vault = Vault(tmp_path / "vault", key)
    vault.add("a", table(), created=CREATED)
    before = contents(tmp_path / "vault")
    done = add_within_limit(tmp_path, "refused")
    assert "VaultError: data set big can't be written: File too large" in done.stderr
    assert contents(tmp_path / "vault") == before


def test_a_killed_add_shows_nothing_and_is_swept_up(tmp_path):
    """A process killed while it adds leaves no data set, and its remnant goes with the next change."""
    key = create_master_key(tmp_path / "vault.key")
    vault = Vault(tmp_path / "vault", key)
    vault.add("a", table(), created=CREATED)
    before = contents(tmp_path / "vault")
    assert add_within_limit(tmp_path, "killed").returncode < 0
    assert len(contents(tmp_path / "vault")) == len(before) + 1
    assert vault.list() == ("a",)
    vault.verify("a")
    vault.add("big", table(), created=CREATED)
    vault.remove("big")
    assert contents(tmp_path / "vault") == before


def test_sweeping_takes_only_what_the_vault_wrote(tmp_path, vault):
    """A file that somebody else put there stays."""
    (tmp_path / "vault" / "README.data").write_text("ours")
    vault.add("a", table(), created=CREATED)
    vault.remove("a")
    assert contents(tmp_path / "vault") == {"README.data": b"ours"}


def test_the_master_key_is_written_once_for_its_owner(tmp_path):
    """The key file is new, private, and loads as the key that was made."""
    path = tmp_path / "vault.key"
    made = create_master_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_master_key(path).reveal() == made.reveal()
    with pytest.raises(SettingsError, match="exists already"):
        create_master_key(path)
    assert load_master_key(path).reveal() == made.reveal()


def test_unfit_key_files_are_refused(tmp_path):
    """A missing key, one that others can read, and one of another length each say what to do."""
    with pytest.raises(SettingsError, match="no readable vault key"):
        load_master_key(tmp_path / "vault.key")
    create_master_key(tmp_path / "vault.key")
    (tmp_path / "vault.key").chmod(0o640)
    with pytest.raises(SettingsError, match="readable by others; run: chmod 600"):
        load_master_key(tmp_path / "vault.key")
    (tmp_path / "vault.key").chmod(0o600)
    with (tmp_path / "vault.key").open("ab") as file:
        file.write(b"\n")
    with pytest.raises(VaultError, match="a key has 32 bytes"):
        load_master_key(tmp_path / "vault.key")


@pytest.mark.parametrize(
    "change", [{"file": "../a.0123456789abcdef.data"}, {"format": "privity-vault-3"}, {"version": "x"}, {"extra": 1}]
)
def test_a_manifest_from_elsewhere_is_checked(vault, change):
    """A manifest that points outside the vault or has unknown fields is refused before anything is opened."""
    good = vault.add("a", table(), created=CREATED).model_dump(mode="json")
    Manifest.model_validate(good)
    with pytest.raises(ValidationError):
        Manifest.model_validate(good | change)


class Streamed:
    """Content that comes in batches, in no order, and may fail on the way."""

    arrow_schema = pa.schema([("patient", pa.string()), ("x", pa.float64())])

    def __init__(self, batches: int, fails_at: int | None = None) -> None:
        self._batches, self._fails_at = batches, fails_at

    def batches(self):
        for number in range(self._batches):
            if number == self._fails_at:
                raise DataError("the source went away")
            ids = [f"p{(number * 1000 + i) * 7919 % 1_000_003:07d}" for i in range(1000)]
            yield pa.record_batch([ids, np.arange(1000.0)], schema=self.arrow_schema)

    def schema(self, name: str) -> Schema:
        columns = (Column(name="x", kind="number", complete=True),)
        return Schema(name=name, rows=self._batches * 1000, id_column="patient", columns=columns)


def test_batches_come_in_any_order_and_are_read_sorted(vault):
    """Rows are kept as they came, and read sorted by id, whole or some of their columns."""
    vault.add("big", Streamed(40), created=CREATED)
    opened = vault.open("big")
    assert opened.ids == sorted(opened.ids)
    assert opened.rows == 40_000
    alone = vault.open("big", ())
    assert alone.arrow.column_names == ["patient"]
    assert alone.ids == opened.ids
    assert vault.open("big", ("x", "nowhere")).arrow.equals(opened.arrow)
    vault.verify("big")


def test_a_source_that_fails_leaves_the_vault_as_it_was(tmp_path, vault):
    """What was written before the failure is gone, and nothing was recorded."""
    vault.add("a", table(), created=CREATED)
    before, recorded = contents(tmp_path / "vault"), []
    with pytest.raises(DataError, match="went away"):
        vault.add("big", Streamed(40, fails_at=30), created=CREATED, record=recorded.append)
    assert contents(tmp_path / "vault") == before
    assert recorded == []


def test_no_record_no_data_set(tmp_path, vault):
    """A data set whose record fails is not there, and one that is there was recorded before."""

    def fail(_: Manifest) -> None:
        assert vault.list() == ()
        raise AuditError("the disk is full")

    with pytest.raises(AuditError):
        vault.add("a", table(), created=CREATED, record=fail)
    assert contents(tmp_path / "vault") == {}


def test_fewer_rows_than_the_manifest_says_do_not_verify(vault):
    """A schema that does not fit its rows is noticed by verifying."""

    class Short(Streamed):
        def schema(self, name: str) -> Schema:
            return super().schema(name).model_copy(update={"rows": 7})

    vault.add("big", Short(2), created=CREATED)
    with pytest.raises(VaultError, match="data set big was altered"):
        vault.verify("big")


def test_sharing_is_said_once_and_taken_back(vault):
    """A data set is not shared unless its owner says so; data and version stay the same."""
    added = vault.add("a", table(), created=CREATED)
    assert not added.shareable
    assert vault.share("a", shareable=True).shareable
    assert vault.manifest("a") == added.model_copy(update={"shareable": True})
    vault.share("a", shareable=False)
    assert vault.manifest("a") == added
    vault.verify("a")
    with pytest.raises(VaultError, match="there is no data set b"):
        vault.share("b", shareable=True)


def test_a_vault_of_the_first_format_opens(tmp_path, key, vault):
    """Manifests of version 1 are read; what they describe was published, and stays shared."""
    added = vault.add("a", table(), created=CREATED)
    old = {**added.model_dump(mode="json", exclude={"shareable"}), "format": "privity-vault-1"}
    for column in old["table"]["columns"]:
        del column["description"], column["unit"]
    body = json.dumps(old).encode()
    (tmp_path / "vault" / "a.manifest").write_bytes(vault._mac(body) + b"\n" + body)
    (tmp_path / "vault" / KEY_CHECK).unlink()
    again = Vault(tmp_path / "vault", key)
    again.check_key()
    assert again.manifest("a") == added.model_copy(update={"shareable": True})
    again.verify("a")


def test_another_key_changes_nothing_in_a_vault(tmp_path, vault):
    """A vault is marked with its key: a key that does not open it adds nothing, even where no data set is left."""
    vault.add("a", table(), created=CREATED)
    stranger = Vault(tmp_path / "vault", MasterKey.generate())
    vault.remove("a")
    with pytest.raises(VaultError, match="the vault belongs to another vault key"):
        stranger.add("b", table(), created=CREATED)
    assert contents(tmp_path / "vault") == {}
    vault.add("a", table(), created=CREATED)
    (tmp_path / "vault" / KEY_CHECK).unlink()  # as of a vault that was made before vaults were marked
    with pytest.raises(VaultError, match="the vault belongs to another vault key"):
        stranger.check_key()
    vault.check_key()


def test_a_flipped_bit_of_the_mark_is_noticed(tmp_path, vault):
    """A mark that was altered is an error, not another key."""
    vault.check_key()
    path = tmp_path / "vault" / KEY_CHECK
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(VaultError, match="belongs to another vault key"):
        vault.add("a", table(), created=CREATED)
