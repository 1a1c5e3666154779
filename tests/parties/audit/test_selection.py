"""Days, partners and spreadsheets: which entries a selection lets through, and what they look like in a table."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from parties.audit.entries import Entry
from parties.audit.events import (
    DataAdded,
    DisclosureRecorded,
    PartnerAdded,
    ServiceStarted,
    SessionFailed,
    TranscriptCompared,
    participants_of,
)
from parties.audit.selection import Selection, as_text
from parties.errors import SettingsError

SESSION = "ab" * 32
PRINT = "-".join(["0123"] * 10)
STARTED = ServiceStarted(role="node", version="0.1.0")


def disclosed(*recipients):
    return DisclosureRecorded(
        session=SESSION, name="loss", recipients=recipients, shape=(), clause="disclosures.0", count=1
    )


@pytest.mark.parametrize(
    ("event", "named"),
    [
        (STARTED, set()),
        (DataAdded(name="clinic-b", version="ab" * 16, rows=1, columns=1), set()),
        (PartnerAdded(name="clinic-b", fingerprint=PRINT), {"clinic-b"}),
        (SessionFailed(session=SESSION, reason="engine.peer-lost", who="clinic-b"), {"clinic-b"}),
        (TranscriptCompared(session=SESSION, partner="clinic-b", digest=SESSION, equal=True), {"clinic-b"}),
        (disclosed("session"), set()),
        (disclosed("party:clinic-a", "parties:clinic-b,clinic-c"), {"clinic-a", "clinic-b", "clinic-c"}),
    ],
)
def test_whom_an_event_names(event, named):
    """Participants are named by fields for them and as recipients, not by what a data set is called."""
    assert participants_of(event) == named


@pytest.mark.parametrize(
    ("since", "until", "admitted"),
    [(None, None, True), (3, 3, True), (4, None, False), (None, 2, False), (1, 9, True)],
)
def test_days_are_utc_and_both_included(since, until, admitted):
    """An entry is of the day on which it was written in Greenwich, whatever zone its time is shown in."""
    late = datetime(2026, 11, 4, 1, tzinfo=timezone(timedelta(hours=2)))  # the 3rd, 23:00 UTC
    days = [datetime(2026, 11, day, tzinfo=UTC) if day else None for day in (since, until)]
    assert Selection.of(*days, "", {}).admits(Entry(0, "clinic-a", late, STARTED)) is admitted


def test_what_can_select_nothing_is_an_error():
    """No empty list for a name that nobody has, or days in the wrong order."""
    with pytest.raises(SettingsError, match="not a participant's name"):
        Selection.of(None, None, "Clinic B", {})
    with pytest.raises(SettingsError, match="later than"):
        Selection.of(datetime(2026, 11, 4, tzinfo=UTC), datetime(2026, 11, 3, tzinfo=UTC), "", {})


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(start):
    """What a spreadsheet would compute stands behind an apostrophe; all else stays as it is."""
    assert as_text(f"{start}1+1") == f"'{start}1+1"
    assert as_text(f"a{start}") == f"a{start}"
