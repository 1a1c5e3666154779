"""Heads as partners cosigned them, kept as they pass by between them; nothing here is believed, or verified.

Whoever looks at them checks the signatures.
"""

from __future__ import annotations

from collections.abc import Iterable

from parties.audit.notes import Note, parse_checkpoint, parse_note
from parties.errors import AuditError


def is_head_of(note: str, log: str) -> bool:
    """Whether a note says that it is a head of this log."""
    try:
        return parse_checkpoint(parse_note(note).text).origin == log
    except AuditError:
        return False


def merged(notes: Iterable[str]) -> tuple[str, ...]:
    """Notes of one text as one, with all their lines; what is no note stays as it is, for whoever checks it."""
    found: dict[str, Note | str] = {}
    for content in notes:
        try:
            note = parse_note(content)
        except AuditError:
            found[content] = content
            continue
        earlier = found.get(note.text)
        found[note.text] = earlier.with_signatures(*note.signatures) if isinstance(earlier, Note) else note
    return tuple(each if isinstance(each, str) else each.render() for each in found.values())
