"""What a report is made from: a session's contract and approvals as stored, and what the log says of it.

The log is read once: what is reported is what was verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from parties.audit import events
from parties.audit.entries import Entry, decode
from parties.audit.notes import parse_checkpoint, parse_note
from parties.audit.snapshot import UNREADABLE, Snapshot, error_name, locate, take
from parties.audit.verify import examine
from parties.errors import AuditError
from parties.report.facts import Checked
from parties.service.home import Home
from parties.service.store import Session, SessionStore


@dataclass(frozen=True)
class Material:
    """What facts are made from: a session's contract and approvals as stored, and all entries about it."""

    name: str
    session: Session
    approvals: dict[str, dict[str, Any]]
    entries: tuple[Entry, ...]
    checked: Checked

    @classmethod
    def of(cls, home: Home, beginning: str, *, check: bool = True) -> Material:
        """Raises: LifecycleError if no session begins so, or several; AuditError if the log can't be read at all."""
        name, key = home.settings.name, home.identity.fingerprint
        store = SessionStore(home.path("state.sqlite"))
        session = store.get(beginning)
        path = locate(home.directory)
        snapshot = take(path)
        checked = _check(snapshot, key) if check else Checked(intact=False, entries=0, root="", fingerprint=key)
        return cls(name, session, store.approvals(session.digest), _about(snapshot, session.digest), checked)


def _check(snapshot: Snapshot, key: str) -> Checked:
    verdict = examine(snapshot, key=key)
    return Checked(
        intact=verdict.ok,
        entries=verdict.entries,
        root=_root(snapshot),
        fingerprint=key,
        failure=verdict.failure.what if verdict.failure else "",
        action=verdict.failure.action if verdict.failure else "",
        remarks=verdict.remarks,
    )


def _root(snapshot: Snapshot) -> str:
    """Of the newest head; empty where there is none that can be read."""
    try:
        with snapshot.connect() as connection:
            (note,) = connection.execute("SELECT note FROM heads ORDER BY size DESC LIMIT 1").fetchone()
        return parse_checkpoint(parse_note(note).text).root.hex()
    except (*UNREADABLE, AuditError, TypeError):
        return ""


def _about(snapshot: Snapshot, digest: str) -> tuple[Entry, ...]:
    """The entries that name the session, as session or as the one that left a model; damaged ones are left out.

    Raises: AuditError if the file's pages are damaged.
    """
    found = []
    with snapshot.connect() as connection:
        try:
            rows = connection.execute(
                "SELECT content FROM entries WHERE instr(content, ?) ORDER BY number", (f'"{digest}"'.encode(),)
            ).fetchall()
        except UNREADABLE as exc:
            raise AuditError(
                f"the log's pages are damaged ({error_name(exc)})", action="run `privity audit verify` on it"
            ) from exc
    for (content,) in rows:
        try:
            entry = decode(content)
        except (AuditError, TypeError):  # the verdict says that, and where
            continue
        if digest in {events.session_of(entry.event), getattr(entry.event, "model", None)}:
            found.append(entry)
    return tuple(found)
