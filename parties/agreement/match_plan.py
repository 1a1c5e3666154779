"""Matchings: what an analyst writes, and what the parties sign, to find the records that all of them have.

What a matching leaves is a data set in each party's vault: its common records alone, under ids that all parties share.
A training's plan names these data sets. An estimate leaves nothing, and tells how many there are, about.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, ValidationError, model_validator

from mpc.matching_program import Matching, derive_matching
from parties.agreement.contract import Terms
from parties.agreement.match_rules import MAX_COLUMNS, MatchRules
from parties.agreement.plan import (
    Asked,
    Column,
    Frozen,
    Name,
    RecordingPlan,
    check_assessment,
    check_names,
    explain,
    read_plan,
)
from parties.errors import ContractError, PlanError

KeepDays: TypeAlias = Annotated[int, Field(ge=1, le=3650)]
Reveal: TypeAlias = Literal["records", "estimate"]


class Listed(Frozen):
    """One party's list of records."""

    name: Name
    data: Name  # the data set's name in that organisation's vault
    # Columns whose values together say which record it is, in the order of the rules; none: the data set's own id.
    id_columns: Annotated[tuple[Column, ...], Field(max_length=MAX_COLUMNS)] = ()


class MatchingPlan(Asked):
    """One matching session as the analyst asks for it."""

    kind: Literal["matching"]
    reveal: Reveal = "records"  # to each party which of its own all have; or about how many these are, to the session
    result: Name | None = None  # what each party's vault calls the matched data set; an estimate leaves none
    keep_days: KeepDays = 90  # each party deletes it then
    rules: MatchRules = MatchRules()
    retention: RecordingPlan = RecordingPlan()
    parties: Annotated[tuple[Listed, ...], Field(min_length=2, max_length=16)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_assessment(self.impact_assessment, self.impact_assessment_sha256)
        check_names([party.name for party in self.parties], self.dealer)
        check_result(self.reveal, self.result)
        for party in self.parties:
            if party.id_columns:
                check_id_columns(party.name, party.id_columns, self.rules)
        return self

    def as_estimate(self) -> MatchingPlan:
        """The same, of which only about how many records are common is told, and nothing is kept."""
        content = self.model_dump(mode="json", exclude={"retention"}) | {"reveal": "estimate", "result": None}
        return parse_matching_plan(content)

    @property
    def leaves(self) -> str:
        """The matched data set's name. Raises: PlanError if it is an estimate."""
        if self.result is None:
            raise PlanError("an estimate leaves no data set", action='give a plan with reveal = "records"')
        return self.result


class MatchingContract(Terms):
    """Everything that a matching may do. A party's columns are those by which its records are compared."""

    kind: Literal["matching"] = "matching"
    reveal: Reveal
    result: Name | None
    keep_days: KeepDays
    rules: MatchRules
    program: Matching
    retention: RecordingPlan = RecordingPlan()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for party in self.parties:
            check_id_columns(party.name, party.columns, self.rules)
        check_result(self.reveal, self.result)
        if self.rules.minimum > (most := min(party.rows for party in self.parties)):
            raise ValueError(f"rules.minimum: {self.rules.minimum} common records, of {most} that one party has")
        return self

    @property
    def replay_days(self) -> int:
        return self.retention.replay_days

    @property
    def is_estimate(self) -> bool:
        return self.reveal == "estimate"

    @property
    def leaves(self) -> str:
        """The matched data set's name. Raises: ContractError if it is an estimate."""
        if self.result is None:
            raise ContractError("an estimate leaves no data set")
        return self.result

    @property
    def kept_in_words(self) -> str:
        """What stays with each party, for people."""
        return f"common records as data set {self.result}, for {self.keep_days} days" if self.result else "nothing"

    @property
    def least_told(self) -> int:
        """Of an estimate: fewer common records are told as fewer than this, and no number."""
        return max(self.rules.minimum, self.program.round_to)

    def told(self, sampled: int) -> int:
        """What an estimate tells, of so many common records of the sample: about how many, 0 for too few."""
        about = self.program.estimated(sampled)
        return about if about >= self.least_told else 0

    def check_derived(self) -> None:
        sizes = [party.rows for party in self.parties]
        self._check_follows(self.program, derive_matching(sizes, estimate=self.is_estimate))


def check_result(reveal: Reveal, result: str | None) -> None:
    """Raises: ValueError unless there is a name for what is left, or nothing is left."""
    if reveal == "records" and result is None:
        raise ValueError("result: what the matched data set is called")
    if reveal == "estimate" and result is not None:
        raise ValueError("result: an estimate leaves no data set")


def check_id_columns(name: str, columns: tuple[str, ...], rules: MatchRules) -> None:
    """Raises: ValueError unless each rule is about one of these columns, each of which stands once."""
    if len(set(columns)) != len(columns):
        raise ValueError(f"parties: an id column of '{name}' stands twice")
    if len(columns) != len(rules.columns):
        raise ValueError(f"parties: '{name}' has {len(columns)} id columns, and there are {len(rules.columns)} rules")


def load_matching_plan(path: Path) -> MatchingPlan:
    """Raises: PlanError if the file can't be read, is not TOML, or no plan of a matching."""
    content = read_plan(path)
    if (kind := content.get("kind", "training")) != "matching":
        what = f"{path} is the plan of a {kind}" if kind in ("training", "prediction") else f"{path} is no plan"
        raise PlanError(f"{what}, not of a matching", action="write one with `privity plan new --kind matching`")
    return parse_matching_plan(content)


def parse_matching_plan(content: dict[str, Any]) -> MatchingPlan:
    """Raises: PlanError that names every key that does not fit."""
    try:
        return MatchingPlan.model_validate(content)
    except ValidationError as exc:
        raise PlanError(f"the plan does not hold: {explain(exc)}", action="mend the plan and try again") from exc
