"""Predictions: what an analyst writes, and what the parties sign, to have new rows scored by a model that they keep.

A prediction names the training session that left the model. Its contract stands by itself: each party checks it against
its own share of the model, and like a training's it is derived again by all before they sign.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from mpc.design import Opening
from mpc.prediction_program import Prediction, PredictionSpec, derive_prediction
from parties.agreement import joining
from parties.agreement.contract import Contract, Hex32, Party, Terms, check_matching, membership
from parties.agreement.joining import Costs
from parties.agreement.plan import (
    Asked,
    Frozen,
    Name,
    Partition,
    RecordingPlan,
    Text,
    check_assessment,
    check_names,
    explain,
)
from parties.columns.division import Division
from parties.columns.recipe import PreparationPlan
from parties.errors import ContractError, PlanError


class NewRows(Frozen):
    """One party's part of the new rows: the columns are those of the model."""

    name: Name
    data: Name  # the data set's name in that organisation's vault


class PredictionPlan(Asked):
    """One prediction session as the analyst asks for it."""

    kind: Literal["prediction"]
    model: Hex32  # the id of the training session that left it
    recipient: Name  # the party that is told the probabilities
    retention: RecordingPlan = RecordingPlan()
    parties: Annotated[tuple[NewRows, ...], Field(min_length=2, max_length=16)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [party.name for party in self.parties]
        check_assessment(self.impact_assessment, self.impact_assessment_sha256)
        check_names(names, self.dealer)
        check_recipient(self.recipient, names)
        return self


def _same_key(former: Party, present: Party) -> bool:
    return former.public_key == present.public_key


class PredictionContract(Terms):
    """Everything that a prediction may do."""

    kind: Literal["prediction"] = "prediction"
    model: Hex32
    recipient: Name
    partition: Literal["columns", "blocks"] = "columns"  # as the training's: each new record is held like those
    matching: Literal["equal-ids", "joined-ids"] = "equal-ids"  # as in a training, with what it reveals there
    preparation: PreparationPlan  # as the model's: each party applies what it fitted then and keeps with it
    fit_intercept: bool
    told_apart: Annotated[tuple[Text, ...], Field(min_length=1)]  # each has its probability; of two classes one has
    program: Prediction
    retention: RecordingPlan = RecordingPlan()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_matching(self.partition, self.matching)
        self.division.check_rows(self.parties)
        check_recipient(self.recipient, [party.name for party in self.parties])
        return self

    @property
    def division(self) -> Division:
        """Who has which columns of which part of the new rows."""
        return Division.of(self.partition, self.parties)

    @property
    def scored(self) -> range:
        """Parts whose rows have a probability: those that the recipient has."""
        return self.division.parts_of(self.rank(self.recipient))

    @property
    def replay_days(self) -> int:
        return self.retention.replay_days

    @property
    def told_before(self) -> tuple[Opening, ...]:
        return membership(self.partition, self.parties)

    @property
    def beside(self) -> Costs:
        return joining.comparing_ids(self.division, self.parties)

    def check_derived(self) -> None:
        facts = (self.partition, self.parties, self.recipient, self.preparation, self.fit_intercept, self.told_apart)
        program = derive_prediction(spec_for(*facts))
        self._check_follows(self.program, program)

    def check_model(self, trained: Contract, is_same: Callable[[Party, Party], bool] = _same_key) -> None:
        """Raises: ContractError unless parties, columns and preparation are those of the training that left it.

        `is_same` says of a party of the training, and of that name here, whether its key is the same, or follows it.
        """
        if trained.digest != self.model:
            raise ContractError("the contract names another model")
        mine, theirs = ((each.partition, [(p.name, p.columns) for p in each.parties]) for each in (self, trained))
        if mine != theirs or not all(map(is_same, trained.parties, self.parties)):
            raise ContractError(
                "the parties, or their columns, are not those of the training that left the model",
                action="name the same parties, and the columns of the model, in the same order",
            )
        if self.told_apart != trained.label.told_apart:
            raise ContractError(
                "the contract's classes are not those of the training that left the model",
                action="refuse, and ask the gateway's operator who changed it",
            )
        if (self.preparation, self.fit_intercept) != (trained.preparation, trained.model.fit_intercept):
            raise ContractError(
                "the contract prepares rows in another way than the training that left the model",
                action="refuse, and ask the gateway's operator who changed it",
            )


def check_recipient(recipient: str, names: list[str]) -> None:
    """Raises: ValueError if it is none of the parties."""
    if recipient not in names:
        raise ValueError(f"recipient: '{recipient}' is not one of the parties {', '.join(names)}")


def spec_for(
    partition: Partition,
    parties: tuple[Party, ...],
    recipient: str,
    preparation: PreparationPlan,
    fit_intercept: bool,
    told_apart: tuple[str, ...],
) -> PredictionSpec:
    """What the engine must know of the contract: of rows those that the recipient has."""
    division, rank = Division.of(partition, parties), [party.name for party in parties].index(recipient)
    counts = division.counts(parties)
    if division.is_divided(rank):
        (part,) = division.parts_of(rank)
        division, counts = division.of_part(part), counts[part : part + 1]
    table = division.partition(counts, [preparation.width(party.columns) for party in parties], [rank])
    return PredictionSpec(
        rows=table.rows,
        blocks=table.blocks,
        parties=len(parties),
        fit_intercept=fit_intercept,
        clip_bits=preparation.clip_bits,
        recipient=rank,
        classes=len(told_apart),
    )


def parse_prediction_plan(content: dict[str, Any]) -> PredictionPlan:
    """Raises: PlanError that names every key that does not fit."""
    try:
        return PredictionPlan.model_validate(content)
    except ValidationError as exc:
        raise PlanError(f"the plan does not hold: {explain(exc)}", action="mend the plan and try again") from exc
