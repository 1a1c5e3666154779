"""The vocabulary is closed, canonical and unable to hold data."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from parties.audit import events
from parties.audit.document import render
from parties.audit.entries import Entry, decode
from parties.audit.events import VOCABULARY
from parties.errors import AuditError

SESSION = "ab" * 32
NOW = datetime(2026, 11, 24, 12, 30, 0, 250, tzinfo=UTC)
ENTRY = Entry(7, "clinic-a", NOW, events.ContractApproved(session=SESSION, by="operator"))
REPOSITORY = Path(__file__).parents[3]


def values(schema):
    """What a field's JSON schema allows."""
    match {"enum": [schema["const"]]} if "const" in schema else schema:
        case {"anyOf": [some, {"type": "null"}]}:
            return st.none() | values(some)
        case {"enum": choices}:
            return st.sampled_from(choices)
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "integer"}:
            return st.integers(schema["minimum"], schema["maximum"])
        case {"type": "string", "pattern": pattern}:
            return st.from_regex(pattern.removesuffix("$") + r"\Z")
        case {"type": "array", "items": item}:
            return st.lists(values(item), min_size=schema.get("minItems", 0), max_size=min(4, schema["maxItems"]))
    raise AssertionError(f"a field that could hold anything: {schema}")


def instances(event):
    fields = event.model_json_schema()["properties"]
    return st.fixed_dictionaries({name: values(field) for name, field in fields.items()}).map(event.model_validate)


MOMENTS = st.integers(0, 4 * 10**15).map(lambda us: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=us))


@settings(suppress_health_check=[HealthCheck.too_slow])  # drawing by patterns takes long on a busy machine
@given(
    st.sampled_from(sorted(VOCABULARY)).flatmap(lambda kind: instances(VOCABULARY[kind])),
    st.integers(0, 10**9),
    MOMENTS,
)
def test_every_event_is_canonical_and_comes_back(event, index, moment):
    """Any event that the schemas allow encodes to RFC 8785's bytes and decodes to itself; no field is free text."""
    entry = Entry(index, "clinic-a", moment, event)
    content = entry.encode()
    assert content == rfc8785.dumps(entry.envelope())
    assert decode(content) == entry


def test_types_have_three_parts_and_stand_once():
    """Each event is `source:subject:action`, described, and about one of its fields."""
    assert len(VOCABULARY) == len(events.Event.__subclasses__())
    for kind, event in VOCABULARY.items():
        assert [part.isalpha() and part.islower() for part in kind.split(":")] == [True] * 3
        assert event.__doc__
        assert event.subject_field in event.model_fields
        assert event.__name__ in events.__all__


def test_the_page_of_events_is_current():
    """docs/events.md lists exactly this vocabulary."""
    assert (REPOSITORY / "docs" / "events.md").read_text() == render()


def test_an_entry_has_cloudevents_names():
    """A security monitor finds the fields that it knows."""
    assert json.loads(ENTRY.encode()) == {
        "specversion": "1.0",
        "id": "7",
        "source": "clinic-a",
        "type": "session:contract:approved",
        "time": "2026-11-24T12:30:00.000250Z",
        "subject": SESSION,
        "data": {"session": SESSION, "by": "operator"},
    }


def test_times_are_utc():
    """A clock in another zone gives the same bytes."""
    there = NOW.astimezone(timezone(timedelta(hours=8)))
    assert Entry(7, "clinic-a", there, ENTRY.event).encode() == ENTRY.encode()


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        (events.DataAdded, {"name": "Patient Smith", "version": "0" * 64, "rows": 1, "columns": 1}),
        (events.DataAdded, {"name": "a", "version": "0" * 64, "rows": 1.5, "columns": 1}),
        (events.DataAdded, {"name": "a", "version": "0" * 64, "rows": True, "columns": 1}),
        (events.DataAdded, {"name": "a", "version": "0" * 64, "rows": 2**53, "columns": 1}),
        (events.DataAdded, {"name": "a\n", "version": "0" * 64, "rows": 1, "columns": 1}),
        (events.DataAdded, {"name": "a", "version": "0" * 64, "rows": 1, "columns": 1, "note": "x"}),
        (events.SessionFailed, {"session": SESSION, "reason": "Row 12 has value 3.4", "who": "clinic-a"}),
        (events.ContractRefused, {"session": SESSION, "by": "somebody", "reason": "policy"}),
        (events.ResultStored, {"session": "ab", "name": "coefficients", "digest": SESSION}),
    ],
)
def test_data_and_sentences_do_not_fit(event, fields):
    """Free text, numbers that are no counts, and fields that nobody declared are refused."""
    with pytest.raises(ValidationError):
        event.model_validate(fields)


@pytest.mark.parametrize("asked", ["w" * 81, "the value is 3.4", "x\ny", "", "Żółć"])
def test_what_a_process_asks_for_is_no_way_in(asked):
    """A refused request is logged under its name only where it is one."""
    assert events.allowed_name("coefficients") == "coefficients"
    assert events.allowed_name(asked) is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"type": "session:contract:sold"}, "event type that this release does not know"),
        ({"specversion": "2.0"}, "CloudEvents version '2.0'"),
        ({"extra": 1}, "not an event"),
        ({"id": "07"}, "not an event"),
        ({"data": {"session": SESSION, "by": "nobody"}}, "does not fit the schema of session:contract:approved"),
        ({"data": {"session": SESSION, "by": "operator", "note": "x"}}, "does not fit"),
        ({"time": "yesterday"}, "does not fit"),
        ({"time": "2026-11-24T12:30:00Z"}, "canonical"),
        ({"time": "2026-11-24T12:30:00.000250+00:00"}, "canonical"),
        ({"subject": "another"}, "canonical"),
    ],
)
def test_what_is_no_entry_is_refused(change, complaint):
    """An unknown type, version or field, and another spelling of a known one, each have their own complaint."""
    with pytest.raises(AuditError, match=complaint):
        decode(rfc8785.dumps({**ENTRY.envelope(), **change}))


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 60_000, b"\xff", b"null", ENTRY.encode() + b"\n"])
def test_nonsense_is_refused(content):
    """Bytes that are no canonical JSON are one clear error."""
    with pytest.raises(AuditError):
        decode(content)


def test_a_huge_entry_is_refused():
    """An entry over the limit is an error when it is made, not when it is verified."""
    with pytest.raises(AuditError, match="65535"):
        Entry(0, "a" * 70_000, NOW, ENTRY.event).encode()
