"""`privity sandbox`: any plan and files, tried by a whole consortium on one machine."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.client import SessionEvent
from gateway.comparison import Comparison, compare
from gateway.consortium import GATEWAY, Consortium
from gateway.views import SessionView
from parties.audit.events import DisclosureRecorded
from parties.contract import Contract
from parties.desk import result_of
from parties.errors import GatewayError, PlanError, SettingsError
from parties.job import Outcome
from parties.kinds import training
from parties.messages import Stages, Validated
from parties.plan import Plan
from parties.telling import convergence

AUC_TOLERANCE = 0.005


@dataclass(frozen=True)
class Ledger:
    """One disclosure that took place, and the clause that allowed it; none if no clause did."""

    name: str
    recipient: str
    count: int
    clause: str


@dataclass(frozen=True)
class Report:
    """Everything that a run showed."""

    session: str
    parties: tuple[str, ...]
    comparison: Comparison
    converged: bool | None  # None where the contract does not tell
    convergence: str  # the same in words
    validated: tuple[Validated, ...]
    seconds: float
    stages: Stages  # seconds of each, at the party that took longest for it
    rounds: int
    bytes_sent: dict[str, int]
    disclosures: tuple[Ledger, ...]
    unnamed: tuple[str, ...]  # disclosures that the contract does not name: must be none
    logs: dict[str, str]  # by participant: "" if its log verifies, else what is wrong

    @property
    def failures(self) -> list[str]:
        """Why the run can't be called a success; empty if it can."""
        found = [f"the log of {name} does not verify: {what}" for name, what in self.logs.items() if what]
        found += [f"disclosed without a clause: {what}" for what in self.unnamed]
        if abs(self.comparison.secure - self.comparison.pooled) > AUC_TOLERANCE:
            found.append(f"the secure model's AUC is more than {AUC_TOLERANCE} from the pooled one's")
        for model in self.comparison.models:
            told = model.disclosed.auc if model.disclosed else None
            if told is not None and abs(told - model.secure) > AUC_TOLERANCE:
                found.append(f"the disclosed AUC is more than {AUC_TOLERANCE} from that of the secure model's scores")
        return found

    def as_dict(self) -> dict[str, Any]:
        """The JSON that --report writes."""
        result = self.comparison
        return {
            "session": self.session,
            "rows": {"train": result.training_rows, "held_out": result.held_out_rows},
            "parties": list(self.parties),
            "auc": {"secure": result.secure, "pooled": result.pooled, "alone": result.alone},
            "models": [
                {
                    "C": model.C,
                    "positive": model.positive,
                    "secure": model.disclosed.model_dump() if model.disclosed else None,
                    "pooled": model.pooled_figures.model_dump(),
                }
                for model in result.models
            ],
            "validated": {each.C: each.loss for each in self.validated},
            "converged": self.converged,
            "coef_max_abs_diff": result.coefficient_difference,
            "seconds": self.seconds,
            "stages": self.stages,
            "rounds": self.rounds,
            "bytes_sent": self.bytes_sent,
            "disclosures": [item.__dict__ for item in self.disclosures],
            "audit": {"logs": len(self.logs), "verified": all(not what for what in self.logs.values())},
        }


def run(
    plan: Plan,
    files: Mapping[str, Path],
    id_column: str,
    directory: Path | None,
    say: Callable[[str], None],
    on_event: Callable[[SessionEvent], None],
    keep: Callable[[Report, Consortium], None] | None = None,
) -> Report:
    """Set a consortium up, run the plan's session to its end, compare, verify every log.

    The logs are verified after the processes ended, or, with `keep`, while they go on; it is called with the report.

    Raises: PlanError if files and plan do not fit, SettingsError if the directory holds something,
    GatewayError if the session does not complete.
    """
    check_files(plan, files)
    with ExitStack() as stack:
        place = _directory(directory, stack)
        consortium = stack.enter_context(Consortium(place, plan))
        consortium.start(files, id_column, say)
        session = consortium.propose()
        say(f"proposed session {session[:12]}")
        consortium.approve(session, say)
        started = time.monotonic()
        view = follow(consortium, session, on_event)
        evidence = _evidence(consortium, view, time.monotonic() - started)
        if keep is None:
            consortium.stop()
        report = _report(evidence, files, place)
        if keep is not None:
            keep(report, consortium)
        return report


def check_files(plan: Plan, files: Mapping[str, Path]) -> None:
    """Raises: PlanError if a party has no file, or a file no party."""
    names = {party.name for party in plan.parties}
    if missing := sorted(names - set(files)):
        raise PlanError(f"no file is given for {', '.join(missing)}", action="add --data PARTY=FILE.csv for each party")
    if unknown := sorted(set(files) - names):
        raise PlanError(
            f"{', '.join(unknown)} is no party of the plan", action=f"its parties are {', '.join(sorted(names))}"
        )


def _directory(directory: Path | None, stack: ExitStack) -> Path:
    if directory is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="privity-")))
    if directory.exists() and any(directory.iterdir()):
        raise SettingsError(f"{directory} is not empty", action="give --dir a new directory")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory.absolute()


def follow(consortium: Consortium, session: str, on_event: Callable[[SessionEvent], None]) -> SessionView:
    """Watch the session to its end. Raises: GatewayError that says who failed and why."""
    if consortium.client is None:
        raise GatewayError("the consortium is not started")
    for event in consortium.client.events(session):
        on_event(event)
    view = consortium.client.session(session)
    if view.state != "completed":
        line = view.fault.line() if view.fault is not None else "no reason was given"
        raise GatewayError(f"the session {view.state}: {line}", action="see the participants' daemon.log")
    return view


@dataclass(frozen=True)
class _Evidence:
    """What is asked of the consortium while it runs."""

    contract: Contract
    outcomes: dict[str, Outcome]
    converged: bool | None
    validated: tuple[Validated, ...]
    seconds: float
    stages: Stages
    rounds: int
    bytes_sent: dict[str, int]
    identities: dict[str, str]


def _evidence(consortium: Consortium, view: SessionView, seconds: float) -> _Evidence:
    if consortium.client is None:
        raise GatewayError("the gateway's client is gone")
    reports = {item.name: item.report for item in view.participants if item.report is not None}
    return _Evidence(
        contract=training(consortium.client.contract(view.id)),
        outcomes={name: result_of(consortium.home(name), view.id) for name in consortium.parties},
        converged=view.converged,
        validated=view.validated,
        seconds=seconds,
        stages=_longest([report.stages for report in reports.values()]),
        rounds=max(report.rounds for report in reports.values()),
        bytes_sent={
            GATEWAY: consortium.client.health().bytes_sent,
            **{name: report.bytes_sent for name, report in reports.items()},
        },
        identities=consortium.identities(),
    )


def _longest(by_party: list[Stages]) -> Stages:
    """Parties wait for each other: the slowest one's times are what a run is made of."""
    names = next((stages for stages in by_party if stages), {})
    return {name: max(stages.get(name, 0.0) for stages in by_party) for name in names}


def _report(evidence: _Evidence, files: Mapping[str, Path], place: Path) -> Report:
    from parties.audit.verify import verify

    contract = evidence.contract
    disclosures, unnamed = _disclosures(contract, place)
    verdicts = {name: verify(place / name, key) for name, key in evidence.identities.items()}
    return Report(
        session=contract.digest,
        parties=tuple(party.name for party in contract.parties),
        comparison=compare(contract, files, evidence.outcomes),
        converged=evidence.converged,
        convergence=_in_words(contract, evidence.converged),
        validated=evidence.validated,
        seconds=evidence.seconds,
        stages=evidence.stages,
        rounds=evidence.rounds,
        bytes_sent=evidence.bytes_sent,
        disclosures=disclosures,
        unnamed=unnamed,
        logs={name: "" if verdict.ok else verdict.line() for name, verdict in verdicts.items()},
    )


def _in_words(contract: Contract, converged: bool | None) -> str:
    if converged is None or contract.convergence is None:
        return "whether the gradient is small enough is not told"
    return convergence(converged, contract.convergence.tol, contract.program.max_iter)


def _disclosures(contract: Contract, place: Path) -> tuple[tuple[Ledger, ...], tuple[str, ...]]:
    """What the nodes' own logs say was disclosed, held against the contract's clauses."""
    from parties.audit.snapshot import locate, take

    counts: dict[tuple[str, str, str], int] = {}
    for party in contract.parties:
        own: dict[tuple[str, str, str], int] = {}
        for entry in take(locate(place / party.name)).entries():
            event = entry.event
            if isinstance(event, DisclosureRecorded) and event.session == contract.digest:
                key = (event.name, event.recipients[0], event.clause)
                own[key] = own.get(key, 0) + 1
        for key, count in own.items():
            counts[key] = max(counts.get(key, 0), count)
    named = {(item.name, item.recipient, item.clause): item.count for item in contract.disclosures}
    unnamed = tuple(f"{key[0]} to {key[1]}" for key, count in counts.items() if count > named.get(key, 0))
    return tuple(
        Ledger(key[0], key[1], count, key[2]) for key, count in sorted(counts.items(), key=_by_clause)
    ), unnamed


def _by_clause(item: tuple[tuple[str, str, str], int]) -> int:
    return int(item[0][2].rpartition(".")[2])


def write_report(report: Report, path: Path) -> None:
    path.write_text(json.dumps(report.as_dict(), indent=2) + "\n", encoding="utf-8")
