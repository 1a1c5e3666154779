"""From a matching's plan to its contract: pure."""

from __future__ import annotations

from datetime import datetime

from gateway.planning.resolve import Directory, find_data, party_of, resolve_dealer, written
from mpc.matching_program import derive_matching
from parties.agreement.contract import Party
from parties.agreement.match_plan import MatchingContract, MatchingPlan
from parties.data.schema import check_ids
from parties.errors import DataError


def resolve_matching(plan: MatchingPlan, directory: Directory, now: datetime, nonce: bytes) -> MatchingContract:
    """The contract that a plan means, given these participants and schemas.

    Raises: PlanError, DataError or ContractError that says what does not fit, where, and what to do; ProgramError
    for what can't be computed.
    """
    parties = tuple(_party(plan, number, directory) for number in range(len(plan.parties)))
    program = derive_matching([party.rows for party in parties], estimate=plan.reveal == "estimate")
    return written(
        MatchingContract,
        plan,
        now,
        nonce,
        parties=parties,
        dealer=resolve_dealer(plan.dealer, directory),
        program=program,
        reveal=plan.reveal,
        result=plan.result,
        keep_days=plan.keep_days,
        rules=plan.rules,
        retention=plan.retention,
    )


def _party(plan: MatchingPlan, number: int, directory: Directory) -> Party:
    wanted, where = plan.parties[number], f"parties.{number}"
    listed, published = find_data(wanted.name, wanted.data, directory, where)
    columns = wanted.id_columns or (published.table.id_column,)
    try:
        check_ids(published.table, published.table.id_column, columns)
    except DataError as exc:
        raise DataError(f"{where}: '{wanted.name}': {exc.what}", action=exc.action) from exc
    return party_of(listed, wanted.data, published, columns, where)
