"""What a node signs by itself, what its operator must approve, what it always refuses."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from mpc.program import FIGURES, MiniBatch, Program
from parties.contract import Contract
from parties.errors import PolicyRefusal, SettingsError
from parties.plan import Frozen, explain


class Policy(Frozen):
    """policy.toml; each key is explained in the file that `init` writes."""

    approve: Literal["operator", "automatic"] = "operator"
    purposes: tuple[str, ...] = ()
    disclosures: tuple[str, ...] = ("coefficients", "intercept", "loss", "guard", "moments", "converged", *FIGURES)
    min_training_rows: Annotated[int, Field(ge=2)] = 50
    min_batch_rows: Annotated[int, Field(ge=2)] = 20
    max_columns_per_100_rows: Annotated[int, Field(ge=0)] = 20
    max_loss_reports: Annotated[int, Field(ge=0)] = 100
    never_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One rule's verdict."""

    rule: str
    holds: bool
    reason: str


def load_policy(path: Path) -> Policy:
    """Raises: SettingsError if it is missing or a key does not fit; a node without a policy signs nothing."""
    try:
        return Policy.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as exc:
        raise SettingsError(f"there is no policy at {path}", action="restore it; nothing is signed without") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path} is not TOML: {exc}") from exc
    except ValidationError as exc:
        raise SettingsError(f"{path}: {explain(exc)}") from exc


def judge(policy: Policy, contract: Contract, name: str) -> list[Finding]:
    """Every rule's verdict on a contract, at the party of this name."""
    program, rows = contract.program, contract.training_rows(name)
    named = {item.name for item in contract.disclosures}
    forbidden = sorted(named - set(policy.disclosures))
    losses = sum(item.count for item in contract.disclosures if item.name == "loss")
    most = policy.max_columns_per_100_rows * program.rows // 100
    never = sorted(_columns(contract, name) & set(policy.never_columns))
    return [
        Finding(
            "purposes",
            not policy.purposes or contract.purpose in policy.purposes,
            "the purpose is not one that the policy lists",
        ),
        Finding("disclosures", not forbidden, f"the contract discloses {', '.join(forbidden)}"),
        Finding(
            "min_training_rows",
            rows >= policy.min_training_rows,
            f"{rows} training rows; the policy asks for {policy.min_training_rows}",
        ),
        *_of_batches(policy, program),
        Finding(
            "max_columns_per_100_rows",
            program.columns <= most,
            f"{program.columns} columns on {program.rows} rows; the policy allows {most}",
        ),
        Finding(
            "max_loss_reports",
            losses <= policy.max_loss_reports,
            f"the loss is disclosed up to {losses} times; the policy allows {policy.max_loss_reports}",
        ),
        Finding("never_columns", not never, f"column {', '.join(never)} never takes part"),
    ]


def _of_batches(policy: Policy, program: Program) -> list[Finding]:
    """A few steps on few rows, disclosed as coefficients, would be these rows."""
    if not isinstance(program, MiniBatch):
        return []
    passes = program.max_iter * program.batch_rows / program.rows
    return [
        Finding(
            "min_batch_rows",
            program.batch_rows >= policy.min_batch_rows,
            f"batches of {program.batch_rows} rows; the policy asks for {policy.min_batch_rows}",
        ),
        Finding("whole_pass", passes >= 1, "the iterations do not go once through the training rows"),
    ]


def _columns(contract: Contract, name: str) -> set[str]:
    """All columns of a party that take part: its features, and the label where it holds that."""
    label = {contract.label.column} if contract.label.held_by(name) else set()
    return label | set(contract.party(name).columns)


def check(policy: Policy, contract: Contract, name: str) -> None:
    """Raises: PolicyRefusal that names the first rule that a contract breaks."""
    for finding in judge(policy, contract, name):
        if not finding.holds:
            raise PolicyRefusal(f"rule '{finding.rule}': {finding.reason}", action="change the plan, or the policy")
