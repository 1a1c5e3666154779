"""How a worker meets its peers: of two parties the later in the contract's list dials, the earlier lets it in."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Mapping

from mpc.errors import PeerLost
from parties.contract import Contract
from parties.errors import PartnerError
from parties.job import PartyJob
from parties.links import Greeting, TlsChannel, dial, parse_greeting, secure, tune
from parties.tls import TlsKey

HANDSHAKE_S = 5.0
IMPOSTOR_S = 5.0  # how long the real peer is waited for after somebody else called in its name


def connect_peers(job: PartyJob, contract: Contract, own: TlsKey, deadline: float) -> TlsChannel:
    """A channel to every peer; `deadline` is of time.monotonic.

    Raises: PeerLost if one does not come, PartnerError if another key than its approval's came in its name.
    """
    rank = contract.rank(job.name)
    peers: dict[int, tuple[str, ssl.SSLSocket]] = {}
    for other in range(rank):
        name = contract.parties[other].name
        greeting = Greeting(contract.digest, job.epoch, job.name)
        raw = dial(job.approvals[name].endpoint, greeting, name, deadline)
        peers[other] = (name, secure(raw, own, job.approvals[name], server=False))
    with socket.socket(fileno=job.sockets_fd) as inbox:
        _welcome(inbox, job, contract, own, peers, deadline)
    return TlsChannel(rank, peers, session=bytes.fromhex(contract.digest), epoch=job.epoch)


def _welcome(
    inbox: socket.socket,
    job: PartyJob,
    contract: Contract,
    own: TlsKey,
    peers: dict[int, tuple[str, ssl.SSLSocket]],
    deadline: float,
) -> None:
    """Let in every later party. Whoever calls in its name with another key is sent away, and it may still come."""
    impostor: PartnerError | None = None
    while len(peers) < len(contract.parties) - 1:
        try:
            rank, raw = _accept(inbox, contract, job, peers, deadline)
        except PeerLost as exc:
            raise impostor or exc from exc
        name = contract.parties[rank].name
        try:
            peers[rank] = (name, secure(raw, own, job.approvals[name], server=True, timeout_s=HANDSHAKE_S))
        except PartnerError as exc:
            impostor, deadline = exc, min(deadline, time.monotonic() + IMPOSTOR_S)
        except PeerLost:
            continue  # a call that was given up before the worker had started


def _accept(
    inbox: socket.socket,
    contract: Contract,
    job: PartyJob,
    have: Mapping[int, object],
    deadline: float,
) -> tuple[int, socket.socket]:
    """The next connection of a missing peer that the node hands over, with the caller's rank.

    Raises: PeerLost if none comes in time.
    """
    expected = range(contract.rank(job.name) + 1, len(contract.parties))
    missing = ", ".join(contract.parties[rank].name for rank in expected if rank not in have)
    while True:
        raw, greeting = _next_call(inbox, missing, deadline)
        ranks = {contract.parties[rank].name: rank for rank in expected if rank not in have}
        if greeting.caller in ranks and (greeting.session, greeting.epoch) == (contract.digest, job.epoch):
            raw.setblocking(True)
            tune(raw)
            with contextlib.suppress(OSError):
                raw.sendall(b"+")
                return ranks[greeting.caller], raw
        raw.close()  # a stranger's call, or one given up, ends here; the real peer can still come


def _next_call(inbox: socket.socket, missing: str, deadline: float) -> tuple[socket.socket, Greeting]:
    inbox.settimeout(max(0.1, deadline - time.monotonic()))
    try:
        line, descriptors, _, _ = socket.recv_fds(inbox, 256, 1)
    except TimeoutError as exc:
        raise PeerLost(missing, "did not connect in time") from exc
    if not descriptors:
        raise PeerLost(missing, "did not connect before the node closed the session")
    return socket.socket(fileno=descriptors[0]), parse_greeting(line)
