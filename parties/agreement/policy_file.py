"""The policy in force: read anew for each contract, and recorded whenever its file is another than it was."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from parties.agreement.policy import Policy, parse_policy
from parties.audit import events
from parties.audit.log import AuditLog
from parties.errors import SettingsError


class PolicyFile:
    """policy.toml of a running node. The log has what each contract was judged by: recorded before it is used."""

    def __init__(self, path: Path, journal: AuditLog) -> None:
        self._path, self._journal = path, journal
        self._recorded: events.PolicyRead | None = None
        self._reading = threading.Lock()

    def read(self) -> Policy:
        """Raises: SettingsError if it is missing or a key does not fit; nothing is signed then."""
        with self._reading:
            content = self._content()
            try:
                policy = parse_policy(content, self._path)
            except SettingsError:
                self._record(content or b"", valid=False)
                raise
            self._record(content or b"", valid=True)
            return policy

    def _content(self) -> bytes | None:
        """None if there is no file. Raises: SettingsError if it can't be read."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise SettingsError(f"{self._path} can't be read: {exc.strerror}", action="check its rights") from exc

    def _record(self, content: bytes, *, valid: bool) -> None:
        found = events.PolicyRead(digest=hashlib.sha256(content).hexdigest(), valid=valid)
        if found != self._recorded:
            self._journal.append(found)
            self._recorded = found
