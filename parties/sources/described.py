"""The schema file: what an owner says of columns that the data itself does not.

leave_out = ["comment"]            # columns that stay outside the vault

[columns.age]
kind = "number"                    # "number" or "text"; default: as it is found
description = "age at admission"   # published; default: none
unit = "years"                     # published; default: none
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from parties.agreement.plan import explain
from parties.data.schema import ColumnName, Words
from parties.errors import SettingsError

MAX_FILE_BYTES = 1 << 20


class ColumnNote(BaseModel):
    """What is said of one column."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["number", "text"] | None = None
    description: Words = ""
    unit: Words = ""


class Notes(BaseModel):
    """A schema file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    leave_out: tuple[ColumnName, ...] = ()
    columns: dict[ColumnName, ColumnNote] = {}

    def of(self, column: str) -> ColumnNote:
        return self.columns.get(column, ColumnNote())

    @property
    def text(self) -> frozenset[str]:
        """Columns that are text, whatever they look like."""
        return frozenset(name for name, note in self.columns.items() if note.kind == "text")


def read_notes(path: Path) -> Notes:
    """Raises: SettingsError if the file can't be read, or says something else."""
    try:
        content = path.read_bytes()
        if len(content) > MAX_FILE_BYTES:
            raise SettingsError(f"{path} is no schema file: it has over {MAX_FILE_BYTES} bytes")
        return Notes.model_validate(tomllib.loads(content.decode()))
    except OSError as exc:
        raise SettingsError(f"{path} can't be read: {exc.strerror}", action="check the path and its rights") from exc
    except ValidationError as exc:
        raise SettingsError(f"{path}: {explain(exc)}", action="docs/formats.md has the keys of a schema file") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path} is not TOML", action="docs/formats.md has an example of a schema file") from exc
