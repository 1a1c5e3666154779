"""One party of a measured session, or its dealer: the classes of production, without contract, vault and node."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from benchmarks.measuring import Pace, age, live
from benchmarks.meeting import DEALER, EPOCH, Meeting
from mpc.dealing import Epoch, serve
from mpc.disclosure import ProgramLedger
from mpc.keys import agree
from mpc.program import Program
from mpc.runtime import Progress, Runtime
from mpc.training import train
from parties.process.dealer_link import MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES, DealerLink, beating
from parties.process.links import SILENCE_S
from parties.process.meeting import DEALER_S, PARTY_S


def run(job: dict[str, Any]) -> dict[str, Any]:
    program: Program = TypeAdapter(Program).validate_python(job["program"])
    meeting = Meeting(job)
    return _deal(program, meeting) if job["name"] == DEALER else _take_part(program, meeting, Path(job["tables"]))


def _deal(program: Program, meeting: Meeting) -> dict[str, Any]:
    found = meeting.let_in(meeting.names)
    links = [
        DealerLink(found[name], name, limit=MAX_REQUEST_BYTES, timeout_s=PARTY_S, silence_s=PARTY_S)
        for name in meeting.names
    ]
    with beating(links):
        dealing = serve(program, Epoch(links, bytes.fromhex(meeting.contract), EPOCH))
    for link in links:
        link.close()
    return {"bytes_dealt": dealing.bytes_sent}


def _take_part(program: Program, meeting: Meeting, tables: Path) -> dict[str, Any]:
    rank = meeting.rank
    block = np.load(tables / f"block-{rank}.npy", allow_pickle=False)
    labels = np.load(tables / "labels.npy", allow_pickle=False) if rank == 0 else None
    link = DealerLink(meeting.call(DEALER), DEALER, limit=MAX_MESSAGE_BYTES, timeout_s=DEALER_S, silence_s=SILENCE_S)
    digest, channel = bytes.fromhex(meeting.contract), meeting.channel()
    pace, started, startup = Pace(program.max_iter), time.perf_counter(), age()

    def tick(progress: Progress) -> None:
        pace.tick(progress.iteration, progress.rounds, progress.bytes_sent)

    keys = agree(channel, link, digest, EPOCH)
    pace.tick(0, channel.counters.rounds, channel.counters.bytes_sent)
    with Runtime(channel, link, keys, ProgramLedger(program), program, digest, tick) as runtime:
        fit = train(program, block, labels, runtime)
        pace.tick(program.max_iter, channel.counters.rounds, channel.counters.bytes_sent)  # the last guard counts
    seconds = time.perf_counter() - started
    channel.finish()
    link.close()
    return pace.report() | {
        "seconds": seconds,
        "startup_seconds": startup,
        "rounds": fit.rounds,
        "bytes_sent": fit.bytes_sent,
        "coefficients": fit.models[0].coefficients.tolist(),
        "intercept": fit.models[0].intercept,
    }


if __name__ == "__main__":
    live(run)
