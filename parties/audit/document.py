"""The page of documentation that lists the vocabulary, made from the vocabulary."""

from __future__ import annotations

import inspect

from parties.audit.events import VOCABULARY, Event

_OPENING = """\
# Audit events

Each node, dealer and gateway writes these events, and no others, to its own append-only log. An entry is canonical
JSON (RFC 8785) with the field names of CloudEvents: `specversion`, `id` (the entry's number), `source` (whose log it
is), `type`, `time` (UTC), `subject` (what it is about) and `data`, whose fields are listed here. Fields in brackets
may be absent. No field can hold a value of anybody's data or free text.

This page is made from the code: `python -m parties.audit.document > docs/events.md`.
"""


def render() -> str:
    """The page, in Markdown."""
    return "\n".join([_OPENING, *(_section(event) for event in VOCABULARY.values())])


def _section(event: type[Event]) -> str:
    fields = [_field(event, name) for name in event.model_fields]
    return "\n".join([f"## `{event.type}`", "", inspect.cleandoc(event.__doc__ or ""), "", *fields, ""])


def _field(event: type[Event], name: str) -> str:
    schema = event.model_json_schema()
    shown = f"`{name}`" if name in schema.get("required", ()) else f"[`{name}`]"
    return f"- {shown}: {_description(schema['properties'][name])}"


def _description(field: dict[str, object]) -> str:
    """A field's own description, or that of its items or of what it is when it is there."""
    match field:
        case {"description": str(text)}:
            return text
        case {"items": {"description": str(text)}}:
            return f"list; each {text}"
        case {"anyOf": [{"description": str(text)}, *_]}:
            return text
    raise ValueError("an event's field has no description")


if __name__ == "__main__":
    import sys

    sys.stdout.write(render())
