"""One data set as its manifest describes it, and how it is read with a data key alone: all that a worker needs.

No byte is parsed before it is authentic.
"""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from parties.data.schema import ColumnName, DataSetName, Schema
from parties.data.tables import Table
from parties.errors import ContractError, VaultError
from parties.sealing import DataKey, Digests, Unsealed, unseal

if TYPE_CHECKING:
    from parties.agreement.contract import Party

FILE_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,63}\.[0-9a-f]{16}\.data$"
DIGEST_PATTERN: Final = r"^[0-9a-f]{64}$"
WRAPPED_KEY_PATTERN: Final = r"^[0-9a-f]{120}$"  # nonce, sealed data key, tag


class Origin(BaseModel):
    """Of a data set that a matching left: where it comes from, and until when it is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    session: str = Field(pattern=DIGEST_PATTERN)
    source: DataSetName  # whose rows these are
    source_version: str = Field(pattern=DIGEST_PATTERN)
    id_column: ColumnName  # which was the id there, and tells the owner who is who
    partners: tuple[str, ...]
    until: AwareDatetime
    earlier: tuple[str, ...] = ()  # matchings that left the source, and its source

    @property
    def sessions(self) -> tuple[str, ...]:
        """All matchings on which the data set rests."""
        return (self.session, *self.earlier)


class Manifest(BaseModel):
    """What is known of a data set without opening it; holds no values and no usable key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["privity-vault-2"] = "privity-vault-2"
    table: Schema  # what may be published, where it is shareable
    shareable: bool  # whether the node publishes its schema, and takes part in sessions on it
    created: AwareDatetime
    file: str = Field(pattern=FILE_PATTERN)  # beside the manifest
    version: str = Field(pattern=DIGEST_PATTERN)  # keyed: names this content and tells nothing of it
    ciphertext_sha256: str = Field(pattern=DIGEST_PATTERN)
    wrapped_key: str = Field(pattern=WRAPPED_KEY_PATTERN)
    origin: Origin | None = None  # None: its owner's own table

    @model_validator(mode="before")
    @classmethod
    def _of_version_1(cls, content: Any) -> Any:
        """Version 1 had no unshared data sets: all were published."""
        if isinstance(content, dict) and content.get("format") == "privity-vault-1":
            return content | {"format": "privity-vault-2", "shareable": True}
        return content

    @property
    def name(self) -> str:
        return self.table.name


def check_agreed(manifest: Manifest, party: Party) -> None:
    """Raises: ContractError unless a data set has the version, the rows and the schema that a contract names."""
    if (manifest.version, manifest.table.rows) != (party.data_version, party.rows):
        raise ContractError(
            f"data set '{manifest.name}' is not in the version that the contract names",
            action="propose the session again",
            reason="data",
        )
    if manifest.table.digest != party.schema_sha256:
        raise ContractError(
            f"the contract was made from another schema of data set '{manifest.name}' than {party.name} publishes",
            action="ask the gateway's operator who changed it, then propose the session again",
            reason="schema",
        )


def read(path: Path, data_key: DataKey, manifest: Manifest, columns: Collection[str] | None = None) -> Table:
    """Decrypt a data set, or its ids and some of its columns; what a worker calls, which has no vault.

    Columns that it does not have are left out. Cost: the memory of what is asked for, twice while it is sorted.
    Raises: VaultError, naming the data set, if the file is missing or any byte is not what was written.
    """
    id_column = manifest.table.id_column
    wanted = None if columns is None else {id_column, *columns}
    batches = list(scan(path, data_key, manifest, wanted))
    return Table.of_list(manifest.name, id_column, pa.Table.from_batches(batches))


def scan(
    path: Path, data_key: DataKey, manifest: Manifest, columns: Collection[str] | None
) -> Generator[pa.RecordBatch]:
    """The columns named, or all, batch by batch in the order of the file; who stops early has seen no forged row.

    Raises: VaultError as `read`.
    """
    expected = Digests(manifest.version, manifest.ciphertext_sha256)
    try:
        with path.open("rb") as file, closing(unseal(file, manifest.name, data_key, expected)) as chunks:
            unsealed = Unsealed(chunks)
            with pa.ipc.open_stream(pa.PythonFile(unsealed, mode="r")) as stream:
                for batch in stream:
                    yield batch if columns is None else _only(batch, columns)
            unsealed.finish()
    except OSError as exc:
        raise VaultError(
            f"the file of data set {manifest.name} can't be read: {exc.strerror}",
            action="restore the vault from a backup, or delete the data set and add it again",
            outward=f"data set {manifest.name} can't be read",
        ) from exc


def _only(batch: pa.RecordBatch, columns: Collection[str]) -> pa.RecordBatch:
    """Some columns as copies: a view would keep the whole batch in memory."""
    names = [name for name in batch.schema.names if name in columns]
    copies = [pa.concat_arrays([batch[name], batch[name][:0]]) for name in names]
    return pa.record_batch(copies, names=names)
