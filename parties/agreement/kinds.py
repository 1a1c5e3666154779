"""The kinds of sessions, and which of them a plan or a contract is: a key `kind` says it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import rfc8785
from pydantic import Discriminator, Tag, ValidationError

from parties.agreement.contract import Contract
from parties.agreement.match_plan import MatchingContract, MatchingPlan, parse_matching_plan
from parties.agreement.plan import Plan, explain, parse_plan, read_plan
from parties.agreement.prediction import PredictionContract, PredictionPlan, parse_prediction_plan
from parties.errors import ContractError, PlanError

MAX_CONTRACT_BYTES = 4 << 20
TRAINING, PREDICTION, MATCHING = KINDS = ("training", "prediction", "matching")
Kind: TypeAlias = Literal["training", "prediction", "matching"]

AnyContract: TypeAlias = Contract | PredictionContract | MatchingContract


def _kind(content: Any) -> str:
    """What is of no known kind is a training, or nothing."""
    found = content.get("kind") if isinstance(content, dict) else getattr(content, "kind", None)
    return found if isinstance(found, str) and found in KINDS else TRAINING


def kind_of(contract: str) -> str:
    """The kind of a contract that was kept, also of one that this release can't read any more."""
    return _kind(json.loads(contract))


def model_of(contract: str) -> str:
    """The session whose model a contract that was kept predicts by; empty of other kinds."""
    content = json.loads(contract)
    return str(content["model"]) if _kind(content) == PREDICTION else ""


_CONTRACTS: dict[str, type[AnyContract]] = {
    TRAINING: Contract,
    PREDICTION: PredictionContract,
    MATCHING: MatchingContract,
}
ProposedPlan: TypeAlias = Plan | PredictionPlan | MatchingPlan
AnyPlan: TypeAlias = Annotated[
    Annotated[Plan, Tag(TRAINING)]
    | Annotated[PredictionPlan, Tag(PREDICTION)]
    | Annotated[MatchingPlan, Tag(MATCHING)],
    Discriminator(_kind),
]
_PARSERS: dict[str, Callable[[dict[str, Any]], ProposedPlan]] = {
    TRAINING: parse_plan,
    PREDICTION: parse_prediction_plan,
    MATCHING: parse_matching_plan,
}


def load_any_plan(path: Path) -> ProposedPlan:
    """Raises: PlanError if the file can't be read, is not TOML, or not a plan of any kind."""
    content = read_plan(path)
    return _PARSERS[_kind(content)](content)


def parse_plan_text(text: str) -> ProposedPlan:
    """A plan of any kind out of its JSON. Raises: PlanError."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise PlanError("the plan is not JSON", action="mend it and try again") from exc
    if not isinstance(content, dict):
        raise PlanError("the plan does not hold: it has no keys", action="mend the plan and try again")
    return _PARSERS[_kind(content)](content)


def load_plans(paths: Sequence[Path]) -> tuple[MatchingPlan | None, Plan]:
    """A training's plan, and a matching's before it, if there are two. Raises: PlanError as `load_any_plan`."""
    *before, last = (load_any_plan(path) for path in paths)
    if len(before) <= 1 and isinstance(last, Plan):
        if not before:
            return None, last
        if isinstance(before[0], MatchingPlan):
            return before[0], last
    raise PlanError("these are not a training's plan, or a matching's and a training's", action="give them in order")


def parse_contract(content: bytes) -> AnyContract:
    """Raises: ContractError if it is not canonical JSON of a contract of this version, whatever its kind."""
    if len(content) > MAX_CONTRACT_BYTES:
        raise ContractError(f"a contract of {len(content)} bytes came; {MAX_CONTRACT_BYTES} is the limit")
    try:
        contract = _model(_parsed(content)).model_validate_json(content)
        canonical = contract.canonical()
    except ValidationError as exc:
        unknown = any(found["type"] == "extra_forbidden" for found in exc.errors(include_input=False))
        raise ContractError(
            f"the contract does not hold: {explain(exc)}",
            action="propose the session again",
            reason="fields" if unknown else "",
        ) from exc
    except rfc8785.CanonicalizationError as exc:
        raise ContractError(
            "a number of the contract has no canonical form", action="refuse it", reason="form"
        ) from exc
    if canonical != content:
        raise ContractError(
            "the contract is not in canonical form", action="refuse; its digest would be ambiguous", reason="form"
        )
    return contract


def training(contract: AnyContract) -> Contract:
    """The same, if it is a training's. Raises: ContractError."""
    if not isinstance(contract, Contract):
        raise ContractError("this session is no training", action="name a training session")
    return contract


def columns_of(contract: AnyContract, party: str) -> tuple[str, ...]:
    """What a party's data set must have for it: its features, and the label where it holds one; or its id columns."""
    columns = contract.party(party).columns
    if isinstance(contract, Contract) and contract.label.held_by(party):
        return (*columns, contract.label.column)
    return columns


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):  # no JSON: validation says where
        return None


def _model(content: Any) -> type[AnyContract]:
    """Raises: ContractError for a contract of a later version, of which nothing else can be judged."""
    model = _CONTRACTS[_kind(content)]
    known = model.model_fields["version"].default
    version = content.get("version") if isinstance(content, dict) else known
    if type(version) is int and version > known:
        raise ContractError(
            f"the contract is of version {version}; this release knows version {known}",
            action="run one release of Privity at all participants",
            reason="version",
        )
    return model
