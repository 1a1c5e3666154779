"""What a node publishes of a data set: its columns, their kinds and its row count, never a value.

No table library is imported here, so that whoever only plans or resolves (the gateway) needs none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Protocol

import rfc8785
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from parties.errors import DataError

MAX_COLUMNS = 10_000
MAX_CATEGORIES = 20  # distinct values of text that is a category, and so may be a label
MAX_NAME_CHARACTERS = 128
MAX_WORDS_CHARACTERS = 200
DATA_SET_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"

Kind = Literal["number", "category", "text"]


def is_column_name(name: str) -> bool:
    """Whether a name can be shown in a terminal and typed back: printable, trimmed, short, not empty."""
    return 0 < len(name) <= MAX_NAME_CHARACTERS and name.isprintable() and name == name.strip()


def _column_name(name: str) -> str:
    if not is_column_name(name):
        raise ValueError(f"a column name is 1 to {MAX_NAME_CHARACTERS} printable characters, trimmed")
    return name


ColumnName = Annotated[str, AfterValidator(_column_name)]


def _words(text: str) -> str:
    if not (text.isprintable() and text == text.strip()):
        raise ValueError("words are printable and trimmed")
    return text


Words = Annotated[str, Field(max_length=MAX_WORDS_CHARACTERS), AfterValidator(_words)]
DataSetName = Annotated[str, Field(pattern=DATA_SET_PATTERN)]


class Column(BaseModel):
    """One column besides the id.

    `kind` is "category" for text with 2 to MAX_CATEGORIES distinct values, which are not published; `complete` is false
    if any row lacks the value. `description` and `unit` are its owner's words, from the schema file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ColumnName
    kind: Kind
    complete: bool
    description: Words = ""
    unit: Words = ""


class Schema(BaseModel):
    """All that a node publishes of a data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: DataSetName
    rows: int = Field(ge=1)
    id_column: ColumnName
    columns: tuple[Column, ...] = Field(max_length=MAX_COLUMNS)

    @property
    def digest(self) -> str:
        """SHA-256 of its canonical JSON, in hexadecimal: what contracts call it."""
        return hashlib.sha256(rfc8785.dumps(self.model_dump(mode="json"))).hexdigest()


class HasColumns(Protocol):
    """A published schema or a table: anything with a name and described columns."""

    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> tuple[Column, ...]: ...


def find_column(source: HasColumns, name: str) -> Column:
    """Raises: DataError if there is no such column (the id is none: it is matched, never trained on)."""
    for column in source.columns:
        if column.name == name:
            return column
    raise DataError(
        f"{source.name} has no column '{name}'",
        action=f"name columns that it has; `privity data show {source.name}` lists them",
    )


class Reads(Protocol):
    """What of a column's recipe says which columns it can read."""

    @property
    def encoding(self) -> str: ...

    @property
    def missing(self) -> str: ...


def check_features(source: HasColumns, wanted: Sequence[str], of: Callable[[str], Reads] | None = None) -> None:
    """Check what a schema tells of columns to be trained on, by their recipes or as they are.

    Raises: DataError for no column at all, one named twice, unknown, of another kind than its recipe reads, or with
    missing values that it refuses.
    """
    if not wanted:
        raise DataError(f"no column of {source.name} is named", action="name at least one feature column")
    for name in wanted:
        column = find_column(source, name)
        if list(wanted).count(name) > 1:
            raise DataError(f"column '{name}' of {source.name} is named twice", action="name it once")
        recipe = of(name) if of else None
        _check_kind(source, column, recipe.encoding if recipe else "number")
        if recipe is None or recipe.missing == "refuse":
            _check_complete(source, column)


def _check_kind(source: HasColumns, column: Column, encoding: str) -> None:
    if encoding == "number" and column.kind != "number":
        raise DataError(
            f"column '{column.name}' of {source.name} holds text where a feature must be numbers",
            action="say in the plan's preparation how it is encoded, or leave it out of the plan",
        )
    if encoding == "days" and column.kind == "number":
        raise DataError(
            f"column '{column.name}' of {source.name} holds numbers where dates must be",
            action="take it as a number, or add the data set again with dates such as 2020-12-31",
        )


def check_ids(source: HasColumns, id_column: str, wanted: Sequence[str]) -> None:
    """Check what a schema tells of columns by which records are matched: the id, or text.

    Raises: DataError if one is unknown, or was taken for numbers, which have lost how they were written.
    """
    for name in wanted:
        if name != id_column and find_column(source, name).kind == "number":
            raise DataError(
                f"column '{name}' of {source.name} holds numbers, and ids are compared as text",
                action="add the data set again, with a schema file in which the column's kind is text",
            )


def check_label(source: HasColumns, name: str) -> None:
    """Check what a schema can tell of the label; `tables.labels` checks the values too.

    Raises: DataError if the column is unknown, has missing values, or is text of too many values for a label.
    """
    column = find_column(source, name)
    if column.kind == "text":
        raise DataError(
            f"column '{name}' of {source.name} is text without 2 to {MAX_CATEGORIES} values to tell apart",
            action="name a column of few values",
        )
    _check_complete(source, column)


def _check_complete(source: HasColumns, column: Column) -> None:
    if not column.complete:
        raise DataError(
            f"column '{column.name}' of {source.name} has missing values",
            action="say in the plan's preparation what is filled in, leave those rows out, or leave the column out",
        )
