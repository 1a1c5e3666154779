"""From plan to contract: pure. Names become keys, schemas and row counts; what follows from them is derived.

The result is trusted by nobody: each node and the dealer derive it again before they sign.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeVar

from pydantic import ValidationError

from mpc.design import Opening
from mpc.prediction_program import Runnable
from mpc.program import Program, derive
from parties.agreement.contract import (
    MATCHINGS,
    Contract,
    Participant,
    Party,
    Terms,
    beside,
    disclosures_for,
    spec_for,
    told_before,
)
from parties.agreement.joining import Costs
from parties.agreement.plan import Asked, Partition, PartyPlan, Plan, RetentionPlan, explain
from parties.agreement.quote import quote
from parties.columns.division import Division
from parties.data.schema import check_features, check_label
from parties.errors import ContractError, DataError, PlanError
from parties.service.messages import PublishedData

T = TypeVar("T", bound=Terms)
NO_CONTRACT: Final = "no contract comes of the plan: "


@dataclass(frozen=True)
class Listed:
    """A participant as plans find it."""

    name: str
    role: Literal["party", "dealer"]
    public_key: str | None  # None: invited, not joined yet
    data: Mapping[str, PublishedData] = field(default_factory=dict)


@dataclass(frozen=True)
class Directory:
    """Who takes part, and what they published."""

    participants: Mapping[str, Listed]

    def joined(self, name: str, where: str) -> Listed:
        """Raises: PlanError if nobody of that name has joined."""
        found = self.participants.get(name)
        if found is None:
            raise PlanError(
                f"{where}: this gateway knows no '{name}'",
                action=f"mend the name, or invite it with `privity gateway invite {name}`; "
                f"known are: {_names(self.participants)}",
            )
        if found.public_key is None:
            raise PlanError(
                f"{where}: '{name}' is invited and has not joined yet",
                action="ask its operator to use the invitation, then propose again",
            )
        return found


def resolve(plan: Plan, directory: Directory, now: datetime, nonce: bytes) -> Contract:
    """The contract that a plan means, given these participants and schemas.

    Raises: PlanError, DataError or ContractError that says what does not fit, where, and what to do; ProgramError
    for what can't be computed.
    """
    parties = tuple(_party(plan, number, directory) for number in range(len(plan.parties)))
    check_rows(parties, plan.partition)
    dealer = resolve_dealer(plan.dealer, directory)
    loss_every, program = _program(plan, parties)
    return written(
        Contract,
        plan,
        now,
        nonce,
        parties=parties,
        dealer=dealer,
        program=program,
        told_before=told_before(plan.partition, parties, plan.preparation),
        beside=beside(plan.partition, parties, plan.label, plan.preparation),
        partition=plan.partition,
        label=plan.label,
        matching=MATCHINGS[plan.partition],
        preparation=plan.preparation,
        model=plan.model,
        split=plan.split,
        evaluation=plan.evaluation,
        loss_every=loss_every,
        retention=_retention(plan),
    )


def _retention(plan: Plan) -> RetentionPlan:
    """As the plan says, but for shares of a model where none can be kept."""
    keeps = plan.partition != "rows" and plan.model.tells_one
    return plan.retention if keeps else plan.retention.model_copy(update={"model_days": 0})


def written(
    kind: Callable[..., T],
    plan: Asked,
    now: datetime,
    nonce: bytes,
    *,
    parties: tuple[Party, ...],
    program: Runnable,
    told_before: Sequence[Opening] = (),
    beside: Costs = (),
    **own: Any,
) -> T:
    """A contract of some kind: what all say of their plan, what follows from the program, and its own.

    Raises: ContractError if none comes of it.
    """
    try:
        return kind(
            nonce=nonce.hex(),
            created=now,
            expires=now + timedelta(hours=plan.expires_in_hours),
            purpose=plan.purpose,
            legal_basis=plan.legal_basis,
            impact_assessment=plan.impact_assessment,
            impact_assessment_sha256=plan.impact_assessment_sha256,
            parties=parties,
            program=program,
            quote=quote(program, beside),
            disclosures=disclosures_for(program, [party.name for party in parties], told_before),
            **own,
        )
    except ValidationError as exc:
        raise ContractError(f"{NO_CONTRACT}{explain(exc)}", action="mend the plan") from exc


def _program(plan: Plan, parties: tuple[Party, ...]) -> tuple[int, Program]:
    """What the engine runs, and the iterations from one report of the loss to the next."""
    facts = (parties, plan.label, plan.model, plan.preparation, plan.split, plan.evaluation)
    silent = derive(spec_for(*facts, loss_every=int(plan.model.folds > 0), partition=plan.partition))
    reports = min(plan.disclosures.loss_reports, silent.max_iter)
    if not reports:
        return 0, silent
    program = derive(spec_for(*facts, loss_every=silent.max_iter // reports, partition=plan.partition))
    return program.loss_every, program


def _party(plan: Plan, number: int, directory: Directory) -> Party:
    wanted, where = plan.parties[number], f"parties.{number}"
    listed, published = find_data(wanted.name, wanted.data, directory, where)
    _check_columns(plan, wanted, published, where)
    return party_of(listed, wanted.data, published, wanted.columns, where)


def find_data(name: str, data: str, directory: Directory, where: str) -> tuple[Listed, PublishedData]:
    """A party and its data set. Raises: PlanError, DataError if there is no such party or data set."""
    listed = directory.joined(name, f"{where}.name")
    if listed.role != "party":
        raise PlanError(
            f"{where}.name: '{name}' joined as a dealer, and a dealer must hold no data of a session",
            action="name an organisation that joined as a party",
        )
    published = listed.data.get(data)
    if published is None:
        raise DataError(
            f"{where}.data: '{name}' publishes no data set '{data}'",
            action=(
                f"mend the name, or ask its operator to add it, and share it with `privity data share {data}`;"
                f" published are: {_names(listed.data)}"
            ),
        )
    return listed, published


def party_of(listed: Listed, data: str, published: PublishedData, columns: tuple[str, ...], where: str) -> Party:
    """Raises: ContractError if what it publishes fits no contract."""
    try:
        return Party(
            name=listed.name,
            public_key=listed.public_key or "",
            data=data,
            data_version=published.version,
            schema_sha256=published.table.digest,
            id_column=published.table.id_column,
            columns=columns,
            rows=published.table.rows,
        )
    except ValidationError as exc:
        raise ContractError(
            f"{where}: what '{listed.name}' publishes of '{data}' does not fit a contract: {explain(exc)}",
            action="ask its operator to add the data set again",
        ) from exc


def _check_columns(plan: Plan, wanted: PartyPlan, published: PublishedData, where: str) -> None:
    try:
        if wanted.columns:
            check_features(published.table, wanted.columns, plan.preparation.of)
        if plan.label.held_by(wanted.name):
            check_label(published.table, plan.label.column)
    except DataError as exc:
        raise DataError(f"{where}: '{wanted.name}': {exc.what}", action=exc.action) from exc


def check_rows(parties: tuple[Party, ...], partition: Partition = "columns") -> None:
    """Raises: DataError unless the parties' data sets can be of the same records."""
    try:
        Division.of(partition, parties).check_rows(parties)
    except ValueError as exc:
        raise DataError(f"parties: {exc}", action="leave out what the others lack, then propose again") from exc


def resolve_dealer(name: str, directory: Directory) -> Participant:
    """Raises: PlanError if no dealer of that name has joined."""
    listed = directory.joined(name, "dealer")
    if listed.role != "dealer":
        raise PlanError(
            f"dealer: '{name}' joined as a party, not as a dealer",
            action=f"name one of the dealers: {_names(_dealers(directory))}",
        )
    return Participant(name=listed.name, public_key=listed.public_key or "")


def _dealers(directory: Directory) -> list[str]:
    return [name for name, listed in directory.participants.items() if listed.role == "dealer"]


def _names(found: Mapping[str, object] | list[str]) -> str:
    return ", ".join(sorted(found)) or "none"
