"""The gateway's process: serves until it is told to end, and says on one line when it is ready."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from gateway.home import init, invite
from gateway.server import running
from parties.service import oplog

__all__ = ["init", "invite", "serve"]


def serve(home: Path) -> None:
    """Serve until SIGTERM or SIGINT. Prints {"ready": true, "rest": …, "control": …, "url": …} once both ports listen.

    Raises: as `running`.
    """
    oplog.configure()
    asyncio.run(_serve(home))


async def _serve(home: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(home) as serving:
        gc.collect()
        gc.freeze()  # libraries stay: to look through them again and again would hold up requests for a quarter second
        line = json.dumps({"ready": True, **asdict(serving)})
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        await stop.wait()
