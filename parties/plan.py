"""What an analyst writes: a plan in TOML or JSON, before anybody agreed to it.

A plan names organisations and columns; it holds no keys, no schemas, nothing derived. The gateway resolves it into a
contract, which is what parties read and sign.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Protocol, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from mpc.program import FIGURES, Figure
from parties.errors import PlanError
from parties.schema import ColumnName

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"
MAX_TEXT = 500  # characters of a purpose and the like
MAX_COMPLAINTS = 5  # of one document, in one line


def _printable(text: str) -> str:
    """What an operator reads before signing must not move the cursor or fake a line."""
    if not text.isprintable():
        raise ValueError("must be one line of printable characters")
    return text


def _decimal(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value, re.ASCII):
        raise ValueError('must be a decimal number in quotes, such as "0.5"')
    return value


def _decimal_or_auto(value: object) -> object:
    return value if value == "auto" else _decimal(value)


def _positive(text: str) -> str:
    if Decimal(text) == 0:
        raise ValueError("must lie above 0")
    return text


def _fraction(text: str) -> str:
    if not Decimal(0) < Decimal(text) <= Decimal("0.9"):
        raise ValueError("must lie above 0 and be at most 0.9")
    return text


def _in_order(figures: tuple[Figure, ...]) -> tuple[Figure, ...]:
    """One order, whatever the plan's: contracts of the same figures are the same bytes."""
    if len(set(figures)) != len(figures):
        raise ValueError("a figure stands twice")
    return tuple(figure for figure in FIGURES if figure in figures)


Column = ColumnName
Partition = Literal["columns", "rows"]  # what each party holds of the joint table: some columns, or some rows
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
_Line = StringConstraints(strip_whitespace=True, max_length=MAX_TEXT)
Title = Annotated[str, _Line, AfterValidator(_printable)]
Text = Annotated[str, _Line, StringConstraints(min_length=1), AfterValidator(_printable)]
DecimalText = Annotated[str, BeforeValidator(_decimal)]
AssessmentDigest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]  # SHA-256 of the document
Strength = Annotated[DecimalText, AfterValidator(_positive)]
Tolerance = Annotated[str, BeforeValidator(_decimal_or_auto)]
Iterations = Annotated[int, Field(ge=0, le=100_000)]
HeldOut = Annotated[DecimalText, AfterValidator(_fraction)]


MOST_BATCH = 1 << 20


class Frozen(BaseModel):
    """A model at a boundary: unknown keys are errors, values do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PartyPlan(Frozen):
    """One organisation's part of the joint table."""

    name: Name
    data: Name  # the data set's name in that organisation's vault
    columns: tuple[Column, ...] = ()  # features; empty only for a party that brings the label alone


class HasFeatures(Protocol):
    """A party of a plan or of a contract."""

    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> tuple[str, ...]: ...


class LabelPlan(Frozen):
    """Who holds what is to be predicted."""

    party: Name | None = None  # none where the table is divided by rows: every party has its records' labels
    column: Column
    positive: Text  # the class that counts as 1; any other is 0

    def held_by(self, name: str) -> bool:
        """Whether this party has labels."""
        return self.party in {None, name}

    @property
    def holder(self) -> str:
        """Who has it, in words."""
        return self.party or "every party"


class ModelPlan(Frozen):
    """Names and meanings as in scikit-learn's LogisticRegression."""

    kind: Literal["logistic-regression"] = "logistic-regression"
    C: Strength = "1.0"  # inverse strength of the L2 penalty, a decimal in quotes; the intercept is not penalised
    fit_intercept: bool = True
    solver: Literal["auto", "newton", "nesterov", "sgd"] = "auto"  # auto: newton up to 256 columns and 100 iterations
    max_iter: Annotated[int, Field(ge=0, le=100_000)] = 0  # exactly so many iterations run; 0: what the solver needs
    tol: Tolerance = "auto"  # of the mean gradient's greatest entry; auto: 0.0001, or as little as can be told; 0: none
    batch_size: Annotated[int, Field(ge=0, le=MOST_BATCH)] = 0  # of sgd: rows of one step
    learning_rate: DecimalText = "0"  # of sgd: what a batch's mean gradient is multiplied by, a decimal in quotes
    epochs: Annotated[int, Field(ge=0, le=100_000)] = 0  # of sgd: passes through the training rows, instead of max_iter

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [key for key in ("batch_size", "learning_rate", "epochs") if getattr(self, key) not in {0, "0"}]
        if self.solver != "sgd":
            if given:
                raise ValueError(f'{", ".join(given)}: of solver = "sgd" alone; leave them out')
            return self
        if missing := [key for key in ("batch_size", "learning_rate") if key not in given]:
            raise ValueError(f'solver = "sgd" needs {" and ".join(missing)}')
        if bool(self.epochs) == bool(self.max_iter):
            raise ValueError('solver = "sgd" needs either epochs or max_iter')
        return self

    def iterations(self, rows: int) -> int | None:
        """How many run on so many training rows; None: what the solver needs."""
        return -(-self.epochs * rows // self.batch_size) if self.epochs else self.max_iter or None


class PreparationPlan(Frozen):
    """What each owner does to its own columns before they are masked."""

    standardise: Literal[True] = True
    clip_bits: Annotated[int, Field(ge=2, le=6)] = 5  # standardised values are clipped to +-2**clip_bits


class SplitPlan(Frozen):
    """Rows kept out of training, chosen by a keyed hash of the record id."""

    held_out: HeldOut = "0.25"


class EvaluationPlan(Frozen):
    """What the session is told of the model on the held-out rows; at least 20 of them, if anything."""

    figures: Annotated[tuple[Figure, ...], AfterValidator(_in_order)] = FIGURES  # "auc", "log-loss", "brier"


class DisclosurePlan(Frozen):
    """What may be opened beyond each party's own result."""

    loss_reports: Annotated[int, Field(ge=0, le=10_000)] = 15  # of the mean training loss, spread over the run; 0: none


class RetentionPlan(Frozen):
    """What stays at the parties after the session, beside their results and logs."""

    # A share of the model at each party, for predictions; 0: none. By rows, where every party is told the whole model,
    # none is kept either.
    model_days: Annotated[int, Field(ge=0, le=3650)] = 30


class Plan(Frozen):
    """One training session as the analyst asks for it."""

    kind: Literal["training"] = "training"
    version: Literal[1] = 1
    purpose: Text
    legal_basis: Text = "none stated yet"
    impact_assessment: Title = ""  # title of the data-protection impact assessment, if one was made
    impact_assessment_sha256: AssessmentDigest = ""  # a plan's file may give impact_assessment_file instead
    dealer: Name = "dealer"
    expires_in_hours: Annotated[int, Field(ge=1, le=24 * 90)] = 24
    partition: Partition = "columns"  # rows: each party has the same columns and the label, of its own records
    parties: Annotated[tuple[PartyPlan, ...], Field(min_length=2, max_length=16)]
    label: LabelPlan
    model: ModelPlan = ModelPlan()
    preparation: PreparationPlan = PreparationPlan()
    split: SplitPlan = SplitPlan()
    evaluation: EvaluationPlan = EvaluationPlan()
    disclosures: DisclosurePlan = DisclosurePlan()
    retention: RetentionPlan = RetentionPlan()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [party.name for party in self.parties]
        check_assessment(self.impact_assessment, self.impact_assessment_sha256)
        check_names(names, self.dealer)
        check_label_holder(self.partition, self.label, names)
        check_columns(self.parties, self.label, self.partition)
        if not any(party.columns for party in self.parties):
            raise ValueError("parties: no party brings a column")
        return self


def partition_of(text: str) -> Partition:
    """Raises: PlanError if it is none."""
    known: dict[str, Partition] = {"columns": "columns", "rows": "rows"}
    if text not in known:
        raise PlanError(f"the partition '{text[:32]}' is not known", action="write columns or rows")
    return known[text]


def check_names(parties: Sequence[str], dealer: str) -> None:
    """Raises: ValueError for a party that stands twice, or a dealer that is a party."""
    if len(set(parties)) != len(parties):
        raise ValueError("parties: a name stands twice")
    if dealer in parties:
        raise ValueError(f"dealer: '{dealer}' is also a party; the dealer must hold no data of the session")


def check_assessment(title: str, digest: str) -> None:
    """Raises: ValueError for the digest of a document without a title."""
    if digest and not title:
        raise ValueError("impact_assessment: a document that is named by its digest needs its title as well")


def check_label_holder(partition: Partition, label: LabelPlan, names: Sequence[str]) -> None:
    """Raises: ValueError unless one party holds the label, or, of a table that is divided by rows, all do."""
    if partition == "rows":
        if label.party is not None:
            raise ValueError("label.party: leave it out; of a table that is divided by rows every party has labels")
    elif label.party is None:
        raise ValueError("label.party: is missing")
    elif label.party not in names:
        raise ValueError(f"label.party: '{label.party}' is not one of the parties {', '.join(names)}")


def check_columns(parties: Sequence[HasFeatures], label: LabelPlan, partition: Partition) -> None:
    """Raises: ValueError for a column that stands twice, the label among the features, or a party with neither.

    Where the table is divided by rows, also for other columns than the first party's.
    """
    for party in parties:
        if len(set(party.columns)) != len(party.columns):
            raise ValueError(f"parties: a column of '{party.name}' stands twice")
        if label.held_by(party.name) and label.column in party.columns:
            raise ValueError(f"parties: '{label.column}' is the label and can't be a feature as well")
        if not (label.held_by(party.name) or party.columns):
            raise ValueError(f"parties: '{party.name}' brings neither columns nor the label")
        if partition == "rows" and not party.columns:
            raise ValueError(f"parties: '{party.name}' names no columns")
        if partition == "rows" and party.columns != parties[0].columns:
            raise ValueError(
                f"parties: the columns of '{party.name}' are not those of '{parties[0].name}', in the same order"
            )


_PLAINER = {"extra_forbidden": "there is no such key", "missing": "is missing"}


def explain(error: ValidationError) -> str:
    """Pydantic's complaints on one line: where and what, never the value."""
    found = error.errors(include_input=False, include_url=False)
    parts = []
    for item in found[:MAX_COMPLAINTS]:
        where = ".".join(str(step)[:64] for step in item["loc"])
        what = _PLAINER.get(item["type"], item["msg"].removeprefix("Value error, "))
        parts.append(f"{where}: {what}" if where else what)
    if len(found) > MAX_COMPLAINTS:
        parts.append(f"and {len(found) - MAX_COMPLAINTS} more")
    return "".join(letter if letter.isprintable() else "?" for letter in "; ".join(parts))


def parse_plan(content: dict[str, object]) -> Plan:
    """Raises: PlanError that names every key that does not fit."""
    try:
        return Plan.model_validate(content)
    except ValidationError as exc:
        raise PlanError(f"the plan does not hold: {explain(exc)}", action="mend the plan and try again") from exc


def load_plan(path: Path) -> Plan:
    """Raises: PlanError if the file can't be read, is not TOML, or not a training's plan."""
    return parse_plan(read_plan(path))


def read_plan(path: Path) -> dict[str, object]:
    """What stands in a plan of any kind, the impact assessment's file replaced by its digest.

    Raises: PlanError if the file, or that one, can't be read, or it is not TOML.
    """
    try:
        return _with_digest(tomllib.loads(path.read_text(encoding="utf-8")), path.parent)
    except FileNotFoundError as exc:
        raise PlanError(f"there is no plan at {path}", action="write one with `privity plan new`") from exc
    except OSError as exc:
        raise PlanError(f"{path} can't be read: {exc.strerror}", action="name a plan's file") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise PlanError(f"{path} is not TOML: {exc}", action="mend the line and try again") from exc


def _with_digest(content: dict[str, object], directory: Path) -> dict[str, object]:
    """The plan with the digest of the document that it names, whose path is seen from the plan's own directory."""
    name = content.pop("impact_assessment_file", None)
    if name is None:
        return content
    if content.get("impact_assessment_sha256"):
        raise PlanError(
            "impact_assessment_file: the document's digest stands there too", action="give the file or the digest"
        )
    try:
        with (directory / str(name)).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise PlanError(
            f"impact_assessment_file: the document can't be read: {exc.strerror}",
            action="name it as seen from the plan's directory, or give impact_assessment_sha256",
        ) from exc
    return {**content, "impact_assessment_sha256": digest}
