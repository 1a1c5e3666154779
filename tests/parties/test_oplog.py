"""The operational log as it is written: JSON lines, those about a session with its id."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from parties.process.job import DealerJob, TlsMaterial
from parties.service import oplog
from parties.service.supervisor import Process

TLS = TlsMaterial(key_pem=SecretStr("-----BEGIN PRIVATE KEY-----"), certificate="")
JOB = DealerJob(name="dealer", contract="{}", approvals={}, epoch=1, tls=TLS, inbox_fd=7)
SESSION, OTHER = "ab" * 32, "cd" * 32
log = structlog.get_logger("privity")


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What was written so far."""
    out = io.StringIO()
    with redirect_stderr(out):
        oplog.configure()
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    structlog.reset_defaults()


def test_tasks_and_threads_of_a_session_write_its_id(lines):
    """Also after an await, and in tasks that go on once their message is dealt with; two sessions don't mix."""

    async def work(name: str, turn: asyncio.Event) -> None:
        await turn.wait()
        log.info(name)
        await asyncio.to_thread(log.info, f"{name} in a thread")

    async def both() -> None:
        turn, tasks = asyncio.Event(), []
        for name, session in (("one", SESSION), ("two", OTHER), ("none", "")):
            with oplog.about(session):
                tasks.append(asyncio.create_task(work(name, turn)))
        log.info("outside")
        turn.set()
        await asyncio.gather(*tasks)

    asyncio.run(both())
    found = {line["event"]: line.get("session") for line in lines()}
    assert found == {
        "outside": None,
        **dict.fromkeys(("one", "one in a thread"), SESSION),
        **dict.fromkeys(("two", "two in a thread"), OTHER),
        **dict.fromkeys(("none", "none in a thread"), None),
    }


def test_what_a_worker_prints_has_its_session_s_id(lines):
    """Whatever a library writes to standard error ends here, under the session that it ran for."""

    async def run() -> None:
        with oplog.about(SESSION):
            process = await Process.start(JOB, (), ("/bin/sh", "-c", "echo words >&2; echo nonsense"))
            await process.run(lambda _: asyncio.sleep(0))

    asyncio.run(run())
    said = lines()
    assert {line["event"] for line in said} >= {"worker", "a worker said something that is no report; it is killed"}
    assert {line.get("session") for line in said} == {SESSION}
