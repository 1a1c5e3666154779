"""How measured processes of Privity find each other: real connections with exactly the approved keys, and no node."""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.processes import Start
from benchmarks.proxy import HOST, detours
from parties.agreement.contract import Approval
from parties.keys.tls import TlsKey, utc_now
from parties.process.links import MAX_GREETING_BYTES, Greeting, TlsChannel, dial, parse_greeting, secure, tune

DEALER = "dealer"
CONNECT_S = 120.0
EPOCH = 1


@contextlib.contextmanager
def appointed(
    module: str, names: Sequence[str], job: Mapping[str, Any], delay_ms: float = 0.0, dealer: str | None = None
) -> Iterator[list[Start]]:
    """A process to be started for each party, and one for a dealer, with what `Meeting` needs beside the job.

    Between the parties everything may be delayed; a dealer runs ahead of them.
    """
    everybody = [*names, *([dealer] if dealer else [])]
    contract, keys = secrets.token_hex(32), {name: TlsKey.generate(name, now=utc_now()) for name in everybody}
    with contextlib.ExitStack() as stack:
        doors = {name: stack.enter_context(socket.create_server((HOST, 0))) for name in everybody}
        ports = [door.getsockname()[1] for door in doors.values()]
        if delay_ms:
            ports[: len(names)] = stack.enter_context(detours(ports[: len(names)], delay_ms))
        approvals = {
            name: Approval(
                contract=contract,
                name=name,
                role="dealer" if name == dealer else "party",
                certificate=keys[name].certificate,
                endpoint=f"{HOST}:{port}",
            ).model_dump()
            for name, port in zip(everybody, ports, strict=True)
        }
        yield [
            Start(
                name,
                module,
                {
                    "name": name,
                    "parties": list(names),
                    "contract": contract,
                    "key_pem": keys[name].key_pem.decode(),
                    "approvals": approvals,
                    "door_fd": doors[name].fileno(),
                    **job,
                },
                descriptors=(doors[name].fileno(),),
            )
            for name in everybody
        ]


class Meeting:
    """The connections of one process; of two parties the later in the list dials, the dealer is dialled by all."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.own_name, self.names, self.contract = job["name"], job["parties"], job["contract"]
        self._approvals = {name: Approval.model_validate(found) for name, found in job["approvals"].items()}
        self._own = TlsKey.from_pem(job["key_pem"].encode(), self._approvals[self.own_name].certificate)
        self._door = socket.socket(fileno=job["door_fd"])
        self._deadline = time.monotonic() + CONNECT_S

    @property
    def rank(self) -> int:
        return self.names.index(self.own_name)

    def channel(self) -> TlsChannel:
        """Connections to all other parties."""
        rank, names = self.rank, self.names
        peers = {name: self.call(name) for name in names[:rank]} | self.let_in(names[rank + 1 :])
        ranked = {other: (name, peers[name]) for other, name in enumerate(names) if other != rank}
        return TlsChannel(rank, ranked, session=bytes.fromhex(self.contract), epoch=EPOCH)

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
