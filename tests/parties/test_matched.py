"""What a matching leaves at a party: own rows under shared ids, for as long as agreed, and nothing of a failed run."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.agreement.match_rules import IdRule, MatchRules
from parties.audit import events
from parties.audit.snapshot import locate, take
from parties.data.matched import MatchedSets
from parties.data.matched_rows import ID_COLUMN, Found, MatchedRows
from parties.data.tables import Table
from parties.data.vault import Vault
from parties.data.vault_key import MasterKey
from parties.errors import DataError, VaultError
from parties.process.job import FoundRows
from parties.process.match_worker import own_ids
from parties.psi import keyed_records
from parties.service.desk import vault_of
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
    assert list(sets.own_names("matched-patients")) == ["p03", "p50", "p07"]
    assert list(sets.own_names("patients")) == table().ids


@pytest.mark.parametrize(("duplicates", "age"), [("first", 41.0), ("last", 42.0)])
def test_of_equal_ids_the_list_s_first_or_last_row_is_taken(vault, contract, duplicates, age):
    """By the order in which the list was added, whatever the order of its own ids."""
    listed = {"patient": ["z", "m", "a"], "insured": ["K-1", "K-2", "k-1"], "age": [41.0, 50.0, 42.0]}
    vault.add("patients", Table("patients", "patient", pa.table(listed)), created=NOW)
    columns = {"columns": ("insured",)}
    parties = tuple(party.model_copy(update=columns) for party in draft_matching(contract).parties)
    own = own_ids(draft_matching(contract).model_copy(update={"parties": parties}), "clinic-a", vault.open("patients"))
    rules = MatchRules(columns=(IdRule(),), duplicates=duplicates)
    rows = keyed_records(own.columns, rules, bytes(32), own.places).rows
    assert {vault.open("patients").arrow["age"].to_pylist()[row] for row in rows} == {age, 50.0}


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
    opened, schema = vault.open("patients"), vault.manifest("patients")
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
        sets.check(matching, vault.add("renamed", renamed, created=NOW), renamed)


def test_a_matched_set_is_matched_again(sets, vault, matching, contract):
    """Under new shared ids, beside the first id of all; no longer than agreed first, and gone with either consent."""
    sets.collect(matching.digest, found([3, 5, 7], [2, 1, 0]))
    first = sets.keep(matching, NOW)
    parties = tuple(
        party.model_copy(
            update={
                "data": "matched-patients",
                "data_version": first.version,
                "rows": 3,
                "id_column": ID_COLUMN,
                "columns": ("patient",),
            }
        )
        for party in matching.parties
    )
    rules = MatchRules(minimum=1)
    again = draft_matching(contract).model_copy(
        update={"nonce": "ff" * 32, "parties": parties, "rules": rules, "result": "twice", "keep_days": 300}
    )
    sets.check(again, first, vault.open("matched-patients"))
    sets.collect(again.digest, found([0, 2], [9, 8]))
    second = sets.keep(again, NOW + timedelta(days=1))
    kept = vault.open("twice")
    assert kept.ids == [shared(8), shared(9)]
    assert kept.arrow.column_names == [ID_COLUMN, "patient", "age", "birthday"]
    assert kept.arrow["patient"].to_pylist() == ["p03", "p07"]
    assert list(sets.own_names("twice")) == ["p03", "p07"]
    assert second.origin is not None
    assert second.origin.sessions == (again.digest, matching.digest)
    assert second.origin.until == NOW + timedelta(days=30)
    sets.forget(matching.digest)
    assert vault.list() == ("patients",)


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


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 80), at_once=st.integers(1, 9000))
def test_any_rows_are_kept_part_by_part(tmp_path_factory, seed, rows, at_once):
    """Whatever order the file has, however few are held at once: what is written is what a table in memory would be."""
    generator = np.random.default_rng(seed)
    names = [f"p{row:03d}" for row in generator.permutation(rows)]
    content = {
        "patient": names,
        "age": [None if gap else float(row) for row, gap in enumerate(generator.random(rows) < 0.1)],
        "ward": [None if gap else f"w{gap}{row % 3}" for row, gap in enumerate(generator.random(rows) < 0.2)],
        "note": [f"n{row}" for row in range(rows)],
    }
    kinds = {name: pa.float64() if name == "age" else pa.string() for name in content}
    arrow = pa.table(content, schema=pa.schema(kinds.items()))
    vault = Vault(tmp_path_factory.mktemp("vault"), MasterKey.generate())
    source = vault.add("source", Table("source", "patient", arrow), created=NOW)
    chosen = generator.permutation(rows)[: generator.integers(1, rows + 1)]
    ids = [secrets.token_hex(16) for _ in chosen]
    common = Found()
    for strip in np.array_split(np.arange(len(chosen)), 3):
        common.add(FoundRows(rows=tuple(chosen[strip].tolist()), ids=tuple(ids[place] for place in strip)))
    described = [
        each.model_copy(update={"description": f"of {each.name}", "unit": "u"}) for each in source.table.columns
    ]
    words = source.table.model_copy(update={"columns": tuple(described)})
    manifest = source.model_copy(update={"table": words})
    kept = MatchedRows(manifest, lambda columns: vault.batches(source, columns), common, at_once)
    added = vault.add("kept", kept, created=NOW)
    in_order = vault.open("source").arrow.take(pa.array(chosen)).add_column(0, ID_COLUMN, pa.array(ids))
    expected = Table("kept", ID_COLUMN, in_order.sort_by(ID_COLUMN))
    written = pa.Table.from_batches(list(vault.batches(added)))
    assert written.equals(expected.arrow)
    said = {each.name: (each.description, each.unit) for each in words.columns} | {"patient": ("", "")}
    assert {each.name: (each.description, each.unit) for each in added.table.columns} == said
    plain = tuple(each.model_copy(update={"description": "", "unit": ""}) for each in added.table.columns)
    assert added.table.model_copy(update={"columns": plain}) == expected.schema("kept")
