"""Matchings: what an analyst writes, and what the parties sign, to find the records that all of them have.

What a matching leaves is a data set in each party's vault: its common records alone, under ids that all parties share.
A training's plan names these data sets.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, ValidationError, model_validator

from mpc.matching_program import Matching, derive_matching
from parties.contract import Terms
from parties.errors import PlanError
from parties.match_rules import MAX_COLUMNS, MatchRules
from parties.plan import (
    Asked,
    Column,
    Frozen,
    Name,
    check_assessment,
    check_names,
    explain,
)

KeepDays: TypeAlias = Annotated[int, Field(ge=1, le=3650)]


class Listed(Frozen):
    """One party's list of records."""

    name: Name
    data: Name  # the data set's name in that organisation's vault
    # Columns whose values together say which record it is, in the order of the rules; none: the data set's own id.
    id_columns: Annotated[tuple[Column, ...], Field(max_length=MAX_COLUMNS)] = ()


class MatchingPlan(Asked):
    """One matching session as the analyst asks for it."""

    kind: Literal["matching"]
    result: Name  # what each party's vault calls the matched data set
    keep_days: KeepDays = 90  # each party deletes it then
    rules: MatchRules = MatchRules()
    parties: Annotated[tuple[Listed, ...], Field(min_length=2, max_length=16)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_assessment(self.impact_assessment, self.impact_assessment_sha256)
        check_names([party.name for party in self.parties], self.dealer)
        for party in self.parties:
            if party.id_columns:
                check_id_columns(party.name, party.id_columns, self.rules)
        return self


class MatchingContract(Terms):
    """Everything that a matching may do. A party's columns are those by which its records are compared."""

    kind: Literal["matching"] = "matching"
    result: Name
    keep_days: KeepDays
    rules: MatchRules
    program: Matching

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for party in self.parties:
            check_id_columns(party.name, party.columns, self.rules)
        if self.rules.minimum > (most := min(party.rows for party in self.parties)):
            raise ValueError(f"rules.minimum: {self.rules.minimum} common records, of {most} that one party has")
        return self

    def check_derived(self) -> None:
        self._check_follows(self.program, derive_matching([party.rows for party in self.parties]))


def check_id_columns(name: str, columns: tuple[str, ...], rules: MatchRules) -> None:
    """Raises: ValueError unless each rule is about one of these columns, each of which stands once."""
    if len(set(columns)) != len(columns):
        raise ValueError(f"parties: an id column of '{name}' stands twice")
    if len(columns) != len(rules.columns):
        raise ValueError(f"parties: '{name}' has {len(columns)} id columns, and there are {len(rules.columns)} rules")


def parse_matching_plan(content: dict[str, Any]) -> MatchingPlan:
    """Raises: PlanError that names every key that does not fit."""
    try:
        return MatchingPlan.model_validate(content)
    except ValidationError as exc:
        raise PlanError(f"the plan does not hold: {explain(exc)}", action="mend the plan and try again") from exc
