"""Measure the audit log at size: appends from several threads, verification of the whole, one entry's proof.

`python -m benchmarks.audit_log [--events N] [--threads T]`: each thread appends one event at a time and waits until it
is on the disk, as a daemon's acts do. Prints the figures, with the machine's load, and keeps nothing.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from parties.audit.events import DisclosureRecorded
from parties.audit.log import AuditLog
from parties.audit.proof import prove
from parties.audit.verify import verify
from parties.keys.identity import Identity

PROOFS = 200
SESSION = "ab" * 32


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit_log", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument(
        "--dir", type=Path, help="where the log lies meanwhile; the system's temporary directory if none"
    )
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=chosen.dir) as place:
        measure(Path(place) / "audit.sqlite", chosen.events, chosen.threads)
    return 0


def measure(path: Path, events: int, threads: int) -> None:
    """Append, verify, prove; say each figure as it is known."""
    identity = Identity.generate()
    with AuditLog.open(path, identity, "clinic-a") as log:
        appended = timed(lambda: append(log, events, threads))
        size = log.size
    say(f"appended {size} events by {threads} threads: {(size - 1) / appended:.0f} a second")
    say(f"the file has {path.stat().st_size / 1e6:.0f} MB")
    before = time.process_time()
    verified = timed(lambda: check(path, identity.fingerprint))
    say(f"verified all of it in {verified:.1f} s, {time.process_time() - before:.1f} s of them computing")
    indices = [number * size // PROOFS for number in range(PROOFS)]
    took = sorted(timed(lambda index=index: prove(path, index)) for index in indices)  # type: ignore[misc]
    say(f"{PROOFS} inclusion proofs: {1000 * took[PROOFS // 2]:.1f} ms in the middle, {1000 * took[-1]:.1f} ms at most")


def append(log: AuditLog, events: int, threads: int) -> None:
    def work(first: int) -> None:
        for count in range(first, events, threads):
            log.append(
                DisclosureRecorded(
                    session=SESSION, name="loss", recipients=("session",), shape=(), clause="disclosures.0", count=count
                )
            )

    workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def check(path: Path, key: str) -> None:
    verdict = verify(path, key)
    if not verdict.ok:
        raise SystemExit(verdict.line())


def timed(act: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def say(text: str) -> None:
    print(f"{text} (load {os.getloadavg()[0]:.1f})", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
