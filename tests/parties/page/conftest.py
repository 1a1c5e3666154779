"""A real node with data, partners and a contract that waits, whose page is served on loopback; no gateway."""

from __future__ import annotations

import asyncio
import concurrent.futures
import csv
import queue
import re
import threading
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from mpc.curves import Points
from parties.agreement.contract import Contract
from parties.agreement.kinds import parse_contract, training
from parties.agreement.match_plan import MatchingContract
from parties.agreement.match_rules import MatchRules
from parties.agreement.plan import RetentionPlan
from parties.agreement.prediction import PredictionContract
from parties.audit.log import AuditLog
from parties.columns.preparation import OriginalUnits, Standardiser
from parties.data.intake import take_in
from parties.keys.identity import Identity
from parties.keys.tls import Invitation, utc_now
from parties.outcome.models import KeptModel
from parties.process.job import ModelPart, Outcome, OwnModel
from parties.service.desk import Desk
from parties.service.home import Home, init
from parties.service.lifecycle import Step
from parties.service.messages import Figures
from parties.service.node import Node
from parties.sources import file_source
from tests.parties.conftest import draft, draft_matching, draft_prediction, plain

DEADLINE_S = 30
ROWS = 400
SECRET_RESULT = 0.71828
TABLE = Points(thresholds=(0.0,), positives=((0, 9), (10, 15)), negatives=((0, 9), (10, 15)))


def home_of(directory: Path) -> Home:
    """A home of clinic-a, with its log."""
    token = Invitation.create("clinic-a", "127.0.0.1:1", "ab" * 32).token()
    home = init(directory, "party", token, "127.0.0.1:0", utc_now())
    AuditLog.open(home.path("audit.sqlite"), home.identity, "clinic-a").close()
    return home


class Clinic:
    """A node whose page is served while inside."""

    def __init__(self, directory: Path) -> None:
        self.home = home_of(directory / "home")
        self.others = {name: Identity.generate() for name in ("clinic-b", "dealer")}
        self.ahead = timedelta(0)  # of the node's clock
        self._loop = asyncio.new_event_loop()
        self._ready: queue.Queue[None] = queue.Queue()
        self._stop = asyncio.Event()
        self._browsers: list[Browser] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._ready.get(timeout=DEADLINE_S)
        self._furnish(directory)

    def _run(self) -> None:
        async def main() -> None:
            self.node = Node(self.home, lambda: utc_now() + self.ahead)
            assert self.node.page is not None
            await self.node.door.open()
            await self.node.page.open()
            self._ready.put(None)
            await self._stop.wait()
            await self.node.page.close()
            self.node.door.close()
            self.node.journal.close()

        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(main())

    def _furnish(self, directory: Path) -> None:
        file = directory / "cohort.csv"
        with file.open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            writer.writerow(["patient", "age", "dose", "outcome"])
            writer.writerows([f"p{i}", 30 + i % 50, i % 7, "yes" if i % 3 else "no"] for i in range(ROWS))
        desk = Desk(self.home, self.node.journal, self.node.vault, self.node.partners)
        take_in(
            self.node.vault,
            "cohort",
            file_source(file),
            "patient",
            created=utc_now(),
            record=desk.data_added,
            shareable=True,
        )
        for name, identity in self.others.items():
            desk.partner_add(name, identity.fingerprint)

    def stop(self) -> None:
        for browser in self._browsers:
            browser.client.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """In the node's own loop."""
        found: concurrent.futures.Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return found.result(DEADLINE_S)

    def contract(self, **changed: Any) -> Contract:
        """One that fits what the vault holds."""
        keys = [self.home.identity, *self.others.values()]
        expires = datetime.now(UTC) + timedelta(hours=1)
        paper = draft(*(key.public.hex() for key in keys), rows=ROWS, expires=expires)
        held = self.node.vault.manifest("cohort")
        own = paper.parties[0].model_copy(update={"data_version": held.version, "schema_sha256": held.table.digest})
        return paper.model_copy(update={"parties": (own, paper.parties[1]), **changed})

    def proposed(self, **changed: Any) -> str:
        """The id of a contract that came from the gateway and waits."""
        contract = self.contract(**changed)
        self.do(self.node.receive(contract.canonical()))
        assert self.state(contract.digest) == "proposed", self.node.store.get(contract.digest).fault
        return contract.digest

    def agreed(self, session: str) -> Contract:
        """The contract of a training that came."""
        return training(parse_contract(self.node.store.get(session).contract.encode()))

    def prediction(self, trained: Contract | None = None, *, keep: bool = True, **changed: Any) -> PredictionContract:
        """One that came, by a model of which this node keeps its share, or should."""
        trained = trained or self.contract(retention=RetentionPlan(model_days=30))
        if keep:
            self.keep_share(trained)
        contract = draft_prediction(trained, trained.parties).model_copy(update=changed)
        self.do(self.node.receive(contract.canonical()))
        return contract

    def matching(self, *, estimate: bool = False) -> MatchingContract:
        """One that came, of this node's data set and another's."""
        base = self.contract()
        parties = tuple(party.model_copy(update={"columns": (party.id_column,)}) for party in base.parties)
        contract = draft_matching(base, estimate=estimate, parties=parties, rules=MatchRules())
        self.do(self.node.receive(contract.canonical()))
        return contract

    def keep_share(self, trained: Contract) -> None:
        standardiser = Standardiser(names=("age", "dose"), mean=(54.5, 3.0), deviation=(14.5, 2.0), clip=32.0)
        part = ModelPart.of(
            plain("age", "dose"), standardiser, np.zeros((trained.program.columns + 1, 1), dtype=np.int64)
        )
        kept = KeptModel(contract=trained.canonical().decode(), stored=datetime.now(UTC), part=part)
        self.node.models.store(trained.digest, kept)

    def completed(self, session: str, calibration: Points = TABLE) -> None:
        """As a run leaves it, with a result."""
        for step in (Step.APPROVE, Step.START, Step.COMPLETE):
            self.node.store.step(session, step)
        units = OriginalUnits(names=("age", "dose"), coefficients=(SECRET_RESULT, 0.5), offset=0.1)
        model = OwnModel(
            C="1.0",
            positive="yes",
            standardised=(0.3, 0.2),
            original=units,
            intercept=1.5,
            losses=(),
            figures=Figures(auc=0.75, roc=TABLE, calibration=calibration),
        )
        self.node._keep(session, Outcome(columns=("age", "dose"), models=(model,)))

    def state(self, session: str) -> str:
        return self.node.store.get(session).state.value

    def link(self, role: str = "operator") -> str:
        return self.node.login(role)

    def browser(self, role: str = "operator") -> Browser:
        self._browsers.append(Browser(self.link(role)))
        return self._browsers[-1]


class Browser:
    """A browser that a link logged in."""

    def __init__(self, link: str) -> None:
        self.client = httpx2.Client(follow_redirects=True, timeout=DEADLINE_S)
        first = self.client.get(link)
        assert first.status_code == 200, first.text
        self.base = str(first.url).rstrip("/")
        self.origin = self.base.rpartition("/")[0]

    def get(self, path: str, **kwargs: Any) -> httpx2.Response:
        return self.client.get(self.base + path, **kwargs)

    def form_token(self) -> str:
        found = re.search(r'name="form_token" value="([^"]+)"', self.get("/").text)
        assert found
        return found[1]

    def post(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> httpx2.Response:
        """As the page's own forms do; headers and fields given here take the place of the right ones."""
        data = {"form_token": self.form_token(), **fields}
        return self.client.post(self.base + path, data=data, headers={"origin": self.origin, **(headers or {})})


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    made = Clinic(tmp_path)
    yield made
    made.stop()
