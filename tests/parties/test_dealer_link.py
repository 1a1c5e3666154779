"""The stream to the dealer: whole messages both ways, between exactly the approved keys, and its end is noticed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from mpc.errors import PeerLost
from parties.contract import Approval
from parties.dealer_link import (
    EPOCH_KEY,
    MAX_REQUEST_BYTES,
    SESSION_KEY,
    DealerLink,
    connect_dealer,
)
from parties.tls import TlsKey, utc_now
from tests.parties.dealing import echo, start
from tests.parties.wires import at_once

SESSION = "ab" * 32
DEADLINE_S = 30
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def keys() -> dict[str, TlsKey]:
    return {name: TlsKey.generate(name, now=utc_now()) for name in ("dealer", "clinic-a", "stranger")}


def approval(address: str, key: TlsKey) -> Approval:
    return Approval(contract=SESSION, name="dealer", role="dealer", certificate=key.certificate, endpoint=address)


@contextmanager
def dealer(keys: dict[str, TlsKey], act=echo, *, shown: str = "dealer") -> Iterator[str]:
    """A dealer's address; `shown`: whose key it shows."""
    namesake = keys[shown] if shown == "dealer" else TlsKey.generate("dealer", now=utc_now())
    server, address = start(namesake, keys["clinic-a"].certificate, act)
    try:
        yield address
    finally:
        server.stop(0).wait(DEADLINE_S)


def connect(keys: dict[str, TlsKey], address: str, *, own: str = "clinic-a", within_s: float = DEADLINE_S, **kwargs):
    deadline = time.monotonic() + within_s
    return connect_dealer(approval(address, keys["dealer"]), SESSION, 7, keys[own], deadline, **kwargs)


@contextmanager
def linked(keys: dict[str, TlsKey], act=echo, **kwargs) -> Iterator[DealerLink]:
    with dealer(keys, act) as address:
        link = connect(keys, address, **kwargs)
        try:
            yield link
        finally:
            link.close()


def test_messages_are_whole_and_in_order(keys):
    """Messages of any size up to the limit come out as they went in, empty ones too."""
    sent = [b"", b"x", bytes(range(256)), b"y" * (MAX_REQUEST_BYTES - 1), b"z"]
    with linked(keys) as link:
        for message in sent:
            link.send(message)
        assert [link.receive() for _ in sent] == sent


def test_the_stream_says_which_session_it_is_for(keys):
    """Session and epoch go before the first message: the dealer finds its process by them."""

    def show(_: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        metadata = dict(context.invocation_metadata())
        yield f"{metadata[SESSION_KEY]} {metadata[EPOCH_KEY]}".encode()
        yield context.auth_context()["x509_pem_cert"][0]

    with linked(keys, show) as link:
        assert link.receive() == f"{SESSION} 7".encode()
        assert link.receive().decode() == keys["clinic-a"].certificate


def test_a_large_correction_comes_through(keys):
    """The dealer's messages are as large as what they correct."""
    size = 20 << 20
    with linked(keys, lambda *_: iter([b"c" * size, b"end"])) as link:
        assert len(link.receive()) == size
        assert link.receive() == b"end"


def test_another_dealer_is_not_spoken_to(keys):
    """A dealer of the right name with another key than it approved is refused, by name and address."""
    heard = []

    def listen(requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        heard.extend(requests)
        yield b"welcome"

    with (
        dealer(keys, listen, shown="a namesake") as address,
        pytest.raises(PeerLost, match=f"dealer did not answer at {address} in time, or with another key"),
    ):
        connect(keys, address, within_s=1)
    assert heard == []


def test_a_stranger_is_not_let_in(keys):
    """A caller whose key no approval names gets no stream from the dealer."""
    with dealer(keys) as address, pytest.raises(PeerLost, match="dealer did not answer"):
        connect(keys, address, own="stranger", within_s=2)


def test_nobody_at_the_address_is_said_so(keys):
    """A dealer that is down is named when the deadline comes."""
    with pytest.raises(PeerLost, match=r"dealer did not answer at 127\.0\.0\.1:1 in time") as caught:
        connect(keys, "127.0.0.1:1", within_s=0.5)
    assert caught.value.who == "dealer"


@contextmanager
def other_process(keys: dict[str, TlsKey]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A dealer as a process of its own."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.parties.dealing"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        parts = keys["dealer"].key_pem.decode(), keys["dealer"].certificate, keys["clinic-a"].certificate
        child.stdin.write("\n...\n".join(parts))
        child.stdin.close()
        try:
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()


def test_a_killed_dealer_is_noticed_at_once(keys):
    """kill -9 of the dealer ends a wait long before its deadline, and whoever asks or sends afterwards is told too."""
    with other_process(keys) as (child, address):
        link = connect(keys, address, timeout_s=3600)
        link.send(b"hello")
        assert link.receive() == b"hello"
        child.kill()
        for _ in range(2):
            with pytest.raises(PeerLost, match="dealer ended the stream") as caught:
                link.receive()
            assert caught.value.who == "dealer"
        with pytest.raises(PeerLost, match="dealer"):
            link.send(b"anybody there?")
        link.close()


def test_a_stopped_dealer_is_noticed(keys):
    """A dealer that stands still answers no ping: its stream is given up within the heartbeat's time."""
    with other_process(keys) as (child, address):
        link = connect(keys, address, timeout_s=3600)
        link.send(b"hello")
        assert link.receive() == b"hello"
        os.kill(child.pid, signal.SIGSTOP)
        (found,) = at_once(link.receive)  # which gives up long before gRPC's own minute
        assert isinstance(found, PeerLost)
        assert found.who == "dealer"
        link.close()


def test_a_dealer_that_ends_the_stream_is_noticed(keys):
    """What it said before still arrives; after that it is gone."""
    with linked(keys, lambda *_: iter([b"last"])) as link:
        assert link.receive() == b"last"
        for _ in range(2):
            with pytest.raises(PeerLost, match="dealer closed its stream"):
                link.receive()


def test_a_refusal_says_why(keys):
    """The dealer's reason for turning a party away reaches its operator."""

    def refuse(_: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "no live session has a party with this key")
        yield b""

    with linked(keys, refuse) as link, pytest.raises(PeerLost, match="dealer ended the stream: no live session"):
        link.receive()


def test_a_silent_dealer_is_given_up(keys):
    """A wait has a deadline, and the line says how long it was."""
    over = threading.Event()

    def keep_silent(*_: object) -> Iterator[bytes]:
        over.wait(DEADLINE_S)
        yield b""

    with linked(keys, keep_silent, timeout_s=0.5) as link:
        with pytest.raises(PeerLost, match="dealer kept silent for 0 s"):
            link.receive()
        over.set()


def test_what_was_sent_before_the_end_arrives(keys):
    """Closing sends all that was queued and waits for the dealer to have it."""
    heard: list[bytes] = []
    ended = threading.Event()

    def listen(requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        heard.extend(requests)
        ended.set()
        yield b"goodbye"

    sent = [bytes([number]) * 1000 for number in range(100)]
    with linked(keys, listen) as link:
        for message in sent:
            link.send(message)
        link.close()
        assert ended.wait(DEADLINE_S)
    assert heard == sent


def test_a_party_can_not_fill_the_dealer_s_memory(keys):
    """A message beyond what parties have to say ends the party's own stream."""
    with linked(keys) as link:
        link.send(b"x" * (MAX_REQUEST_BYTES + 1))
        with pytest.raises(PeerLost, match="dealer ended the stream"):
            link.receive()


def test_a_wait_at_a_port_that_only_listens_has_a_deadline(keys):
    """Something that accepts connections and says nothing is not waited for beyond the deadline."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(PeerLost, match="did not answer"),
    ):
        connect(keys, f"127.0.0.1:{silent.getsockname()[1]}", within_s=0.5)
