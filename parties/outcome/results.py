"""Results on disk and in the log: the log has a digest of each, under a salt that lies beside the result alone.

The digest tells nobody who reads the log what was disclosed. Whoever is given result and salt too can check that the
result is the one that was recorded when the session ended.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parties.audit import events
from parties.audit.entries import Entry
from parties.audit.events import session_of
from parties.audit.snapshot import locate, take
from parties.errors import DataError, LifecycleError
from parties.keys.identity import write_private
from parties.outcome import told
from parties.salted import SALT_BYTES, digest_of
from parties.service.home import Home

SALT: Final = ".salt"
ESTIMATE: Final = ".estimate"
RESULTS: Final = (".json", ".csv", ESTIMATE)  # of a training, of a prediction, of common records


def record(path: Path, content: bytes) -> str:
    """Keep a salt beside a result, durably; the digest for the log."""
    salt = secrets.token_bytes(SALT_BYTES)
    kept = path.with_suffix(SALT)
    kept.unlink(missing_ok=True)  # of an attempt that did not come to its end
    write_private(kept, salt)
    return digest_of(content, salt)


@dataclass(frozen=True)
class Verified:
    """A result that is the recorded one, and the values told on the way to it that are."""

    path: Path | None  # None of a session that left no result here
    entry: int  # of the result in the log
    told: int  # disclosures whose values and salts are those of the log


def verify_result(home: Home, beginning: str) -> Verified:
    """Hold what the one session whose id begins so told this party against the log, which `audit verify` checks.

    Raises: LifecycleError if there is nothing of it; DataError if it is not what was recorded, or can't be told;
    AuditError.
    """
    path = _found(home, beginning)
    recorded = [entry for entry in take(locate(home.directory)).entries() if session_of(entry.event) == path.stem]
    values = told.path_of(home.path("results"), path.stem)
    counted = told.hold_against(values, [one for one in recorded if isinstance(one.event, events.DisclosureTold)])
    if path == values:
        return Verified(None, 0, counted)
    return Verified(path, _entry_of(path, recorded), counted)


def _entry_of(path: Path, recorded: list[Entry]) -> int:
    """The entry that has the digest of a result. Raises: DataError if there is none."""
    try:
        content, salt = path.read_bytes(), path.with_suffix(SALT).read_bytes()
    except FileNotFoundError as exc:
        raise DataError(f"there is no salt beside {path}", action="restore it from a backup") from exc
    stored = {one.index: one.event.digest for one in recorded if isinstance(one.event, events.ResultStored)}
    digest = digest_of(content, salt[:SALT_BYTES])
    for entry, expected in stored.items():
        if expected == digest:
            return entry
    where = f"entry {max(stored)} of the log" if stored else "the log"
    raise DataError(f"{path} is not the result that {where} has", action="restore it, or its salt, from a backup")


def _found(home: Home, beginning: str) -> Path:
    """The result of a session, or what it was told if it left none."""
    kept = [path for path in home.path("results").iterdir() if path.suffix in {*RESULTS, told.SUFFIX}]
    found = {path.stem: path for path in sorted(kept, key=lambda path: path.suffix in RESULTS)}
    named = [path for session, path in found.items() if beginning and session.startswith(beginning)]
    if len(named) != 1:
        raise LifecycleError(
            f"{len(named)} results begin with '{beginning}'", action="`privity node status` shows them"
        )
    return named[0]
