"""How a session's processes meet: each party dials the dealer; of two parties the later in the contract's list dials.

Whoever is dialled lets in the callers whom it misses, and nobody else: the line that they begin with says who they are,
the TLS handshake proves it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Collection, Sequence

from mpc.errors import PeerLost
from parties.agreement.contract import Terms
from parties.errors import PartnerError
from parties.keys.tls import TlsKey
from parties.process.dealer_link import MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES, DealerLink
from parties.process.job import Job
from parties.process.links import (
    MAX_GREETING_BYTES,
    SILENCE_S,
    Greeting,
    TlsChannel,
    dial,
    parse_greeting,
    secure,
    tune,
)

DEALER_S = 120.0  # for an answer of the dealer, which may have much to compute
PARTY_S = 600.0  # for a party's next word to the dealer, which may have much to compute too; `party_s`, if longer
ROUND_S = 120.0  # for a peer's part of a round; `round_s`, if longer
SLOWNESS = 4  # times the quote's time, that a round may take on a busy machine; who is gone is noticed at once
SILENT_ROUNDS = 4  # as long as so many such rounds a party may have nothing to ask the dealer: in a matching to its end
HANDSHAKE_S = 5.0
IMPOSTOR_S = 5.0  # how long the real caller is waited for after somebody else called in its name


def connect_dealer(job: Job, contract: Terms, own: TlsKey, deadline: float) -> DealerLink:
    """A party's link to the dealer; `deadline` is of time.monotonic.

    Raises: PeerLost if the dealer does not answer in time, PartnerError if it shows another key than its approval's.
    """
    name = contract.dealer.name
    tls = _call(job, name, own, deadline)
    return DealerLink(tls, name, limit=MAX_MESSAGE_BYTES, timeout_s=DEALER_S, silence_s=SILENCE_S)


def connect_peers(job: Job, contract: Terms, own: TlsKey, deadline: float) -> TlsChannel:
    """A party's channel to every peer; `deadline` is of time.monotonic.

    Raises: PeerLost if one does not come, PartnerError if another key than its approval's came in its name.
    """
    names, rank = [party.name for party in contract.parties], contract.rank(job.name)
    peers = _meet(job, names[:rank], names[rank + 1 :], own, deadline)
    ranked = {other: (name, peers[name]) for other, name in enumerate(names) if other != rank}
    timeout_s = round_s(contract)
    return TlsChannel(rank, ranked, session=bytes.fromhex(contract.digest), epoch=job.epoch, timeout_s=timeout_s)


def round_s(contract: Terms) -> float:
    """How long a party waits for a peer's part of a round."""
    return max(ROUND_S, SLOWNESS * contract.quote.seconds)


def party_s(contract: Terms) -> float:
    """How long the dealer waits for a party's next word: longer than parties, which have each other to wait for."""
    return max(PARTY_S, SILENT_ROUNDS * round_s(contract))


def connect_parties(job: Job, contract: Terms, own: TlsKey, deadline: float) -> list[DealerLink]:
    """The dealer's links to every party, by rank. Raises: as connect_peers."""
    names = [party.name for party in contract.parties]
    found = _meet(job, [], names, own, deadline)
    timeout_s = party_s(contract)
    return [
        DealerLink(found[name], name, limit=MAX_REQUEST_BYTES, timeout_s=timeout_s, silence_s=timeout_s)
        for name in names
    ]


def _meet(
    job: Job, dialled: Collection[str], awaited: Collection[str], own: TlsKey, deadline: float
) -> dict[str, ssl.SSLSocket]:
    """Connections to all of these, or, with an error, to none."""
    found: dict[str, ssl.SSLSocket] = {}
    try:
        for name in dialled:
            found[name] = _call(job, name, own, deadline)
        _let_in(found, job, awaited, own, deadline)
    except BaseException:
        for tls in found.values():
            tls.close()
        raise
    return found


def _call(job: Job, name: str, own: TlsKey, deadline: float) -> ssl.SSLSocket:
    approval = job.approvals[name]
    raw = dial(approval.endpoint, Greeting(approval.contract, job.epoch, job.name), name, deadline)
    return secure(raw, own, approval, server=False)


def _let_in(found: dict[str, ssl.SSLSocket], job: Job, awaited: Collection[str], own: TlsKey, deadline: float) -> None:
    """Add the awaited. Whoever calls in the name of one with another key is sent away, and that one may still come.

    Raises: PeerLost, PartnerError.
    """
    impostor: PartnerError | None = None
    with socket.socket(fileno=job.inbox_fd) as inbox:
        while missing := [name for name in awaited if name not in found]:
            try:
                name, raw = _accept(inbox, job, missing, deadline)
            except PeerLost as exc:
                raise impostor or exc from exc
            try:
                found[name] = secure(raw, own, job.approvals[name], server=True, timeout_s=HANDSHAKE_S)
            except PartnerError as exc:
                impostor, deadline = exc, min(deadline, time.monotonic() + IMPOSTOR_S)
            except PeerLost:
                continue  # a call that was given up before this process had started


def _accept(inbox: socket.socket, job: Job, missing: Sequence[str], deadline: float) -> tuple[str, socket.socket]:
    """The next connection in the name of one who is missing, answered.

    Raises: PeerLost if none comes in time.
    """
    while True:
        raw, greeting = _next_call(inbox, missing, deadline)
        if greeting in {Greeting(job.approvals[name].contract, job.epoch, name) for name in missing}:
            with contextlib.suppress(OSError):
                raw.setblocking(True)
                tune(raw)
                raw.sendall(b"+")
                return greeting.caller, raw
        raw.close()  # a stranger's call, or one given up, ends here; the real caller can still come


def _next_call(inbox: socket.socket, missing: Sequence[str], deadline: float) -> tuple[socket.socket, Greeting]:
    inbox.settimeout(max(0.1, deadline - time.monotonic()))
    try:
        line, descriptors, _, _ = socket.recv_fds(inbox, MAX_GREETING_BYTES, 1)
    except TimeoutError as exc:
        raise PeerLost(missing[0], "did not connect in time", others=missing[1:]) from exc
    if not descriptors:
        raise PeerLost(missing[0], "did not connect before the daemon closed the session", others=missing[1:])
    return socket.socket(fileno=descriptors[0]), parse_greeting(line)
