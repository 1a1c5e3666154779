"""Which records several tables have in common, for whoever has all of them: no party of a real session could tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from parties.agreement.match_rules import MatchRules
from parties.data.tables import Table, ids_of
from parties.errors import PlanError
from parties.psi import keyed_records

KEY = bytes(32)  # hides nothing: all is here


def common_rows(
    tables: Mapping[str, Table], columns: Mapping[str, Sequence[str]], rules: MatchRules
) -> dict[str, list[int]]:
    """Of each table the rows that all have, in one order. `columns` are those that are compared.

    Raises: DataError as `keyed_records`.
    """
    found: dict[str, dict[bytes, int]] = {}
    for party, table in tables.items():
        records = keyed_records(ids_of(table, columns[party]), rules, KEY, table.places)
        found[party] = dict(zip((each.tobytes() for each in records.elements), records.rows.tolist(), strict=True))
    common = sorted(set.intersection(*map(set, found.values())))
    return {party: [rows[element] for element in common] for party, rows in found.items()}


def common_records(
    tables: Mapping[str, Table], columns: Mapping[str, Sequence[str]], rules: MatchRules
) -> dict[str, Table]:
    """The tables, of their common records alone. Raises: PlanError if these are too few; DataError as `common_rows`."""
    rows = common_rows(tables, columns, rules)
    if (count := min(map(len, rows.values()))) < rules.minimum:
        raise PlanError(
            f"the files have {count} records in common, the matching asks for {rules.minimum}",
            action="correct the id columns, how they are compared, or the minimum",
        )
    return {
        party: replace(table, arrow=table.arrow.take(pa.array(rows[party], pa.int64())), places=None)
        for party, table in tables.items()
    }
