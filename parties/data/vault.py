"""Data at rest: an encrypted file and an authenticated manifest a data set; plaintext never touches the disk.

The data is an Arrow stream sealed under a data key of its own (`sealing`), written and read batch by batch; its rows
stand in the order in which they came. The data key is wrapped under a key derived from the master key and bound to
name and version; the manifest is authenticated under another. The manifest makes the data set exist: it appears last
and whole when one is added and goes first when one is removed, and with it the only copy of the data key. No byte is
parsed before it is authentic. A worker gets a manifest and a data key (`data_set`), never the master key.

BUG: removing overwrites the wrapped key in place; a file system or disk that copies on write may keep it.
Whoever needs more rotates the master key, without which no wrapped key opens, and destroys the old one.
"""

from __future__ import annotations

import fcntl
import hmac
import os
import re
import secrets
from collections.abc import Callable, Collection, Generator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import ValidationError

from parties import durable
from parties.data.data_set import FILE_PATTERN, Manifest, Origin, read, scan
from parties.data.schema import DATA_SET_PATTERN, Schema
from parties.data.tables import Content, Table
from parties.data.vault_key import MasterKey
from parties.errors import VaultError
from parties.sealing import NONCE_BYTES, DataKey, Digests, Sealer, altered

LEFTOVER_PATTERN: Final = FILE_PATTERN.replace("data", "(?:data|tmp|removed)")
REMOVED: Final = ".removed"
KEY_CHECK: Final = "key-check"  # tells which master key a vault belongs to
ROTATING: Final = b"rotating"
DIGEST_PATTERN: Final = r"^[0-9a-f]{64}$"
WRAPPED_KEY_PATTERN: Final = r"^[0-9a-f]{120}$"  # nonce, sealed data key, tag


class Vault:
    """A directory of data sets, for several processes at once: each change shows whole or not at all."""

    def __init__(self, directory: Path, master_key: MasterKey) -> None:
        self._directory = directory
        self._wrapping = AESGCM(master_key.derive(b"wrap"))
        self._manifest_key = master_key.derive(b"manifest")
        self._check = hmac.digest(master_key.derive(b"check"), b"", "sha256").hex().encode()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def add(
        self,
        name: str,
        content: Content,
        *,
        created: datetime,
        shareable: bool = False,
        record: Callable[[Manifest], object] = lambda _: None,
        origin: Origin | None = None,
    ) -> Manifest:
        """Encrypt a table as a new data set, durable when this returns; `record` is called just before it exists.

        Raises: VaultError if the name is taken or not a name, if the disk refuses, or if the vault has another key;
        whatever the content or `record` raise. Nothing of the data set is left then.
        """
        self.check_free(name)
        self.check_key()
        try:
            return self._write(name, content, created, shareable, record, origin)
        except OSError as exc:
            raise VaultError(
                f"data set {name} can't be written: {exc.strerror}", action="make room, or check the rights"
            ) from exc
        finally:
            self._sweep()

    def check_free(self, name: str) -> None:
        """Raises: VaultError if the name is taken or not a name."""
        _check_name(name)
        if self._manifest_path(name).exists():
            raise _taken(name)

    def check_key(self) -> None:
        """Raises: VaultError if the vault belongs to another master key; a vault without data sets takes this one."""
        path = self._directory / KEY_CHECK
        try:
            mark = path.read_bytes()
            own = hmac.compare_digest(mark, self._check)
            if mark == ROTATING:
                raise VaultError(
                    "the vault's key is being rotated, or that was interrupted",
                    action="run `privity data rotate` again, as before",
                )
        except FileNotFoundError:
            own = self._is_first_key()
            if own:
                self.mark_key()
        if not own:
            raise VaultError(
                "the vault belongs to another vault key",
                action="see vault_key in settings.toml, or restore the vault and its key from one backup",
            )

    def mark_key(self) -> None:
        """Write down that the vault belongs to this master key."""
        self._mark(self._check)

    def mark_rotating(self) -> None:
        """Write down that some data keys may be wrapped under another master key."""
        self._mark(ROTATING)

    def _mark(self, content: bytes) -> None:
        path = self._directory / KEY_CHECK
        fresh = path.with_suffix(f".{secrets.token_hex(8)}.tmp")
        with durable.new_file(fresh) as file:
            file.write(content)
            durable.sync(file)
            fresh.rename(path)
        durable.sync_directory(self._directory)

    def _is_first_key(self) -> bool:
        """Of a vault that was made before vaults were marked: whether any, or no data set has this key."""
        names = self.list()
        for name in names:
            with suppress(VaultError):
                self.manifest(name)
                return True
        return not names

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

    def open(self, name: str, columns: Collection[str] | None = None) -> Table:
        """Raises: VaultError as `data_key` and `read`."""
        manifest = self.manifest(name)
        return read(self.path(manifest), self._unwrap(manifest), manifest, columns)

    def batches(self, manifest: Manifest, columns: Collection[str] | None = None) -> Generator[pa.RecordBatch]:
        """A data set, or some columns of it, batch by batch in the order of its file. Raises: VaultError as `open`."""
        return scan(self.path(manifest), self._unwrap(manifest), manifest, columns)

    def verify(self, name: str) -> None:
        """Check every byte of a data set, in the memory of one batch. Raises: VaultError as `open`."""
        manifest = self.manifest(name)
        if sum(batch.num_rows for batch in self.batches(manifest)) != manifest.table.rows:
            raise altered(name, "it has other rows than its manifest says")

    def share(self, name: str, *, shareable: bool) -> Manifest:
        """Say whether a data set may be published and used in sessions. Raises: VaultError as `manifest`."""
        with durable.locked(self._directory):
            manifest = self.manifest(name).model_copy(update={"shareable": shareable})
            self._rewrite(manifest)
        return manifest

    def check_opens(self, name: str, other: Vault) -> None:
        """Raises: VaultError if a data key opens under neither master key."""
        with suppress(VaultError):
            other.data_key(name)
            return
        self.data_key(name)

    def rewrap(self, name: str, other: Vault) -> None:
        """Wrap a data key under the master key of another `Vault` of this directory; doing it again changes nothing.

        Raises: VaultError as `check_opens`.
        """
        with suppress(VaultError):
            other.data_key(name)
            return
        manifest = self.manifest(name)
        wrapped = other._wrap(self._unwrap(manifest), name, manifest.version)
        other._rewrite(manifest.model_copy(update={"wrapped_key": wrapped}))

    def remove(self, name: str) -> None:
        """Destroy a data set for good, its key first; a damaged one can be removed too.

        Raises: VaultError if there is none of that name.
        """
        _check_name(name)
        removed = self._directory / f"{name}.{secrets.token_hex(8)}{REMOVED}"
        with durable.locked(self._directory):  # or one that is just being shared would come back
            try:
                self._manifest_path(name).rename(removed)  # so that no reader sees it half erased
            except FileNotFoundError as exc:
                raise _absent(name) from exc
        self._sweep()
        durable.sync_directory(self._directory)

    def _write(
        self,
        name: str,
        content: Content,
        created: datetime,
        shareable: bool,
        record: Callable[[Manifest], object],
        origin: Origin | None,
    ) -> Manifest:
        data_key = DataKey.generate()
        path = self._directory / f"{name}.{secrets.token_hex(8)}.data"
        with durable.new_file(path) as file:  # locked until the manifest stands, or a sweep could take it
            digests = _seal(file, name, data_key, content)
            manifest = Manifest(
                table=content.schema(name),
                shareable=shareable,
                created=created,
                file=path.name,
                version=digests.version,
                ciphertext_sha256=digests.ciphertext,
                wrapped_key=self._wrap(data_key, name, digests.version),
                origin=origin,
            )
            with durable.locked(self._directory):
                self.check_free(name)
                self.check_key()  # which a rotation may have replaced meanwhile
                record(manifest)
                self._publish(manifest)
        return manifest

    def _publish(self, manifest: Manifest) -> None:
        path = (self._directory / manifest.file).with_suffix(".tmp")
        with durable.new_file(path) as file:
            self._write_manifest(file, manifest)
            durable.sync_directory(self._directory)  # the data's name must last if the manifest's does
            try:
                os.link(path, self._manifest_path(manifest.name))  # a rename would replace another's
            except FileExistsError:
                raise _taken(manifest.name) from None
            durable.sync_directory(self._directory)

    def _rewrite(self, manifest: Manifest) -> None:
        path = self._directory / f"{manifest.name}.{secrets.token_hex(8)}.tmp"
        with durable.new_file(path) as file:
            self._write_manifest(file, manifest)
            durable.replace(path, self._manifest_path(manifest.name))

    def _write_manifest(self, file: BinaryIO, manifest: Manifest) -> None:
        body = manifest.model_dump_json().encode()
        file.write(self._mac(body) + b"\n" + body)
        durable.sync(file)

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


def _seal(file: BinaryIO, name: str, data_key: DataKey, content: Content) -> Digests:
    sealer = Sealer(file, name, data_key)
    with pa.ipc.new_stream(pa.PythonFile(sealer, mode="w"), content.arrow_schema) as stream:
        for batch in content.batches():
            stream.write_batch(batch)
    digests = sealer.finish()
    durable.sync(file)
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


def _erase(path: Path, file: BinaryIO) -> None:
    if path.suffix == REMOVED:  # it holds the key; a ".tmp" may share its bytes with a manifest that stands
        durable.overwrite(file)
    path.unlink()


def _taken(name: str) -> VaultError:
    return VaultError(
        f"there is a data set {name} in the vault already",
        action=f"choose another name, or run `privity data delete {name}` first",
    )


def _absent(name: str) -> VaultError:
    return VaultError(f"there is no data set {name} in the vault", action="run `privity data list`")
