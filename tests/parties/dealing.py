"""Both ends of a party's link to the dealer over real TLS, in one process or with the dealer's end in another."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parties.agreement.contract import Approval
from parties.keys.tls import TlsKey
from parties.process.dealer_link import MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES, DealerLink, beating
from parties.process.links import SILENCE_S, secure
from tests.parties.wires import DEADLINE_S, at_once, connected

SESSION = "ab" * 32
PATIENT_S = 3600.0  # a wait that nobody sits out
ROOT = Path(__file__).parents[2]


def approval(name: str, certificate: str) -> Approval:
    role = "dealer" if name == "dealer" else "party"
    return Approval(contract=SESSION, name=name, role=role, certificate=certificate, endpoint="127.0.0.1:9")


def party_end(tls: ssl.SSLSocket, *, timeout_s: float = PATIENT_S, silence_s: float = SILENCE_S) -> DealerLink:
    return DealerLink(tls, "dealer", limit=MAX_MESSAGE_BYTES, timeout_s=timeout_s, silence_s=silence_s)


def dealer_end(tls: ssl.SSLSocket) -> DealerLink:
    return DealerLink(tls, "clinic-a", limit=MAX_REQUEST_BYTES, timeout_s=DEADLINE_S, silence_s=DEADLINE_S)


@contextmanager
def joined(keys: dict[str, TlsKey], *, ends=connected, **party: float) -> Iterator[tuple[DealerLink, DealerLink]]:
    """The party's end and the dealer's."""
    dialled, accepted = ends()
    near, far = at_once(
        lambda: secure(dialled, keys["clinic-a"], approval("dealer", keys["dealer"].certificate), server=False),
        lambda: secure(accepted, keys["dealer"], approval("clinic-a", keys["clinic-a"].certificate), server=True),
    )
    assert isinstance(near, ssl.SSLSocket), near
    assert isinstance(far, ssl.SSLSocket), far
    links = party_end(near, **party), dealer_end(far)
    try:
        yield links
    finally:
        for link in links:
            link.close()


@contextmanager
def other_process(keys: dict[str, TlsKey]) -> Iterator[tuple[subprocess.Popen[str], DealerLink]]:
    """The party's end of a link to a dealer that is a process of its own."""
    dialled, accepted = connected()
    own, other = keys["dealer"], keys["clinic-a"]
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.parties.dealing", str(accepted.fileno())],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        pass_fds=(accepted.fileno(),),
        text=True,
    )
    with child, accepted:
        json.dump([own.key_pem.decode(), own.certificate, other.certificate], child.stdin)
        child.stdin.close()
        accepted.close()
        link = party_end(
            secure(dialled, other, approval("dealer", own.certificate), server=False, timeout_s=DEADLINE_S)
        )
        try:
            yield child, link
        finally:
            child.kill()
            link.close()


def main() -> None:
    """As a process: its key, its certificate and the party's come in; every message goes back."""
    pem, certificate, party = json.load(sys.stdin)
    own, raw = TlsKey.from_pem(pem.encode(), certificate), socket.socket(fileno=int(sys.argv[1]))
    link = dealer_end(secure(raw, own, approval("clinic-a", party), server=True))
    with beating([link]):
        while True:
            link.send(link.receive())


if __name__ == "__main__":
    main()
