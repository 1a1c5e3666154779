"""From a plan of any kind to its contract, by what the database has of participants and earlier sessions."""

from __future__ import annotations

import secrets
from datetime import datetime

from gateway.access.principal import Principal
from gateway.planning.resolve import Directory, Listed, resolve
from gateway.planning.resolve_matching import resolve_matching
from gateway.planning.resolve_prediction import resolve_prediction
from gateway.storage.store import Rows
from parties.agreement.contract import Contract
from parties.agreement.kinds import AnyContract, ProposedPlan
from parties.agreement.match_plan import MatchingPlan
from parties.agreement.plan import Plan
from parties.errors import PlanError
from parties.service.lifecycle import State


def sees(rows: Rows, digest: str, by: Principal) -> bool:
    """Whether there is a session of this id that the account may see."""
    return rows.mark(digest, by.sees) is not None


def contract_for(plan: ProposedPlan, rows: Rows, now: datetime, by: Principal) -> AnyContract:
    """With a fresh nonce. Raises: PlanError or another of `resolve` if no contract comes of it."""
    nonce = secrets.token_bytes(32)
    if isinstance(plan, Plan):
        return resolve(plan, _directory(rows), now, nonce)
    if isinstance(plan, MatchingPlan):
        return resolve_matching(plan, _directory(rows), now, nonce)
    trained = rows.session(plan.model) if sees(rows, plan.model, by) else None
    if trained is None or trained.state is not State.COMPLETED or not isinstance(trained.contract, Contract):
        raise PlanError(
            f"model: no completed training has the id {plan.model[:12]}…",
            action="name the whole id of one, as `privity session show` prints it",
        )
    return resolve_prediction(plan, trained.contract, _directory(rows), now, nonce)


def _directory(rows: Rows) -> Directory:
    return Directory(
        {
            member.name: Listed(member.name, member.role, member.public_key, rows.published(member.name))
            for member in rows.members()
        }
    )
