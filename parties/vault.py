"""Data at rest: an encrypted file and an authenticated manifest a data set; plaintext never touches the disk.

The data is an Arrow stream sealed under a data key of its own (`sealing`). The data key is wrapped under a
key derived from the master key and bound to name and version; the manifest is authenticated under another.
The manifest makes the data set exist: it appears last and whole when one is added and goes first when one
is removed, and with it the only copy of the data key. Nothing is parsed before all of it is authentic. A
worker gets a manifest and a data key, never the master key.

BUG: removing overwrites the wrapped key in place; a file system or disk that copies on write may keep it.
Whoever needs more replaces the master key, without which no wrapped key opens.
"""

from __future__ import annotations

import fcntl
import hmac
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, Literal

import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from parties.errors import SettingsError, VaultError
from parties.identity import write_private
from parties.schema import DATA_SET_PATTERN, Schema
from parties.sealing import KEY_BYTES, NONCE_BYTES, DataKey, Digests, Sealer, Secret, altered, unseal
from parties.tables import Table

BATCH_ROWS: Final = 1 << 16
MAC_DIGITS: Final = 64

FILE_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,63}\.[0-9a-f]{16}\.data$"
LEFTOVER_PATTERN: Final = FILE_PATTERN.replace("data", "(?:data|tmp|removed)")
REMOVED: Final = ".removed"
DIGEST_PATTERN: Final = r"^[0-9a-f]{64}$"
WRAPPED_KEY_PATTERN: Final = r"^[0-9a-f]{120}$"  # nonce, sealed data key, tag


class MasterKey(Secret):
    """Opens all of a node's data sets; stays in its daemon and command line."""


class Manifest(BaseModel):
    """What is known of a data set without opening it; holds no values and no usable key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["privity-vault-1"] = "privity-vault-1"
    table: Schema  # what may be published
    created: AwareDatetime
    file: str = Field(pattern=FILE_PATTERN)  # beside the manifest
    version: str = Field(pattern=DIGEST_PATTERN)  # keyed: names this content and tells nothing of it
    ciphertext_sha256: str = Field(pattern=DIGEST_PATTERN)
    wrapped_key: str = Field(pattern=WRAPPED_KEY_PATTERN)

    @property
    def name(self) -> str:
        return self.table.name


def create_master_key(path: Path) -> MasterKey:
    """Write a fresh master key to a new file that only its owner reads; who loses it loses every data set.

    Raises: SettingsError if the file exists.
    """
    key = MasterKey.generate()
    write_private(path, key.reveal())
    return key


def load_master_key(path: Path) -> MasterKey:
    """Raises: SettingsError if the file is missing or readable by others; VaultError if it is not a key."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise SettingsError(f"{path} is readable by others", action=f"run: chmod 600 {path}")
            return MasterKey(file.read(KEY_BYTES + 1))
    except OSError as exc:
        raise SettingsError(
            f"there is no readable vault key at {path}: {exc.strerror}",
            action="restore it from a backup, or run `privity node init` for a new node",
        ) from exc


class Vault:
    """A directory of data sets, for several processes at once: each change shows whole or not at all."""

    def __init__(self, directory: Path, master_key: MasterKey) -> None:
        self._directory = directory
        self._wrapping = AESGCM(master_key.derive(b"wrap"))
        self._manifest_key = master_key.derive(b"manifest")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def add(self, name: str, table: Table, *, created: datetime) -> Manifest:
        """Encrypt a table as a new data set, durable when this returns.

        Raises: VaultError if the name is taken or not a name, or if the disk refuses.
        """
        _check_name(name)
        if self._manifest_path(name).exists():
            raise _taken(name)
        try:
            return self._write(name, table, created)
        except OSError as exc:
            raise VaultError(
                f"data set {name} can't be written: {exc.strerror}", action="make room, or check the rights"
            ) from exc
        finally:
            self._sweep()

    def list(self) -> tuple[str, ...]:
        """Names of all data sets, sorted; their manifests are not checked."""
        names = (path.name.removesuffix(".manifest") for path in self._directory.glob("*.manifest"))
        return tuple(sorted(name for name in names if re.fullmatch(DATA_SET_PATTERN, name)))

    def manifest(self, name: str) -> Manifest:
        """Raises: VaultError if there is no such data set, or this vault did not write its manifest."""
        _check_name(name)
        try:
            content = self._manifest_path(name).read_bytes()
        except OSError as exc:
            raise _absent(name) from exc
        mac, newline, body = content.partition(b"\n")
        if not hmac.compare_digest(mac + newline, self._mac(body) + b"\n"):
            raise altered(name, "its manifest does not verify")
        manifest = _parse_manifest(name, body)
        if manifest.name != name:
            raise altered(name, f"its manifest is that of {manifest.name}")
        return manifest

    def schema(self, name: str) -> Schema:
        """What may be published of a data set."""
        return self.manifest(name).table

    def data_key(self, name: str) -> DataKey:
        """The unwrapped data key, to be handed to one worker and forgotten.

        Raises: VaultError as `manifest`, and if the key does not open under this master key.
        """
        return self._unwrap(self.manifest(name))

    def path(self, manifest: Manifest) -> Path:
        """Where a data set's ciphertext lies, for a worker's `read`."""
        return self._directory / manifest.file

    def open(self, name: str) -> Table:
        """Raises: VaultError as `data_key` and `read`."""
        manifest = self.manifest(name)
        return read(self.path(manifest), self._unwrap(manifest), manifest)

    def verify(self, name: str) -> None:
        """Check every byte of a data set. Raises: VaultError as `open`."""
        self.open(name)

    def remove(self, name: str) -> None:
        """Destroy a data set for good, its key first; a damaged one can be removed too.

        Raises: VaultError if there is none of that name.
        """
        _check_name(name)
        removed = self._directory / f"{name}.{secrets.token_hex(8)}{REMOVED}"
        try:
            self._manifest_path(name).rename(removed)  # so that no reader sees it half erased
        except FileNotFoundError as exc:
            raise _absent(name) from exc
        self._sweep()
        sync_directory(self._directory)

    def _write(self, name: str, table: Table, created: datetime) -> Manifest:
        data_key = DataKey.generate()
        path = self._directory / f"{name}.{secrets.token_hex(8)}.data"
        with _new_file(path) as file:  # locked until the manifest stands, or a sweep could take it
            digests = _seal(file, name, data_key, table.arrow)
            manifest = Manifest(
                table=table.schema(name),
                created=created,
                file=path.name,
                version=digests.version,
                ciphertext_sha256=digests.ciphertext,
                wrapped_key=self._wrap(data_key, name, digests.version),
            )
            self._publish(manifest)
        return manifest

    def _publish(self, manifest: Manifest) -> None:
        body = manifest.model_dump_json().encode()
        path = (self._directory / manifest.file).with_suffix(".tmp")
        with _new_file(path) as file:
            file.write(self._mac(body) + b"\n" + body)
            _sync(file)
            sync_directory(self._directory)  # the data's name must last if the manifest's does
            try:
                os.link(path, self._manifest_path(manifest.name))  # a rename would replace another's
            except FileExistsError:
                raise _taken(manifest.name) from None
            sync_directory(self._directory)

    def _sweep(self) -> None:
        """Erase what a `remove` or a failed `add` left: files that no manifest names and nobody writes."""
        leftovers = (path for path in self._directory.glob("*") if re.fullmatch(LEFTOVER_PATTERN, path.name))
        for path in sorted(leftovers, key=lambda path: path.suffix != REMOVED):  # keys go first
            with suppress(OSError), path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Looked up under the lock: before that its manifest may have been on the way.
                if not self._named_by_manifest(path):
                    _erase(path, file)

    def _named_by_manifest(self, path: Path) -> bool:
        """Whether the manifest of its name mentions this file; a damaged one does all the same."""
        try:
            return path.name.encode() in self._manifest_path(path.name.split(".")[0]).read_bytes()
        except FileNotFoundError:
            return False

    def _wrap(self, data_key: DataKey, name: str, version: str) -> str:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return (nonce + self._wrapping.encrypt(nonce, data_key.reveal(), _key_context(name, version))).hex()

    def _unwrap(self, manifest: Manifest) -> DataKey:
        wrapped = bytes.fromhex(manifest.wrapped_key)
        context = _key_context(manifest.name, manifest.version)
        try:
            return DataKey(self._wrapping.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context))
        except InvalidTag:
            raise altered(manifest.name, "its data key does not open") from None

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._manifest_key, body, "sha256").hex().encode()

    def _manifest_path(self, name: str) -> Path:
        return self._directory / f"{name}.manifest"


def read(path: Path, data_key: DataKey, manifest: Manifest) -> Table:
    """Decrypt a data set as its manifest describes it; what a worker calls, which has no vault.

    Raises: VaultError, naming the data set, if the file is missing or any byte is not what was written.
    """
    expected = Digests(manifest.version, manifest.ciphertext_sha256)
    try:
        with path.open("rb") as file:
            plaintext = unseal(file, manifest.name, data_key, expected)
    except OSError as exc:
        raise VaultError(
            f"the file of data set {manifest.name} can't be read: {exc.strerror}",
            action="restore the vault from a backup, or remove the data set and add it again",
            outward=f"data set {manifest.name} can't be read",
        ) from exc
    arrow = pa.ipc.open_stream(pa.py_buffer(plaintext)).read_all()
    return Table(name=manifest.name, id_column=manifest.table.id_column, arrow=arrow)


def _seal(file: BinaryIO, name: str, data_key: DataKey, arrow: pa.Table) -> Digests:
    sealer = Sealer(file, name, data_key)
    with pa.ipc.new_stream(pa.PythonFile(sealer, mode="w"), arrow.schema) as stream:
        stream.write_table(arrow, max_chunksize=BATCH_ROWS)
    digests = sealer.finish()
    _sync(file)
    return digests


def _check_name(name: str) -> None:
    if not re.fullmatch(DATA_SET_PATTERN, name):
        raise VaultError(
            f"{name!r} is not a name for a data set",
            action="use at most 64 lower-case letters, digits, '-' and '_', the first a letter or digit",
        )


def _key_context(name: str, version: str) -> bytes:
    return f"privity vault 1 key\n{name}\n{version}".encode()


def _parse_manifest(name: str, body: bytes) -> Manifest:
    try:
        return Manifest.model_validate_json(body)
    except ValidationError as exc:  # authentic, so written by some release
        raise VaultError(
            f"the manifest of data set {name} is of another version of Privity",
            action="use the version that wrote it, or add the data set again",
        ) from exc


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A new file that only its owner reads, locked while it is open."""
    while True:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            break
        file.close()  # a sweep took it between its creation and its lock
    with file:
        yield file


def _erase(path: Path, file: BinaryIO) -> None:
    if path.suffix == REMOVED:  # it holds the key; a ".tmp" may share its bytes with a manifest that stands
        file.write(bytes(os.fstat(file.fileno()).st_size))
        _sync(file)
    path.unlink()


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _taken(name: str) -> VaultError:
    return VaultError(
        f"there is a data set {name} in the vault already",
        action=f"choose another name, or run `privity data remove {name}` first",
    )


def _absent(name: str) -> VaultError:
    return VaultError(f"there is no data set {name} in the vault", action="run `privity data list`")
