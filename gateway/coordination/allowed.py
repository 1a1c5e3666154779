"""What of a participant's words a session shows: no more than its contract discloses, and blame of its own alone."""

from __future__ import annotations

from gateway.storage.store import SessionRecord
from mpc.evaluation_program import EVERY_FIGURE
from parties.agreement.contract import Contract
from parties.agreement.kinds import AnyContract
from parties.service.messages import Fault, Finished, InformationValue, Progress


def allowed_progress(message: Progress, contract: AnyContract) -> Progress:
    """The loss only where the contract discloses it."""
    return message if contract.discloses("loss") else message.model_copy(update={"loss": None})


def allowed_report(message: Finished, contract: AnyContract) -> Finished:
    """What a participant says of its session, less what the contract does not disclose."""
    if not isinstance(contract, Contract):
        estimate = message.estimate if contract.discloses("estimate") else None
        untold = {"converged": None, "models": (), "validated": (), "information_values": ()}
        return message.model_copy(update=untold | {"estimate": estimate})
    named = [name for name in EVERY_FIGURE if contract.discloses(name)]
    known = {(C, positive) for C in contract.model.grid for positive in contract.label.told_apart}
    models = tuple(
        one.model_copy(update={"figures": one.figures and one.figures.only(named)})
        for one in message.models
        if (one.C, one.positive) in known
    )
    return message.model_copy(
        update={
            "converged": message.converged if contract.discloses("converged") else None,
            "estimate": None,
            "models": models,
            "validated": message.validated if contract.discloses("cross-validation") else (),
            "information_values": _of_columns(message, contract),
        }
    )


def attributed(fault: Fault | None, reporter: str, record: SessionRecord) -> Fault | None:
    """A fault may name another participant of the session (who went away), and nobody else."""
    return None if fault is None else fault.model_copy(update={"who": within(record, fault.who, reporter)})


def within(record: SessionRecord, who: str, reporter: str) -> str:
    return who if who in record.roles else reporter


def _of_columns(message: Finished, contract: Contract) -> tuple[InformationValue, ...]:
    """Information values, if the contract discloses them and they are of the columns that it weighs."""
    known = [(each.party, each.name) for each in contract.weighed]
    named = [(each.party, each.column) for each in message.information_values]
    return message.information_values if contract.discloses("information-value") and named == known else ()
