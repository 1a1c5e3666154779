"""From a prediction's plan to its contract: pure. What is agreed of the model comes from the training that left it."""

from __future__ import annotations

from datetime import datetime

from gateway.planning.resolve import Directory, check_rows, find_data, party_of, resolve_dealer, written
from mpc.prediction_program import derive_prediction
from parties.agreement.contract import MATCHINGS, Contract, Party, membership
from parties.agreement.joining import comparing_ids
from parties.agreement.prediction import PredictionContract, PredictionPlan, spec_for
from parties.columns.division import Division
from parties.data.schema import check_features
from parties.errors import DataError, PlanError


def resolve_prediction(
    plan: PredictionPlan, trained: Contract, directory: Directory, now: datetime, nonce: bytes
) -> PredictionContract:
    """The contract that a plan means, given the training that left its model, these participants and schemas.

    Raises: PlanError, DataError or ContractError that says what does not fit, where, and what to do; ProgramError
    for what can't be computed.
    """
    if not trained.retention.model_days:
        raise PlanError(
            f"model: session {plan.model[:12]} left no model: its contract keeps none",
            action="train with `model_days` above 0 under [retention]",
        )
    parties = tuple(_party(plan, number, trained, directory) for number in range(len(trained.parties)))
    check_rows(parties, trained.partition)
    preparation, fit_intercept = trained.preparation, trained.model.fit_intercept
    told_apart = trained.label.told_apart
    program = derive_prediction(
        spec_for(trained.partition, parties, plan.recipient, preparation, fit_intercept, told_apart)
    )
    return written(
        PredictionContract,
        plan,
        now,
        nonce,
        parties=parties,
        dealer=resolve_dealer(plan.dealer, directory),
        program=program,
        told_before=membership(trained.partition, parties),
        beside=comparing_ids(Division.of(trained.partition, parties), parties),
        partition=trained.partition,
        matching=MATCHINGS[trained.partition],
        model=plan.model,
        recipient=plan.recipient,
        preparation=preparation,
        fit_intercept=fit_intercept,
        told_apart=told_apart,
        retention=plan.retention,
    )


def _party(plan: PredictionPlan, number: int, trained: Contract, directory: Directory) -> Party:
    """In the order of the training, whose ranks the shares of the model are of."""
    former = trained.parties[number]
    names = [party.name for party in plan.parties]
    if sorted(names) != sorted(party.name for party in trained.parties):
        raise PlanError(
            f"parties: the model lies at {', '.join(party.name for party in trained.parties)}",
            action="name exactly these: without each one's share there is no model",
        )
    place = names.index(former.name)
    where = f"parties.{place}"
    data = plan.parties[place].data
    listed, published = find_data(former.name, data, directory, where)
    try:
        if former.columns:
            check_features(published.table, former.columns, trained.preparation.of)
    except DataError as exc:
        raise DataError(f"{where}: '{former.name}': {exc.what}", action=exc.action) from exc
    return party_of(listed, data, published, former.columns, where)
