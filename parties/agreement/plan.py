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
from typing import Annotated, Literal, Self, TypeAlias

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
from pydantic_core import ErrorDetails

from mpc.curves import LEAST_CELL, USUAL_CELL
from mpc.evaluation_program import EVERY_FIGURE, FIGURES, Told
from mpc.specification import LEAST_NOISE, MOST_CLASSES, MOST_FOLDS, MOST_NOISE, MOST_STRENGTHS
from parties.columns.division import KINDS, HasFeatures, Kind, check_blocks
from parties.columns.recipe import MOST_CELL, PreparationPlan
from parties.data.schema import ColumnName
from parties.errors import PlanError

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


def _strengths(value: object) -> object:
    if not isinstance(value, list | tuple):
        return _positive(str(_decimal(value)))
    found = tuple(_positive(str(_decimal(each))) for each in value)
    if not 2 <= len({Decimal(each) for each in found}) == len(found) <= MOST_STRENGTHS:
        raise ValueError(f"as a list, write 2 to {MOST_STRENGTHS} different ones")
    return found


def _fraction(text: str) -> str:
    if not Decimal(0) < Decimal(text) <= Decimal("0.9"):
        raise ValueError("must lie above 0 and be at most 0.9")
    return text


def _noise(text: str) -> str:
    if Decimal(text) and not LEAST_NOISE <= Decimal(text) <= MOST_NOISE:
        raise ValueError(f"must lie within {LEAST_NOISE} and {MOST_NOISE}, or be 0 for none")
    return text


def _in_order(figures: tuple[Told, ...]) -> tuple[Told, ...]:
    """One order, whatever the plan's: contracts of the same figures are the same bytes."""
    if len(set(figures)) != len(figures):
        raise ValueError("a figure stands twice")
    return tuple(figure for figure in EVERY_FIGURE if figure in figures)


Column = ColumnName
Partition: TypeAlias = Kind
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
_Line = StringConstraints(strip_whitespace=True, max_length=MAX_TEXT)
Title = Annotated[str, _Line, AfterValidator(_printable)]
Text = Annotated[str, _Line, StringConstraints(min_length=1), AfterValidator(_printable)]
DecimalText = Annotated[str, BeforeValidator(_decimal)]
Strengths = Annotated[str | tuple[str, ...], BeforeValidator(_strengths)]
AssessmentDigest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]  # SHA-256 of the document
Tolerance = Annotated[str, BeforeValidator(_decimal_or_auto)]
Iterations = Annotated[int, Field(ge=0, le=100_000)]
Noise = Annotated[DecimalText, AfterValidator(_noise)]
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


class LabelPlan(Frozen):
    """Who holds what is to be predicted."""

    # Several, in blocks: row-wise partners, each of its own records. None by rows: every party of its own.
    party: Name | Annotated[tuple[Name, ...], Field(min_length=2, max_length=16)] | None = None
    column: Column
    positive: Text | None = None  # of two classes the one that counts as 1; the other is 0
    classes: tuple[Text, ...] = ()  # of more than two all; each has a model that tells it from the rest

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.positive is None) == (not self.classes):
            raise ValueError("name the positive class of two, or all classes of more than two")
        if self.classes and not 3 <= len(set(self.classes)) == len(self.classes) <= MOST_CLASSES:
            raise ValueError(f"classes: name 3 to {MOST_CLASSES} different ones, or of two the positive one")
        return self

    @property
    def told_apart(self) -> tuple[str, ...]:
        """The class that each model tells from all others, in the order of the engine's columns of labels."""
        return self.classes if self.positive is None else (self.positive,)

    @property
    def in_words(self) -> str:
        """What it is, and which classes it has."""
        of = f"{self.column} of {self.holder}"
        return f"{of}; '{self.positive}' counts as 1" if self.positive else f"{of}: {', '.join(self.classes)}"

    def held_by(self, name: str) -> bool:
        """Whether this party has labels."""
        return self.party is None or name in self.holders

    @property
    def holders(self) -> tuple[str, ...]:
        """Who has labels, by name; empty where it is every party."""
        if self.party is None:
            return ()
        return (self.party,) if isinstance(self.party, str) else self.party

    @property
    def holder(self) -> str:
        """Who has it, in words."""
        return ", ".join(self.holders) or "every party"


class ModelPlan(Frozen):
    """Names and meanings as in scikit-learn's LogisticRegression."""

    kind: Literal["logistic-regression"] = "logistic-regression"
    # Inverse strength of the L2 penalty, a decimal in quotes, or a list of them; the intercept is not penalised.
    C: Strengths = "1.0"
    folds: Annotated[int, Field(ge=0, le=MOST_FOLDS)] = 0  # of the cross-validation that picks C; 0: all are told
    fit_intercept: bool = True
    solver: Literal["auto", "newton", "nesterov", "sgd"] = "auto"  # auto: newton up to 256 columns and 100 iterations
    max_iter: Annotated[int, Field(ge=0, le=100_000)] = 0  # exactly so many iterations run; 0: what the solver needs
    tol: Tolerance = "auto"  # of the mean gradient's greatest entry; auto: 0.0001, or as little as can be told; 0: none
    # Standard deviation, in standardised units, of the normal noise that each party adds to each told weight; 0: none.
    noise: Noise = "0"
    batch_size: Annotated[int, Field(ge=0, le=MOST_BATCH)] = 0  # of sgd: rows of one step
    learning_rate: DecimalText = "0"  # of sgd: what a batch's mean gradient is multiplied by, a decimal in quotes
    epochs: Annotated[int, Field(ge=0, le=100_000)] = 0  # of sgd: passes through the training rows, instead of max_iter

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds: 2 at least; 0 is no cross-validation")
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

    @property
    def grid(self) -> tuple[str, ...]:
        """The values of C."""
        return (self.C,) if isinstance(self.C, str) else self.C

    @property
    def tells_one(self) -> bool:
        """Whether the models of one C are told: of a grid, that which the cross-validation picks."""
        return bool(self.folds) or len(self.grid) == 1

    @property
    def is_noised(self) -> bool:
        return Decimal(self.noise) != 0

    @property
    def in_words(self) -> str:
        """The family, what its penalty may be, and how much noise its weights have."""
        noise = f", noise of {self.noise} from each party" if self.is_noised else ""
        if len(self.grid) == 1:
            return f"{self.kind}, C={self.grid[0]}{f', {self.folds} folds' if self.folds else ''}{noise}"
        how = f"the best of {self.folds} folds" if self.folds else "a model each"
        return f"{self.kind}, C={', '.join(self.grid)}: {how}{noise}"

    def iterations(self, rows: int) -> int | None:
        """How many run on so many training rows; None: what the solver needs."""
        return -(-self.epochs * rows // self.batch_size) if self.epochs else self.max_iter or None


class SplitPlan(Frozen):
    """Rows kept out of training, chosen by a keyed hash of the record id."""

    held_out: HeldOut = "0.25"


class EvaluationPlan(Frozen):
    """What the session is told of the model on the held-out rows; at least 20 of them, if anything."""

    figures: Annotated[tuple[Told, ...], AfterValidator(_in_order)] = FIGURES  # also the tables "roc", "calibration"
    smallest_cell: Annotated[int, Field(ge=LEAST_CELL, le=MOST_CELL)] = USUAL_CELL  # rows; of tables alone


class DisclosurePlan(Frozen):
    """What may be opened beyond each party's own result."""

    loss_reports: Annotated[int, Field(ge=0, le=10_000)] = 15  # of the mean training loss, spread over the run; 0: none


class RecordingPlan(Frozen):
    """What stays of what came in, beside results and logs."""

    # A sealed recording of what came in and of the seed, at each party, for an officer's replay; 0: none. It holds the
    # others' masked rows; of a matching the seed takes this party's layer off all lists.
    replay_days: Annotated[int, Field(ge=0, le=365)] = 0


class RetentionPlan(RecordingPlan):
    """What stays at the parties after a training."""

    # A share of the model at each party, for predictions; 0: none. By rows, where every party is told all of it, and of
    # several values of C without a cross-validation, none is kept either.
    model_days: Annotated[int, Field(ge=0, le=3650)] = 30


class Asked(Frozen):
    """What plans of every kind say; parties.agreement.contract.Terms is its counterpart."""

    version: Literal[1] = 1
    purpose: Text
    legal_basis: Text = "none stated yet"
    impact_assessment: Title = ""  # title of the data-protection impact assessment, if one was made
    impact_assessment_sha256: AssessmentDigest = ""  # a plan's file may give impact_assessment_file instead
    dealer: Name = "dealer"
    expires_in_hours: Annotated[int, Field(ge=1, le=24 * 90)] = 24


class Plan(Asked):
    """One training session as the analyst asks for it."""

    kind: Literal["training"] = "training"
    # rows: each party has the same columns and the label, of its own records. blocks: those with the same columns have
    # records of their own, the others have all of these records.
    partition: Partition = "columns"
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
        self.preparation.check(self.parties)
        if self.model.folds and not self.disclosures.loss_reports:
            raise ValueError("model.folds: a cross-validation is told with the losses; loss_reports must be above 0")
        return self


def partition_of(text: str) -> Partition:
    """Raises: PlanError if it is none."""
    for kind in KINDS:
        if text == kind:
            return kind
    raise PlanError(f"the partition '{text[:32]}' is not known", action=f"write {', '.join(KINDS[:-1])} or {KINDS[-1]}")


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
    """Raises: ValueError unless one party holds the label, or, of a table that is divided by rows, all do.

    In blocks it depends on the columns who may.
    """
    if partition == "blocks":
        return
    if partition == "rows":
        if label.party is not None:
            raise ValueError("label.party: leave it out; of a table that is divided by rows every party has labels")
    elif label.party is None:
        raise ValueError("label.party: is missing")
    elif not isinstance(label.party, str):
        raise ValueError("label.party: name one party; several have a label in blocks alone")
    elif label.party not in names:
        raise ValueError(f"label.party: '{label.party}' is not one of the parties {', '.join(names)}")


def check_columns(parties: Sequence[HasFeatures], label: LabelPlan, partition: Partition) -> None:
    """Raises: ValueError for a column that stands twice, the label among the features, or a party with neither.

    Where the table is divided by rows, also for other columns than the first party's; where it is in blocks, for what
    are none.
    """
    if partition == "blocks":
        check_blocks(parties, label.holders)
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


_PLAINER = {
    "extra_forbidden": "there is no such key",
    "missing": "is missing",
    "too_short": "at least {min_length} items are needed, here are {actual_length}",
}


def explain(error: ValidationError) -> str:
    """Pydantic's complaints on one line: where and what, never the value."""
    found = _causes(error.errors(include_input=False, include_url=False))
    parts = []
    for item in found[:MAX_COMPLAINTS]:
        where = ".".join(str(step)[:64] for step in item["loc"])
        what = _PLAINER.get(item["type"], item["msg"].removeprefix("Value error, "))
        what = what.format(**item.get("ctx", {})) if item["type"] in _PLAINER else what
        parts.append(f"{where}: {what}" if where else what)
    if len(found) > MAX_COMPLAINTS:
        parts.append(f"and {len(found) - MAX_COMPLAINTS} more")
    return "".join(letter if letter.isprintable() else "?" for letter in "; ".join(parts))


def _causes(found: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without lists that are too short only because some of their items do not hold."""
    return [
        item
        for item in found
        if item["type"] != "too_short"
        or not any(len(other["loc"]) > (at := len(item["loc"])) and other["loc"][:at] == item["loc"] for other in found)
    ]


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
