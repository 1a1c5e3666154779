"""A part of a log for people to read: the newest entries that a filter lets through. `verify` says if they are genuine.

Bounded whatever the log's size: a page of entries, sought in short reads that do not hold up the writer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, field_validator

from parties.agreement.plan import Frozen, explain
from parties.audit.entries import Entry, decode
from parties.audit.events import VOCABULARY
from parties.audit.snapshot import READ_TIMEOUT_S, UNREADABLE, error_name
from parties.errors import AuditError, PageError

PAGE_ENTRIES = 100
STRIDE = 50_000  # entries looked through in one read

_SEEK = """
SELECT number, content FROM (SELECT number, content, CAST(content AS TEXT) AS text FROM entries
  WHERE number >= :low AND number < :high)
WHERE (:kind = '' OR json_extract(text, '$.type') = :kind)
  AND (:session = '' OR substr(json_extract(text, '$.data.session'), 1, length(:session)) = :session)
  AND (:since = '' OR json_extract(text, '$.time') >= :since)
  AND (:until = '' OR json_extract(text, '$.time') < :until)
ORDER BY number DESC LIMIT :most
"""


class Filter(Frozen):
    """What to show; what is empty lets everything through. Days are UTC, both included."""

    since: date | None = None
    until: date | None = None
    kind: str = ""
    session: Annotated[str, Field(pattern=r"^[0-9a-f]{0,64}$")] = ""
    before: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = None  # only entries with smaller numbers

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind and kind not in VOCABULARY:
            raise ValueError("there is no such event")
        return kind

    @classmethod
    def parse(cls, fields: Mapping[str, str]) -> Self:
        """Out of an address's query. Raises: PageError that names what does not fit."""
        try:
            return cls.model_validate({name: value.strip() for name, value in fields.items() if value.strip()})
        except ValidationError as exc:
            raise PageError(
                400, f"no such filter: {explain(exc)}", action="days as 2026-11-27, a session's id in hex"
            ) from exc


@dataclass(frozen=True)
class Excerpt:
    """Entries, newest first; `older` is the number below which more may be found, if any."""

    entries: tuple[Entry, ...]
    older: int | None


def excerpt(path: Path, size: int, wanted: Filter) -> Excerpt:
    """The newest entries of the first `size` that the filter lets through. Raises: AuditError if one can't be read."""
    high = size if wanted.before is None else min(size, wanted.before)
    try:
        with closing(_connect(path)) as connection:
            rows = list(islice(_seek(connection, high, wanted), PAGE_ENTRIES + 1))
    except UNREADABLE as exc:
        raise AuditError(
            f"the log can't be read ({error_name(exc)})", action="run `privity audit verify` on it"
        ) from exc
    entries = tuple(_entry(number, content) for number, content in rows[:PAGE_ENTRIES])
    return Excerpt(entries, entries[-1].index if len(rows) > PAGE_ENTRIES else None)


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=READ_TIMEOUT_S)


def _seek(connection: sqlite3.Connection, high: int, wanted: Filter) -> Iterator[tuple[int, bytes]]:
    """Each stride is a read transaction of its own: a commit waits for one at most."""
    fields = {
        "kind": wanted.kind,
        "session": wanted.session,
        "since": wanted.since.isoformat() if wanted.since else "",
        "until": f"{wanted.until.isoformat()}T~" if wanted.until else "",  # above every time of that day
        "most": PAGE_ENTRIES + 1,
    }
    while high > 0:
        low = max(0, high - STRIDE)
        yield from connection.execute(_SEEK, {**fields, "low": low, "high": high}).fetchall()
        high = low


def _entry(number: int, content: bytes) -> Entry:
    try:
        return decode(content)
    except AuditError as exc:
        raise AuditError(f"entry {number} {exc.what}", action=exc.action) from exc
