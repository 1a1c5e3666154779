"""Results on disk and in the log: the log has a digest of each, under a salt that lies beside the result alone.

The digest tells nobody who reads the log what was disclosed. Whoever is given result and salt too can check that the
result is the one that was recorded when the session ended.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parties.audit import events
from parties.audit.snapshot import locate, take
from parties.errors import DataError, LifecycleError
from parties.home import Home
from parties.identity import write_private

SALT: Final = ".salt"
SALT_BYTES: Final = 32
RESULTS: Final = (".json", ".csv")  # of a training, of a prediction


def record(path: Path, content: bytes) -> str:
    """Keep a salt beside a result, durably; the digest for the log."""
    salt = secrets.token_bytes(SALT_BYTES)
    kept = path.with_suffix(SALT)
    kept.unlink(missing_ok=True)  # of an attempt that did not come to its end
    write_private(kept, salt)
    return digest_of(content, salt)


def digest_of(content: bytes, salt: bytes) -> str:
    """BLAKE2b of the content, keyed by the salt."""
    return hashlib.blake2b(content, key=salt, digest_size=32).hexdigest()


@dataclass(frozen=True)
class Verified:
    """A result that is the recorded one."""

    path: Path
    entry: int  # in the log


def verify_result(home: Home, beginning: str) -> Verified:
    """Hold the result of the one session whose id begins so against the log, which `audit verify` checks.

    Raises: LifecycleError if there is none; DataError if it is not what was recorded, or can't be told; AuditError.
    """
    path = _found(home, beginning)
    try:
        content, salt = path.read_bytes(), path.with_suffix(SALT).read_bytes()
    except FileNotFoundError as exc:
        raise DataError(f"there is no salt beside {path}", action="restore it from a backup") from exc
    recorded = _recorded(home, path.stem)
    digest = digest_of(content, salt[:SALT_BYTES])
    for entry, expected in recorded.items():
        if expected == digest:
            return Verified(path, entry)
    where = f"entry {max(recorded)} of the log" if recorded else "the log"
    raise DataError(f"{path} is not the result that {where} has", action="restore it, or its salt, from a backup")


def _found(home: Home, beginning: str) -> Path:
    kept = [path for path in home.path("results").iterdir() if path.suffix in RESULTS]
    found = [path for path in kept if beginning and path.name.startswith(beginning)]
    if len(found) != 1:
        raise LifecycleError(
            f"{len(found)} results begin with '{beginning}'", action="`privity node status` shows them"
        )
    return found[0]


def _recorded(home: Home, session: str) -> dict[int, str]:
    """Digests of the session's results, by the number of their entry."""
    return {
        entry.index: entry.event.digest
        for entry in take(locate(home.directory)).entries()
        if isinstance(entry.event, events.ResultStored) and entry.event.session == session
    }
