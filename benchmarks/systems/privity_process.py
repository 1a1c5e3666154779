"""One party of a measured session, or its dealer: the classes of production, without contract, vault and node."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from benchmarks.measuring import Pace, age, live
from mpc.dealing import serve
from mpc.disclosure import ProgramLedger
from mpc.keys import agree
from mpc.program import Program
from mpc.runtime import Progress, Runtime
from mpc.training import train
from parties.contract import Approval
from parties.dealer_link import MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES, DealerLink, beating
from parties.links import MAX_GREETING_BYTES, SILENCE_S, Greeting, TlsChannel, dial, parse_greeting, secure, tune
from parties.meeting import DEALER_S, PARTY_S
from parties.tls import TlsKey

DEALER = "dealer"
CONNECT_S = 120.0
EPOCH = 1


class Meeting:
    """The connections of one process; of two parties the later in the list dials, the dealer is dialled by all."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.own_name, self.names, self.contract = job["name"], job["parties"], job["contract"]
        self._approvals = {name: Approval.model_validate(found) for name, found in job["approvals"].items()}
        self._own = TlsKey.from_pem(job["key_pem"].encode(), self._approvals[self.own_name].certificate)
        self._door = socket.socket(fileno=job["door_fd"])
        self._deadline = time.monotonic() + CONNECT_S

    def call(self, name: str) -> ssl.SSLSocket:
        greeting = Greeting(self.contract, EPOCH, self.own_name)
        raw = dial(self._approvals[name].endpoint, greeting, name, self._deadline)
        return secure(raw, self._own, self._approvals[name], server=False)

    def let_in(self, names: Collection[str]) -> dict[str, ssl.SSLSocket]:
        """Connections of all these callers."""
        found: dict[str, ssl.SSLSocket] = {}
        self._door.settimeout(CONNECT_S)
        while len(found) < len(names):
            raw, _ = self._door.accept()
            name = parse_greeting(_line(raw)).caller
            tune(raw)
            raw.sendall(b"+")
            found[name] = secure(raw, self._own, self._approvals[name], server=True)
        return found


def _line(raw: socket.socket) -> bytes:
    content = b""
    while not content.endswith(b"\n") and len(content) < MAX_GREETING_BYTES:
        content += raw.recv(1)
    return content


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
        dealing = serve(program, links, bytes.fromhex(meeting.contract), EPOCH)
    for link in links:
        link.close()
    return {"bytes_dealt": dealing.bytes_sent}


def _take_part(program: Program, meeting: Meeting, tables: Path) -> dict[str, Any]:
    names, rank = meeting.names, meeting.names.index(meeting.own_name)
    block = np.load(tables / f"block-{rank}.npy", allow_pickle=False)
    labels = np.load(tables / "labels.npy", allow_pickle=False) if rank == 0 else None
    link = DealerLink(meeting.call(DEALER), DEALER, limit=MAX_MESSAGE_BYTES, timeout_s=DEALER_S, silence_s=SILENCE_S)
    peers = {name: meeting.call(name) for name in names[:rank]} | meeting.let_in(names[rank + 1 :])
    digest = bytes.fromhex(meeting.contract)
    ranked = {other: (name, peers[name]) for other, name in enumerate(names) if other != rank}
    channel = TlsChannel(rank, ranked, session=digest, epoch=EPOCH)
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
