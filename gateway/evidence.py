"""What the gateway's own audit log has about one session, and the proof of each entry, to be verified anywhere.

A proof shows its whole entry. Which account of an organisation proposed or cancelled is no affair of its partners:
entries that name one are for that organisation and for those who oversee the gateway.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.access.principal import Principal
from gateway.errors import NotFound
from parties.audit.entries import Entry, decode
from parties.audit.events import Event, session_of
from parties.audit.proof import Proof, prove
from parties.audit.snapshot import UNREADABLE, error_name, reading
from parties.errors import AuditError

MOST_ENTRIES: Final = 500
_ABOUT: Final = "SELECT content FROM entries WHERE instr(content, ?) ORDER BY number LIMIT ?"
_ONE: Final = "SELECT content FROM entries WHERE number = ?"


def about(log: Path, session: str) -> Iterator[Entry]:
    """Entries about a session, the oldest first.

    Cost: one pass over the log's bytes; call it in a thread. Raises: AuditError if the log can't be read.
    """
    for entry in _read(log, _ABOUT, f'"{session}"'.encode(), MOST_ENTRIES):
        if session_of(entry.event) == session:
            yield entry


def provable(log: Path, session: str, to: Principal) -> list[Entry]:
    """Those that this account may have a proof of. Cost and errors as `about`."""
    return [entry for entry in about(log, session) if _is_for(entry.event, to)]


def proof_about(log: Path, session: str, number: int, to: Principal) -> Proof:
    """The proof of an entry about a session, by the log's newest head.

    Cost: a few look-ups. Raises: NotFound for any other entry; AuditError if the log can't be read.
    """
    for entry in _read(log, _ONE, number):
        if session_of(entry.event) == session and _is_for(entry.event, to):
            return prove(log, number)
    raise NotFound(
        f"the gateway's log has no entry {number} about this session that you may see",
        action="see the session's entries: /v1/sessions/{session}/log",
    )


def _is_for(event: Event, principal: Principal) -> bool:
    named = getattr(event, "account", None) and getattr(event, "organisation", None)
    return named is None or principal.sees in {None, named}


def _read(log: Path, wanted: str, *fields: object) -> Iterator[Entry]:
    with reading(log) as connection:
        try:
            rows = connection.execute(wanted, fields).fetchall()
        except UNREADABLE as exc:
            raise AuditError(
                f"the gateway's log can't be read ({error_name(exc)})", action="run `privity audit verify` on it"
            ) from exc
    for (content,) in rows:
        yield decode(content)
