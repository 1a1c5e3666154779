"""Whole consortia of real processes on loopback, and the command line as its users run it."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes

from gateway.client import Gateway
from gateway.sandbox.consortium import Consortium
from gateway.views import SessionView
from mpc.fused_program import Fused
from parties.agreement.plan import Plan, load_plan
from parties.agreement.planning import propose_plan
from parties.audit.events import DisclosureRecorded, SessionCompleted
from parties.audit.snapshot import locate, take
from parties.audit.verify import verify
from parties.service import local
from parties.service.lifecycle import FINAL, State

DEADLINE_S = 120.0
PROMPT_S = 30.0  # by itself, not because somebody gave up waiting; seconds, where cores are free
LONG_RUN = 20_000  # iterations
ID, LABEL = "record", "outcome"


@dataclass(frozen=True)
class Cli:
    """What a command ended with."""

    status: int
    out: str
    err: str


def privity(*arguments: str | Path, timeout: float = 300) -> Cli:
    """Run the command line in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return Cli(done.returncode, done.stdout, done.stderr)


def until(what: str, condition: Callable[[], bool], seconds: float = DEADLINE_S) -> None:
    """Wait for something that must come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)


def write_csv(path: Path, columns: Mapping[str, list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def tables(name: str) -> tuple[np.ndarray, list[str]]:
    """A real table: features, and labels of two classes."""
    if name == "breast cancer":
        X, y = load_breast_cancer(return_X_y=True)
        return X, ["benign" if one else "malignant" for one in y]
    X, y = load_diabetes(return_X_y=True)
    return X, ["high" if one > 140 else "low" for one in y]


def split_columns(directory: Path, name: str, parties: int) -> dict[str, Path]:
    """A real table's columns dealt out to parties; the last holds the label, each its rows in an order of its own."""
    X, y = tables(name)
    files = {}
    for number, columns in enumerate(np.array_split(np.arange(X.shape[1]), parties)):
        order = np.random.default_rng(number).permutation(len(X))
        held = {ID: [f"R{row:05d}" for row in order]}
        held |= {f"x{column}": [repr(float(X[row, column])) for row in order] for column in columns}
        if number == parties - 1:
            held[LABEL] = [y[row] for row in order]
        files[f"org-{number}"] = write_csv(directory / f"org-{number}.csv", held)
    return files


def split_rows(directory: Path, name: str, parties: int) -> dict[str, Path]:
    """A real table's rows dealt out to parties, unevenly, with ids of their own; each has all columns and the label."""
    X, y = tables(name)
    order = np.random.default_rng(7).permutation(len(X))
    files = {}
    for number, rows in enumerate(np.split(order, np.cumsum([len(X) // (part + 2) for part in range(parties - 1)]))):
        held = {ID: [f"{number}-{row}" for row in range(len(rows))]}
        held |= {f"x{column}": [repr(float(X[row, column])) for row in rows] for column in range(X.shape[1])}
        held[LABEL] = [y[row] for row in rows]
        files[f"org-{number}"] = write_csv(directory / f"org-{number}.csv", held)
    return files


def split_blocks(directory: Path, name: str, *, label_at_hospitals: bool = False) -> dict[str, Path]:
    """A real table dealt out to two hospitals, with the same columns of different records, and an insurer of all."""
    X, y = tables(name)
    order, half = np.random.default_rng(7).permutation(len(X)), X.shape[1] // 2
    held = {"hospital-a": (order[::3], range(half)), "insurer": (np.flip(order), range(half, X.shape[1]))}
    held["hospital-b"] = (np.setdiff1d(order, order[::3]), range(half))
    files = {}
    for party, (rows, columns) in held.items():
        content = {ID: [f"R{row:05d}" for row in rows]}
        content |= {f"x{column}": [repr(float(X[row, column])) for row in rows] for column in columns}
        if label_at_hospitals == (party != "insurer"):
            content[LABEL] = [y[row] for row in rows]
        files[party] = write_csv(directory / f"{party}.csv", content)
    return files


def plan_in_blocks(files: Mapping[str, Path], label: str, positive: str) -> Plan:
    """What `plan new --partition blocks` writes for these files."""
    path = next(iter(files.values())).parent / "plan.toml"
    path.write_text(propose_plan(dict(files), ID, label, positive, "blocks"), encoding="utf-8")
    return load_plan(path)


def plan_by_rows(files: Mapping[str, Path], positive: str) -> Plan:
    """What `plan new --partition rows` writes for these files."""
    path = next(iter(files.values())).parent / "plan.toml"
    path.write_text(propose_plan(dict(files), ID, LABEL, positive, "rows"), encoding="utf-8")
    return load_plan(path)


def plan_for(files: Mapping[str, Path], **model: object) -> Plan:
    """What `plan new` writes for these files, with changes to the model."""
    owner = list(files)[-1]
    path = files[owner].parent / "plan.toml"
    positive = "malignant" if "malignant" in files[owner].read_text() else "high"
    path.write_text(propose_plan(dict(files), ID, f"{owner}:{LABEL}", positive), encoding="utf-8")
    plan = load_plan(path)
    return plan.model_copy(update={"model": plan.model.model_copy(update=model)})


class World:
    """A running consortium, and what its operators do."""

    def __init__(self, consortium: Consortium) -> None:
        self.consortium = consortium
        self.directory, self.plan, self.parties = consortium.directory, consortium.plan, consortium.parties
        assert consortium.client is not None
        self.client: Gateway = consortium.client

    def status(self, name: str) -> dict[str, dict[str, str | int]]:
        status: dict[str, dict[str, str | int]] = local.call(self.directory / name, "status")
        return status

    def state(self, name: str, session: str) -> str | None:
        found = self.status(name)["sessions"].get(session)
        return None if found is None else str(found)

    def add(self, party: str, name: str, columns: Mapping[str, list[str]]) -> None:
        """The party's operator puts another data set into the vault of the running node."""
        path = write_csv(self.directory / f"{party}-{name}.csv", columns)
        done = privity("data", "add", name, path, "--id", ID, "--shareable", "--home", self.directory / party)
        assert done.status == 0, done.err
        self._until_listed(party, name)

    def _until_listed(self, party: str, data: str) -> None:
        until(
            f"the gateway to list {data} of {party}",
            lambda: any(
                item.table.name == data
                for view in self.client.participants()
                if view.name == party
                for item in view.published
            ),
        )

    def begin(self, plan: Plan) -> str:
        """Propose, and have every operator of the plan's parties sign."""
        session = self.client.propose(plan).id
        self.consortium.approve(session, lambda _: None, [party.name for party in plan.parties])
        return session

    def share(self, name: str, data: str) -> None:
        """Its operator lets sessions use a data set; of a matching's once the others have signed."""
        home = self.directory / name
        until(f"{name} to share {data}", lambda: privity("data", "share", data, "--home", home).status == 0)
        self._until_listed(name, data)

    def approve_next(self) -> None:
        """Have every operator sign the next session that somebody proposes."""
        known = {view.id for view in self.client.sessions()}
        until("a proposal", lambda: len(self.client.sessions()) > len(known))
        (session,) = {view.id for view in self.client.sessions()} - known
        self.consortium.approve(session, lambda _: None)

    def ended(self, session: str) -> SessionView:
        """The session at its end, at the gateway and at every participant."""
        until("the session's end", lambda: self.client.session(session).state in FINAL)
        for name in self.consortium.members:
            if name in self.consortium.daemons:
                until(f"its end at {name}", lambda name=name: self.state(name, session) in {*FINAL, None})
        return self.client.session(session)

    def long_plan(self) -> Plan:
        """A plan that takes minutes, if nobody dies or cancels it."""
        model = self.plan.model.model_copy(update={"max_iter": LONG_RUN})
        silent = self.plan.disclosures.model_copy(update={"loss_reports": 0})  # policies bound how often it is told
        return self.plan.model_copy(update={"model": model, "disclosures": silent})

    def train(self, plan: Plan) -> SessionView:
        view = self.ended(self.begin(plan))
        if view.state is State.COMPLETED:
            self.assert_costs(view.id)
        return view

    def assert_costs(self, session: str) -> None:
        """Rounds and bytes are those of the contract's quote, to the byte, unless the run climbed its ladder."""
        contract = self.client.contract(session)
        quote, program, rounds = contract.quote, contract.program, []
        for rank, party in enumerate(contract.parties):
            events = [each.event for each in take(locate(self.directory / party.name)).entries()]
            own = [event for event in events if getattr(event, "session", "") == session]
            (done,) = [event for event in own if isinstance(event, SessionCompleted)]
            guards = sum(isinstance(event, DisclosureRecorded) and event.name == "guard" for event in own)
            climbed = isinstance(program, Fused) and guards > len(program.segments)
            sent = quote.bytes_sent[rank], quote.most_bytes_sent[rank] if climbed else quote.bytes_sent[rank]
            assert sent[0] <= done.bytes_sent <= sent[1], (party.name, done, sent)
            rounds.append(done.rounds)
        assert quote.rounds <= max(rounds) <= (quote.most_rounds if climbed else quote.rounds), (rounds, quote)

    def until_training(self, session: str, party: str) -> None:
        """Until a worker of this session has gone through iterations: the gateway hears of them."""
        for event in self.client.events(session):
            if event.kind == "progress" and event.data["who"] == party and int(event.data["iteration"]) > 0:
                return
            assert event.kind != "state" or event.data["state"] not in FINAL, event.data
        pytest.fail("the session ended before it trained")


def assert_logs_verify(directory: Path, identities: Mapping[str, str]) -> None:
    for name, key in identities.items():
        verdict = verify(directory / name, key)
        assert verdict.ok, f"{name}: {verdict.line()}"
