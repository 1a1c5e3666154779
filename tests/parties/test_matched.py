"""What a matching leaves at a party: own rows under shared ids, for as long as agreed, and nothing of a failed run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from parties.audit import events
from parties.audit.snapshot import locate, take
from parties.desk import vault_of
from parties.errors import DataError, VaultError
from parties.job import FoundRows
from parties.match_rules import IdRule, MatchRules
from parties.matched import ID_COLUMN, MatchedSets
from parties.tables import Table
from parties.vault import Vault
from tests.parties.conftest import draft_matching

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
ROWS = 60


@pytest.fixture
def vault(home) -> Vault:
    return vault_of(home)


@pytest.fixture
def sets(vault, journal) -> MatchedSets:
    return MatchedSets("clinic-a", vault, journal)


def table(**more) -> Table:
    ids = [f"p{row:02d}" for row in range(ROWS)]
    columns = {"patient": ids, "age": [float(row) for row in range(ROWS)], "birthday": ["2000-01-01"] * ROWS}
    return Table("patients", "patient", pa.table(columns | more))


@pytest.fixture
def matching(contract, vault):
    """A contract on what lies in clinic-a's vault."""
    added = vault.add("patients", table(), created=NOW)
    parties = tuple(
        party.model_copy(update={"data_version": added.version, "rows": ROWS})
        for party in draft_matching(contract).parties
    )
    return draft_matching(contract).model_copy(update={"parties": parties})


def shared(number: int) -> str:
    return f"{number:032x}"


def found(rows, ids) -> FoundRows:
    return FoundRows(rows=tuple(rows), ids=tuple(map(shared, ids)))


def test_common_rows_are_kept_under_shared_ids(sets, vault, matching):
    """In the order of the shared ids, each row whole, the former id a column; where it comes from stands beside it."""
    sets.collect(matching.digest, found([7, 3], [9, 1]))
    sets.collect(matching.digest, found([50], [5]))
    manifest = sets.keep(matching, NOW)
    kept = vault.open("matched-patients")
    assert kept.ids == [shared(1), shared(5), shared(9)]
    assert kept.arrow["patient"].to_pylist() == ["p03", "p50", "p07"]
    assert kept.arrow["age"].to_pylist() == [3.0, 50.0, 7.0]
    assert (manifest.table.id_column, manifest.table.rows, manifest.shareable) == (ID_COLUMN, 3, False)
    assert manifest.origin is not None
    assert manifest.origin.partners == ("clinic-b",)
    assert manifest.origin.until == NOW + timedelta(days=30)
    assert sets.own_names("matched-patients") == ["p03", "p50", "p07"]
    assert sets.own_names("patients") == table().ids


def test_the_log_says_it(sets, home, matching):
    """One entry, about the session: the number of rows, and no id."""
    sets.collect(matching.digest, found([0], [0]))
    manifest = sets.keep(matching, NOW)
    event = [entry.event for entry in take(locate(home.path("audit.sqlite"))).entries()][-1]
    assert event == events.DataMatched(
        name="matched-patients",
        version=manifest.version,
        rows=1,
        columns=3,
        session=matching.digest,
        source="patients",
        days=30,
    )


def test_its_time_ends_it(sets, vault, matching):
    """Once no session uses it any more, and not before its day."""
    sets.collect(matching.digest, found([0], [0]))
    sets.keep(matching, NOW)
    day = NOW + timedelta(days=30)
    sets.expire(day - timedelta(seconds=1), lambda _: False)
    sets.expire(day, lambda name: name == "matched-patients")
    assert "matched-patients" in vault.list()
    sets.expire(day, lambda _: False)
    assert vault.list() == ("patients",)


def test_a_run_that_failed_leaves_nothing(sets, vault, matching):
    """Neither rows in memory nor a data set; others' stay."""
    sets.collect(matching.digest, found([0], [0]))
    sets.keep(matching, NOW)
    sets.forget("ab" * 32)
    assert "matched-patients" in vault.list()
    sets.forget(matching.digest)
    assert vault.list() == ("patients",)
    sets.collect(matching.digest, found([1], [1]))
    sets.forget(matching.digest)
    with pytest.raises(DataError, match="no common record"):
        sets.keep(matching, NOW)
    assert vault.list() == ("patients",)


def test_what_can_not_be_matched_is_refused_before_it_runs(sets, vault, matching):
    """A name that is taken, ids that occur twice in the one form, a column called as the shared ids are."""
    opened, schema = vault.open("patients"), vault.schema("patients")
    sets.check(matching, schema, opened)
    dates = matching.model_copy(update={"rules": MatchRules(columns=(IdRule(kind="date"), IdRule(kind="date")))})
    with pytest.raises(DataError, match="no row has ids that can be compared"):
        sets.check(dates, schema, opened)
    one = matching.parties[0].model_copy(update={"columns": ("birthday",)})
    alone = matching.model_copy(update={"parties": (one, matching.parties[1]), "rules": MatchRules()})
    with pytest.raises(DataError, match="59 rows have ids that are another row's"):
        sets.check(alone, schema, opened)
    with pytest.raises(VaultError, match="patients"):
        sets.check(matching.model_copy(update={"result": "patients"}), schema, opened)
    renamed = table(**{ID_COLUMN: ["x"] * ROWS})
    with pytest.raises(DataError, match="as the shared ids are called"):
        sets.check(matching, renamed.schema("patients"), renamed)


def test_another_version_of_the_data_is_not_taken(sets, vault, matching):
    """Rows are numbers of the very version that the contract names."""
    vault.remove("patients")
    vault.add("patients", table(), created=NOW)
    sets.collect(matching.digest, found([0], [0]))
    with pytest.raises(VaultError, match="was replaced during the session"):
        sets.keep(matching, NOW)


def test_what_a_worker_found_is_not_printed():
    """Neither rows nor ids show in print."""
    assert repr(found([1], [2])) == "FoundRows(type='found')"
