"""The dealer's daemon: it checks contracts and signs like a party, and runs one process a session.

It holds no data: it learns who trains with whom, sizes, and, in the process, its own masks.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Literal

from parties.agreement.kinds import AnyContract
from parties.process.job import Answer, AskedKey, DealerJob, Done, Report
from parties.service.daemon import EPOCH, Daemon, Live
from parties.service.supervisor import Process

PROCESS = (sys.executable, "-P", "-m", "parties.process.dealer_worker")


class Dealer(Daemon):
    role: Literal["node", "dealer"] = "dealer"

    def admit(self) -> None:
        """A dealer is never paused."""

    def examine(self, contract: AnyContract) -> None:
        """Nothing more than every participant checks."""

    def inspect(self, contract: AnyContract) -> None:
        """It has no data."""

    def signs_by_itself(self, contract: AnyContract) -> bool:
        """A dealer signs for partners that its operator confirmed; it gives away nothing but randomness."""
        return True

    async def launch(self, live: Live, epoch: int, inbox: int) -> Process:
        return await Process.start(DealerJob(**self.common(live, epoch, inbox)), (inbox,), PROCESS)

    async def on_report(self, live: Live, report: Report) -> Answer | None:
        if isinstance(report, AskedKey):
            return await asyncio.to_thread(self.commitments.sign_key, live.contract, EPOCH, report)
        return None

    def destroy_share(self, session: str) -> None:
        """It keeps none."""

    def partner_withdrew(self, session: str) -> None:
        """Nothing of what a party sent is kept."""

    async def settle(self, live: Live) -> None:
        """Nothing takes a while."""

    def finish(self, live: Live, done: Done) -> None:
        """Nothing stays here."""
