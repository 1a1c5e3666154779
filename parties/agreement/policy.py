"""What a node signs by itself, what its operator must approve, what it always refuses."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, ValidationError

from mpc.curves import LEAST_CELL, USUAL_CELL
from mpc.evaluation_program import EVERY_FIGURE
from mpc.evidence_program import told, weighing_before
from mpc.fused_program import Fused, MiniBatch, Newton
from mpc.program import Program
from parties.agreement.contract import LEVELS, Contract, Terms
from parties.agreement.kinds import AnyContract
from parties.agreement.match_plan import MatchingContract
from parties.agreement.plan import Frozen, Name, explain
from parties.agreement.prediction import PredictionContract
from parties.errors import PolicyRefusal, SettingsError
from parties.service.lifecycle import State
from parties.service.store import Session, SessionStore

Verdict: TypeAlias = Literal["holds", "asks", "refuses"]
Solver: TypeAlias = Literal["newton", "nesterov", "sgd"]
UNSIGNED = {State.PROPOSED, State.REFUSED, State.CANCELLED, State.EXPIRED}  # nothing was disclosed for these


def _hours(text: str) -> str:
    if text:
        _parsed(text)
    return text


def _parsed(text: str) -> tuple[time, time]:
    try:
        begin, end = (datetime.strptime(part.strip(), "%H:%M").time() for part in text.split("-"))  # noqa: DTZ007
    except ValueError as exc:
        raise ValueError('must be two times such as "08:00-18:00"') from exc
    return begin, end


UNASKED = (  # disclosures that a node's policy allows to be signed by itself, unless it says otherwise
    *("coefficients", "intercept", "loss", "guard", "moments", "converged", "cross-validation"),
    *EVERY_FIGURE,
    "probabilities",
)
ASKED = (  # those for which it waits for its operator: who is in two parties' lists, how labels are spread, and names
    *("membership", "matches", "matched", "sample-matches", "estimate"),
    *("weight-of-evidence", "information-value", "levels", "quantiles", "means"),
)


class Rules(Frozen):
    """What a contract must keep to. Empty lists and zeros of `sessions_*` ask for nothing."""

    partners: tuple[Name, ...] = ()
    dealers: tuple[Name, ...] = ()
    purposes: tuple[str, ...] = ()
    impact_assessment: bool = False
    impact_assessment_digest: bool = False
    solvers: tuple[Solver, ...] = ("newton", "nesterov", "sgd")
    disclosures: tuple[str, ...] = (*UNASKED, *ASKED)
    min_training_rows: Annotated[int, Field(ge=2)] = 50
    min_batch_rows: Annotated[int, Field(ge=2)] = 20
    max_columns_per_100_rows: Annotated[int, Field(ge=0)] = 20
    max_loss_reports: Annotated[int, Field(ge=0)] = 100
    min_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    min_cell_rows: Annotated[int, Field(ge=LEAST_CELL)] = USUAL_CELL
    max_predicted_rows: Annotated[int, Field(ge=0)] = 10_000
    max_replay_days: Annotated[int, Field(ge=0)] = 0
    min_matches: Annotated[int, Field(ge=1)] = 50
    estimates_a_partner: Annotated[int, Field(ge=0)] = 3
    never_columns: tuple[str, ...] = ()
    sessions_a_day: Annotated[int, Field(ge=0)] = 0
    sessions_a_data_set: Annotated[int, Field(ge=0)] = 0
    sessions_a_purpose: Annotated[int, Field(ge=0)] = 0
    hours: Annotated[str, AfterValidator(_hours)] = ""


class Unasked(Rules):
    """The same of what is signed without the operator."""

    disclosures: tuple[str, ...] = UNASKED


class Policy(Rules):
    """policy.toml; each key is explained in the file that `init` writes."""

    approve: Literal["operator", "automatic"] = "operator"
    automatic: Unasked = Unasked()  # what is signed unasked keeps to these as well


@dataclass(frozen=True)
class Finding:
    """One rule's verdict; the reason says what broke it."""

    rule: str
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True)
class Signed:
    """A session that this node signed before."""

    session: str
    received: datetime
    data: str  # its own data set
    purpose: str
    estimated_with: frozenset[str] = frozenset()  # of an estimate: the other parties


@dataclass(frozen=True)
class Circumstances:
    """What rules look at beside the contract: the node's own time, and what it signed until then."""

    now: datetime
    signed: Sequence[Signed] = ()

    @classmethod
    def of(cls, store: SessionStore, name: str) -> Circumstances:
        """At this moment, at the node of this name."""
        found = store.all(set(State) - UNSIGNED)
        return cls(datetime.now().astimezone(), tuple(_signed(session, name) for session in found))


def load_policy(path: Path) -> Policy:
    """Raises: SettingsError if it is missing or a key does not fit; a node without a policy signs nothing."""
    try:
        return parse_policy(path.read_bytes(), path)
    except FileNotFoundError:
        return parse_policy(None, path)


def parse_policy(content: bytes | None, path: Path) -> Policy:
    """What a policy's file says; None: there is none. Raises: as `load_policy`, naming the path."""
    if content is None:
        raise SettingsError(f"there is no policy at {path}", action="restore it; nothing is signed without")
    try:
        return Policy.model_validate(tomllib.loads(content.decode("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path} is not TOML: {exc}") from exc
    except ValidationError as exc:
        raise SettingsError(f"{path}: {explain(exc)}") from exc


def judge(policy: Policy, contract: AnyContract, name: str, circumstances: Circumstances) -> list[Finding]:
    """Every rule's verdict on a contract, at the party of this name.

    "refuses" where the policy's own rule is broken, "asks" where only the rule for what is signed unasked is.
    """
    refusing = _broken(policy, contract, name, circumstances)
    asking = _broken(policy.automatic, contract, name, circumstances) if policy.approve == "automatic" else {}
    found = []
    for rule in _rules(contract):
        if rule in refusing:
            found.append(Finding(rule, "refuses", refusing[rule]))
        elif rule in asking:
            found.append(Finding(rule, "asks", asking[rule]))
        else:
            found.append(Finding(rule, "holds"))
    if policy.approve == "operator":
        found.append(Finding("approve", "asks", "every contract waits for the operator"))
    return found


def verdict(findings: Sequence[Finding]) -> Verdict:
    """What follows from all rules: "holds" is signed unasked, "asks" waits for the operator."""
    found = {finding.verdict for finding in findings}
    return "refuses" if "refuses" in found else "asks" if "asks" in found else "holds"


def check(findings: Sequence[Finding]) -> None:
    """Raises: PolicyRefusal that names the first rule that a contract breaks."""
    for finding in findings:
        if finding.verdict == "refuses":
            raise PolicyRefusal(finding.reason, rule=finding.rule)


def _rules(contract: AnyContract) -> list[str]:
    """The names of all rules that apply to a contract, in the order in which they are told."""
    if isinstance(contract, PredictionContract):
        return [rule for rule in Rules.model_fields if rule not in _OF_TRAININGS | _OF_BATCHES | _OF_MATCHINGS]
    if isinstance(contract, MatchingContract):
        others = _OF_TRAININGS | _OF_BATCHES | _OF_PREDICTIONS
        return [rule for rule in Rules.model_fields if rule not in others]
    names = [rule for rule in Rules.model_fields if rule not in _OF_PREDICTIONS | _OF_BATCHES | _OF_MATCHINGS]
    return names + (sorted(_OF_BATCHES) if isinstance(contract.program, MiniBatch) else [])


_OF_TRAININGS = {
    "solvers",
    "min_training_rows",
    "max_columns_per_100_rows",
    "max_loss_reports",
    "min_noise",
    "min_cell_rows",
}
_OF_BATCHES = {"min_batch_rows", "whole_pass"}
_OF_PREDICTIONS = {"max_predicted_rows"}
_OF_MATCHINGS = {"min_matches", "estimates_a_partner"}


def _signed(session: Session, name: str) -> Signed:
    contract = json.loads(session.contract)
    (data,) = (party["data"] for party in contract["parties"] if party["name"] == name)
    others = frozenset(party["name"] for party in contract["parties"]) - {name}
    estimated = others if contract.get("reveal") == "estimate" else frozenset()
    return Signed(session.digest, datetime.fromisoformat(session.received), data, contract["purpose"], estimated)


def _broken(rules: Rules, contract: AnyContract, name: str, circumstances: Circumstances) -> dict[str, str]:
    """Each broken rule and what broke it."""
    found = (
        *_of_participants(rules, contract, name),
        *_of_what_is_told(rules, contract, name),
        *_of_kind(rules, contract, name),
        *_of_recordings(rules, contract),
        *_of_circumstances(rules, contract, name, circumstances),
    )
    return dict(found)


def _of_kind(rules: Rules, contract: AnyContract, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(contract, Contract):
        yield from _of_training(rules, contract, name)
    elif isinstance(contract, PredictionContract):
        yield from _of_prediction(rules, contract)
    elif (least := contract.rules.minimum) < rules.min_matches:
        yield "min_matches", f"{least} common records are enough; the policy asks for {rules.min_matches}"


def _of_participants(rules: Rules, contract: Terms, name: str) -> Iterator[tuple[str, str]]:
    others = [party.name for party in contract.parties if party.name != name]
    if rules.partners and (strangers := sorted(set(others) - set(rules.partners))):
        yield "partners", f"{', '.join(strangers)}: not a partner that the policy lists"
    if rules.dealers and contract.dealer.name not in rules.dealers:
        yield "dealers", f"{contract.dealer.name}: not a dealer that the policy lists"
    if rules.purposes and contract.purpose not in rules.purposes:
        yield "purposes", "the purpose is not one that the policy lists"
    if rules.impact_assessment and not contract.impact_assessment:
        yield "impact_assessment", "the contract names no impact assessment"
    if rules.impact_assessment_digest and not contract.impact_assessment_sha256:
        yield "impact_assessment_digest", "the contract names no impact assessment by its document's digest"


def _of_what_is_told(rules: Rules, contract: AnyContract, name: str) -> Iterator[tuple[str, str]]:
    if forbidden := sorted({item.name for item in contract.disclosures} - set(rules.disclosures)):
        yield "disclosures", f"the contract discloses {', '.join(forbidden)}"
    if never := sorted(_columns(contract, name) & set(rules.never_columns)):
        yield "never_columns", f"column {', '.join(never)} never takes part"


def _of_training(rules: Rules, contract: Contract, name: str) -> Iterator[tuple[str, str]]:
    program, rows = contract.program, contract.training_rows(name)
    if (solver := _solver(program)) not in rules.solvers:
        yield "solvers", f"the solver is {solver}"
    if rows < rules.min_training_rows:
        yield "min_training_rows", f"{rows} training rows; the policy asks for {rules.min_training_rows}"
    yield from _of_numbers(rules, program)
    if (losses := sum(item.count for item in contract.disclosures if item.name == "loss")) > rules.max_loss_reports:
        yield (
            "max_loss_reports",
            f"the loss is disclosed up to {losses} times; the policy allows {rules.max_loss_reports}",
        )
    if float(noise := contract.model.noise) < rules.min_noise:
        said = f"each party adds noise of {noise}" if contract.model.is_noised else "no noise is added to told weights"
        yield "min_noise", f"{said}; the policy asks for {rules.min_noise:g}"
    yield from _of_cells(rules, contract)
    yield from _of_batches(rules, program)


def _of_recordings(rules: Rules, contract: Terms) -> Iterator[tuple[str, str]]:
    """Among what comes in are the others' masked rows, or lists that the seed takes a layer off."""
    if (days := contract.replay_days) > rules.max_replay_days:
        yield (
            "max_replay_days",
            f"what comes in is kept for replay for {days} days; the policy allows {rules.max_replay_days}",
        )


def _of_numbers(rules: Rules, program: Program) -> Iterator[tuple[str, str]]:
    """Numbers that owners are told of their columns: each restricts what the rows can have been."""
    numbers = {"coefficients": program.columns * program.results}
    if isinstance(program, Fused):
        numbers["counts of bins"] = told(program, program.evidence)
        numbers["quantiles"] = program.quantiles.count if program.quantiles else 0
        numbers["means of columns with gaps"] = len(program.means)
    most = rules.max_columns_per_100_rows * program.rows // 100
    if sum(numbers.values()) > most:
        named = " and ".join(f"{number} {what}" for what, number in numbers.items() if number)
        said = f"{named} on {program.rows} rows; the policy allows {most}"
        yield "max_columns_per_100_rows", said
    elif isinstance(program, Fused) and program.evidence:
        rows = weighing_before(program.evidence, program.rows)
        if numbers["counts of bins"] > (most := rules.max_columns_per_100_rows * rows // 100):
            said = (
                f"{numbers['counts of bins']} counts of bins on {rows} rows outside the folds; the policy allows {most}"
            )
            yield "max_columns_per_100_rows", said


def _of_cells(rules: Rules, contract: Contract) -> Iterator[tuple[str, str]]:
    for what, cell in _cells(contract):
        if cell < rules.min_cell_rows:
            yield "min_cell_rows", f"{what} have cells of {cell} rows; the policy asks for {rules.min_cell_rows}"
            return


def _cells(contract: Contract) -> Iterator[tuple[str, int]]:
    """How many rows at least stand behind what is told of them."""
    program = contract.program
    if isinstance(program, Fused) and program.evaluation and program.evaluation.smallest_cell is not None:
        yield "tables", program.evaluation.smallest_cell
    if isinstance(program, Fused) and program.evidence:
        yield "bins", program.evidence.smallest_cell
    if isinstance(program, Fused) and program.quantiles:
        yield "quantiles", program.quantiles.smallest_cell
    if isinstance(program, Fused) and program.means:
        yield "means of columns with gaps", contract.preparation.smallest_bin
    if contract.discloses(LEVELS):
        yield "levels", contract.preparation.smallest_bin


def _of_prediction(rules: Rules, contract: PredictionContract) -> Iterator[tuple[str, str]]:
    """Probabilities of many rows tell the model, and of a known model what the others' columns hold."""
    if (rows := contract.program.rows) > rules.max_predicted_rows:
        yield "max_predicted_rows", f"{rows} rows are predicted; the policy allows {rules.max_predicted_rows}"


def _solver(program: Program) -> Solver:
    if isinstance(program, MiniBatch):
        return "sgd"
    return "newton" if isinstance(program, Newton) else "nesterov"


def _of_batches(rules: Rules, program: Program) -> Iterator[tuple[str, str]]:
    """A few steps on few rows, disclosed as coefficients, would be these rows."""
    if not isinstance(program, MiniBatch):
        return
    if program.batch_rows < rules.min_batch_rows:
        yield "min_batch_rows", f"batches of {program.batch_rows} rows; the policy asks for {rules.min_batch_rows}"
    if program.max_iter * program.batch_rows < program.rows:
        yield "whole_pass", "the iterations do not go once through the training rows"


def _of_circumstances(
    rules: Rules, contract: Terms, name: str, circumstances: Circumstances
) -> Iterator[tuple[str, str]]:
    """Whoever may ask often learns a record from what differs between the answers.

    A reason is told to all participants: none says how many sessions there were with others.
    """
    now, others = circumstances.now, [one for one in circumstances.signed if one.session != contract.digest]
    if rules.sessions_a_day:
        today = sum(one.received > now - timedelta(days=1) for one in others)
        if today >= rules.sessions_a_day:
            yield "sessions_a_day", f"the policy allows {rules.sessions_a_day} sessions within a day"
    data = contract.party(name).data
    same = [one for one in others if one.data == data]
    if rules.sessions_a_data_set and len(same) >= rules.sessions_a_data_set:
        yield "sessions_a_data_set", f"the policy allows {rules.sessions_a_data_set} sessions on '{data}'"
    for_it = sum(one.purpose == contract.purpose for one in same)
    if rules.sessions_a_purpose and for_it >= rules.sessions_a_purpose:
        most = rules.sessions_a_purpose
        yield "sessions_a_purpose", f"the policy allows {most} sessions on '{data}' for one purpose"
    if isinstance(contract, MatchingContract) and contract.is_estimate and rules.estimates_a_partner:
        partners = {party.name for party in contract.parties} - {name}
        if any(sum(one in each.estimated_with for each in same) >= rules.estimates_a_partner for one in partners):
            most = rules.estimates_a_partner
            yield "estimates_a_partner", f"the policy allows {most} estimates on '{data}' with one partner"
    if rules.hours:
        begin, end = _parsed(rules.hours)
        at = now.time()
        within = begin <= at < end if begin <= end else at >= begin or at < end
        if not within:
            yield "hours", f"it is {at:%H:%M}; the policy says {rules.hours}"


def _columns(contract: AnyContract, name: str) -> set[str]:
    """All columns of a party that take part: its features, and the label where it holds that."""
    columns = set(contract.party(name).columns)
    if isinstance(contract, Contract) and contract.label.held_by(name):
        columns.add(contract.label.column)
    return columns
