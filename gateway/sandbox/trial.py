"""`privity sandbox`: any plan and files, tried by a whole consortium on one machine; a matching's before it."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from gateway.commands.following import follow
from gateway.sandbox.comparison import Comparison, compare
from gateway.sandbox.consortium import GATEWAY, Consortium
from gateway.sandbox.disclosed import Ledger, disclosed
from gateway.sandbox.matched_first import MatchingReport, match_first
from gateway.views import SessionView
from gateway.watching import SessionEvent
from parties.agreement.contract import Contract
from parties.agreement.kinds import training
from parties.agreement.match_plan import MatchingPlan
from parties.agreement.plan import Plan
from parties.data.tables import Table
from parties.errors import GatewayError, PlanError, SettingsError
from parties.outcome.telling import convergence
from parties.process.job import Outcome
from parties.service.desk import result_of
from parties.service.messages import InformationValue, Stages, Validated
from parties.sources import read_table

AUC_TOLERANCE = 0.005


@dataclass(frozen=True)
class Report:
    """Everything that a run showed."""

    session: str
    matching: MatchingReport | None  # that came before, if one did
    parties: tuple[str, ...]
    comparison: Comparison
    converged: bool | None  # None where the contract does not tell
    convergence: str  # the same in words
    validated: tuple[Validated, ...]
    information_values: tuple[InformationValue, ...]
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
        unnamed = (*self.unnamed, *(self.matching.unnamed if self.matching else ()))
        found += [f"disclosed without a clause: {what}" for what in unnamed]
        if self.matching is not None and not self.matching.exact:
            found.append("the matched records are not those that a plain join of the files finds")
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
            "matching": None if self.matching is None else asdict(self.matching),
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
            "information_values": [each.model_dump() for each in self.information_values],
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
    matching: MatchingPlan | None = None,
) -> Report:
    """Set a consortium up, run the plan's session to its end, compare, verify every log.

    After a matching, if there is one, the plan is about what that leaves.

    The logs are verified after the processes ended, or, with `keep`, while they go on; it is called with the report.

    Raises: PlanError if files and plan do not fit, SettingsError if the directory holds something,
    GatewayError if the session does not complete.
    """
    check_files(plan, files)
    if matching is not None:
        check_plans(matching, plan)
    with ExitStack() as stack:
        place = _directory(directory, stack)
        consortium = stack.enter_context(Consortium(place, plan, matching))
        consortium.start(files, id_column, say)
        matched = match_first(consortium, files, id_column, say, on_event) if matching is not None else None
        session = consortium.propose(plan)
        say(f"proposed session {session[:12]}")
        consortium.approve(session, say)
        started = time.monotonic()
        view = follow(consortium, session, on_event)
        evidence = _evidence(consortium, view, time.monotonic() - started)
        if keep is None:
            consortium.stop()
        tables = matched.tables if matched else {name: read_table(files[name], id_column) for name in files}
        report = _report(evidence, tables, place, matched.report if matched else None)
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


def check_plans(matching: MatchingPlan, plan: Plan) -> None:
    """Raises: PlanError unless the training is on what the matching leaves, between the same participants."""
    if {party.name for party in matching.parties} != {party.name for party in plan.parties}:
        raise PlanError("the two plans name other parties", action="name the same in both")
    if matching.dealer != plan.dealer:
        raise PlanError("the two plans name another dealer", action="name the same in both")
    for party in plan.parties:
        if party.data != matching.leaves:
            raise PlanError(
                f"{party.name} trains on '{party.data}', and the matching leaves '{matching.leaves}'",
                action="correct the training's plan; `privity plan new --matching` writes one",
            )


def _directory(directory: Path | None, stack: ExitStack) -> Path:
    if directory is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="privity-")))
    if directory.exists() and any(directory.iterdir()):
        raise SettingsError(f"{directory} is not empty", action="give --dir a new directory")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory.absolute()


@dataclass(frozen=True)
class _Evidence:
    """What is asked of the consortium while it runs."""

    contract: Contract
    outcomes: dict[str, Outcome]
    converged: bool | None
    validated: tuple[Validated, ...]
    information_values: tuple[InformationValue, ...]
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
        information_values=view.information_values,
        seconds=seconds,
        stages=_longest([report.stages for report in reports.values()]),
        rounds=max(report.rounds for report in reports.values()),
        bytes_sent={
            GATEWAY: _sent_by_gateway(consortium.client.metrics()),
            **{name: report.bytes_sent for name, report in reports.items()},
        },
        identities=consortium.identities(),
    )


def _sent_by_gateway(metrics: str) -> int:
    """Bytes to participants, since it began."""
    families = text_string_to_metric_families(metrics)
    return int(next(family.samples[0].value for family in families if family.name == "privity_gateway_sent_bytes"))


def _longest(by_party: list[Stages]) -> Stages:
    """Parties wait for each other: the slowest one's times are what a run is made of."""
    names = next((stages for stages in by_party if stages), {})
    return {name: max(stages.get(name, 0.0) for stages in by_party) for name in names}


def _report(evidence: _Evidence, tables: Mapping[str, Table], place: Path, matching: MatchingReport | None) -> Report:
    from parties.audit.verify import verify

    contract = evidence.contract
    disclosures, unnamed = disclosed(contract, place)
    verdicts = {name: verify(place / name, key) for name, key in evidence.identities.items()}
    return Report(
        session=contract.digest,
        parties=tuple(party.name for party in contract.parties),
        matching=matching,
        comparison=compare(contract, tables, evidence.outcomes),
        converged=evidence.converged,
        convergence=_in_words(contract, evidence.converged),
        validated=evidence.validated,
        information_values=evidence.information_values,
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


def write_report(report: Report, path: Path) -> None:
    path.write_text(json.dumps(report.as_dict(), indent=2) + "\n", encoding="utf-8")
