"""A worker can die, babble, hang or fall silent: its parent notices, ends it, and says how it ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest
from pydantic import SecretStr

from parties.errors import AuditError
from parties.process.job import Answer, Broken, DealerJob, Intent, Matched, PartyJob, Report, TlsMaterial
from parties.service.supervisor import LINE_LIMIT, Process

DEADLINE_S = 60
TLS = TlsMaterial(key_pem=SecretStr("-----BEGIN PRIVATE KEY-----"), certificate="")
JOB = DealerJob(name="dealer", contract="{}", approvals={}, epoch=1, tls=TLS, inbox_fd=7)
MATCHED = '{"type": "matched", "rows": 4, "training_rows": 3}'
INTENT = '{"type": "intent", "name": "loss", "recipient": "session", "values": 1}'


def supervise(script: str, on_report=None) -> tuple[int, list[Report]]:
    """Exit status and reports of a child that runs this script; it has read its job's line."""
    heard: list[Report] = []

    async def hear(report: Report) -> Answer | None:
        heard.append(report)
        return await on_report(report) if on_report else None

    async def main() -> int:
        command = (sys.executable, "-c", f"import os, sys, signal, time\njob = sys.stdin.readline()\n{script}")
        process = await Process.start(JOB, (), command)
        return await asyncio.wait_for(process.run(hear), DEADLINE_S)

    return asyncio.run(main()), heard


def test_reports_are_heard_until_the_end():
    """Each line is one report, in order; the exit status follows."""
    status, heard = supervise(f"print('''{MATCHED}'''); print('''{MATCHED}''')")
    assert status == 0
    assert heard == [Matched(rows=4, training_rows=3)] * 2


def test_a_worker_waits_for_its_answer():
    """An intent is answered on the child's standard input before it goes on."""

    async def answer(report: Report) -> Answer | None:
        return Answer() if isinstance(report, Intent) else None

    script = f"print('''{INTENT}''', flush=True)\nsys.exit(7 if 'answer' in sys.stdin.readline() else 8)"
    assert supervise(script, answer) == (7, [Intent(name="loss", recipient="session", values=1)])


def test_a_failed_record_ends_the_worker():
    """If the node can't record a disclosure the worker gets no answer: it is killed, and the error goes on."""

    async def fail(_: Report) -> Answer | None:
        raise AuditError("the log can't be written")

    heard: list[int] = []

    async def main() -> None:
        script = f"import os, sys\nprint('''{INTENT}''', flush=True)\nsys.stdin.read()"
        process = await Process.start(JOB, (), (sys.executable, "-c", script))
        heard.append(process.pid)
        with pytest.raises(AuditError):
            await asyncio.wait_for(process.run(fail), DEADLINE_S)

    asyncio.run(main())
    with pytest.raises(ProcessLookupError):
        os.kill(heard[0], 0)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(3)", 3),
        ("raise SystemError('x')", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
        ("os.abort()", -signal.SIGABRT),
    ],
)
def test_the_way_a_worker_died_is_known(script, expected):
    """Exit status, or the signal below zero, and what it said before."""
    status, heard = supervise(f"print('''{MATCHED}''', flush=True)\n{script}")
    assert status == expected
    assert heard == [Matched(rows=4, training_rows=3)]


@pytest.mark.parametrize(
    "said",
    ["hello", "{}", '{"type": "answer"}', "[" * 5000, "\\xff", MATCHED.replace("4", "-4"), ""],
)
def test_a_worker_that_babbles_is_ended(said):
    """A line that is no report ends the process; nothing after it is heard."""
    status, heard = supervise(f"print('''{said}''', flush=True)\nprint('''{MATCHED}''', flush=True)\ntime.sleep(3600)")
    assert status == -signal.SIGKILL
    assert heard == []


def test_a_line_without_end_is_cut_off():
    """A worker can't fill the node's memory with one line."""
    status, heard = supervise(f"sys.stdout.write('x' * {LINE_LIMIT + 2}); sys.stdout.flush()\ntime.sleep(3600)")
    assert status == -signal.SIGKILL
    assert heard == []


def test_a_hung_worker_can_be_killed():
    """Stopping a session ends a worker that listens to nothing."""

    async def main() -> int:
        script = f"import time\nprint('''{MATCHED}''', flush=True)\ntime.sleep(3600)"
        process = await Process.start(JOB, (), (sys.executable, "-c", script))

        async def stop(_: Report) -> Answer | None:
            process.kill()
            return None

        status = await asyncio.wait_for(process.run(stop), DEADLINE_S)
        process.kill()  # once more does no harm
        return status

    assert asyncio.run(main()) == -signal.SIGKILL


def test_a_worker_that_never_reads_holds_nobody_up():
    """Starting does not wait until the child takes its job, however large that is."""

    async def main() -> int:
        large = JOB.model_copy(update={"contract": "x" * (4 << 20)})
        process = await asyncio.wait_for(
            Process.start(large, (), (sys.executable, "-c", "import time; time.sleep(3600)")), DEADLINE_S
        )
        process.kill()

        async def hear(_: Report) -> Answer | None:
            return None

        return await asyncio.wait_for(process.run(hear), DEADLINE_S)

    assert asyncio.run(main()) == -signal.SIGKILL


def test_much_on_standard_error_does_not_block():
    """A library's prints are drained, lines of any length included, while the worker goes on."""
    script = f"sys.stderr.write('y' * {LINE_LIMIT + 100} + '\\n' + 'z\\n' * 100000); print('''{MATCHED}''')"
    status, heard = supervise(script)
    assert status == 0
    assert heard == [Matched(rows=4, training_rows=3)]


def test_the_environment_is_the_worker_s_own(monkeypatch):
    """A worker inherits no setting of the daemon's and no credential, and runs one thread."""
    monkeypatch.setenv("PRIVITY_TOKEN_FILE", "secret-token")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-key")
    script = f"""
if any('secret' in value for value in os.environ.values()) or os.environ['OMP_NUM_THREADS'] != '1':
    sys.exit(9)
print('''{MATCHED}''')
"""
    assert supervise(script)[0] == 0


def test_the_job_is_in_no_argument_and_no_environment():
    """Secrets go through the pipe alone: nobody sees them in the list of processes."""
    script = """
own = open(f'/proc/{os.getpid()}/cmdline').read() + open(f'/proc/{os.getpid()}/environ').read()
sys.exit(0 if job.strip() and job.strip() not in own else 9)
"""
    assert supervise(script)[0] == 0


def test_the_real_worker_names_what_it_could_not_do(consortium):
    """Started on a job that has no contract, the worker itself reports the error and exits 1."""
    job = PartyJob(
        name="clinic-a",
        contract="{}",
        approvals={},
        epoch=1,
        tls=TlsMaterial(key_pem=SecretStr(""), certificate=consortium.keys["clinic-a"].certificate),
        data_key=SecretStr(""),
        manifest="{}",
        data_path="",
        inbox_fd=0,
    )

    async def main() -> tuple[int, list[Report]]:
        heard: list[Report] = []

        async def hear(report: Report) -> Answer | None:
            heard.append(report)
            return None

        process = await Process.start(job, ())
        return await asyncio.wait_for(process.run(hear), DEADLINE_S), heard

    status, (report,) = asyncio.run(main())
    assert status == 1
    assert isinstance(report, Broken)
    assert report.code == "contract"
    assert "the contract does not hold" in report.what
