"""A sandbox's matching before its training: what it found, beside what a plain join of the files finds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.compute as pc

from gateway.commands.following import follow
from gateway.sandbox.consortium import Consortium
from gateway.sandbox.disclosed import Ledger, disclosed
from gateway.views import SessionView
from gateway.watching import SessionEvent
from parties.agreement.match_plan import MatchingContract
from parties.data.joining import common_rows
from parties.data.tables import Table
from parties.data.vault import Vault
from parties.errors import ContractError, GatewayError
from parties.sources import read_table


@dataclass(frozen=True)
class MatchingReport:
    """What a matching showed, and to whom."""

    session: str
    rows: dict[str, int]  # of each party's list
    common: int  # that each party's node kept
    minimum: int
    exact: bool  # whether they are those of a plain join, the same record under the same id everywhere
    seconds: float
    bytes_sent: dict[str, int]
    disclosures: tuple[Ledger, ...]
    unnamed: tuple[str, ...]  # disclosures that the contract does not name: must be none


@dataclass(frozen=True)
class MatchedFirst:
    """The report, and the files' matched rows under the ids that all parties share."""

    report: MatchingReport
    tables: dict[str, Table]


def match_first(
    consortium: Consortium,
    files: Mapping[str, Path],
    id_column: str,
    say: Callable[[str], None],
    on_event: Callable[[SessionEvent], None],
) -> MatchedFirst:
    """Run the consortium's matching to its end, and share what it left, as each operator does.

    Raises: GatewayError if the session does not complete.
    """
    if consortium.client is None or consortium.matching is None:
        raise GatewayError("there is nothing to match")
    session = consortium.propose(consortium.matching)
    say(f"proposed matching {session[:12]}")
    consortium.approve(session, say)
    started = time.monotonic()
    view = follow(consortium, session, on_event)
    seconds = time.monotonic() - started
    contract = consortium.client.contract(session)
    if not isinstance(contract, MatchingContract):
        raise ContractError("the gateway made a matching's plan another contract")
    found = _found(contract, consortium, files, id_column)
    consortium.share(contract.leaves, [party.name for party in contract.parties])
    say(f"each of {len(contract.parties)} parties shares its {found.common} matched records")
    return MatchedFirst(_report(contract, consortium, view, seconds, found), found.tables)


@dataclass(frozen=True)
class _Found:
    common: int
    exact: bool
    tables: dict[str, Table]


def _found(contract: MatchingContract, consortium: Consortium, files: Mapping[str, Path], id_column: str) -> _Found:
    """What the nodes kept, as rows of the files."""
    names = [party.name for party in contract.parties]
    whole = {name: read_table(files[name], id_column) for name in names}
    rows = common_rows(whole, {party.name: party.columns for party in contract.parties}, contract.rules)
    joined = [frozenset(zip(names, each, strict=True)) for each in zip(*(rows[name] for name in names), strict=True)]
    tables, kept = {}, []
    for name in names:
        matched = Vault(consortium.home(name).path("vault"), consortium.home(name).master_key()).open(contract.leaves)
        places = pc.index_in(matched.arrow[id_column], value_set=whole[name].arrow[id_column].combine_chunks())
        ids = matched.arrow[matched.id_column]
        tables[name] = replace(
            whole[name],
            id_column=matched.id_column,
            arrow=whole[name].arrow.take(places).add_column(0, matched.id_column, ids),
            places=None,
        )
        kept.append(dict(zip(ids.to_pylist(), places.to_pylist(), strict=True)))
    shared = set.union(*map(set, kept))
    same = [frozenset((name, own.get(one)) for name, own in zip(names, kept, strict=True)) for one in shared]
    return _Found(len(shared), set(same) == set(joined), tables)


def _report(
    contract: MatchingContract, consortium: Consortium, view: SessionView, seconds: float, found: _Found
) -> MatchingReport:
    disclosures, unnamed = disclosed(contract, consortium.directory)
    return MatchingReport(
        session=contract.digest,
        rows={party.name: party.rows for party in contract.parties},
        common=found.common,
        minimum=contract.rules.minimum,
        exact=found.exact,
        seconds=seconds,
        bytes_sent={item.name: item.report.bytes_sent for item in view.participants if item.report is not None},
        disclosures=disclosures,
        unnamed=unnamed,
    )
