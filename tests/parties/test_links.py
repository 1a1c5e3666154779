"""The channel between workers: TLS with exactly the approved keys, and all that every channel promises."""

from __future__ import annotations

import os
import queue
import secrets
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mpc.channel import Sequencer
from mpc.errors import PeerLost, ProtocolError
from mpc.frames import HEADER_BYTES, Header, encode_header
from parties.agreement.contract import Approval
from parties.errors import PartnerError
from parties.keys.tls import TlsKey, _certificate, utc_now
from parties.process.links import MAX_GREETING_BYTES, Greeting, TlsChannel, dial, parse_greeting, secure, tune
from tests.contracts.channel_suite import ChannelSuite
from tests.parties.wires import DEADLINE_S, at_once, connected, wire

SESSION = "ab" * 32
NAMES = [f"clinic-{letter}" for letter in "abcde"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def keys() -> list[TlsKey]:
    return [TlsKey.generate(name, now=utc_now()) for name in NAMES]


def approval(name: str, key: TlsKey) -> Approval:
    return Approval(contract=SESSION, name=name, role="party", certificate=key.certificate, endpoint="127.0.0.1:9")


def secured(
    ends: tuple[socket.socket, socket.socket], keys: list[TlsKey], i: int, j: int
) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Both ends of a connection that party j dialled, after the handshake: i's and j's."""
    dialled, accepted = ends
    one, two = at_once(
        lambda: secure(accepted, keys[i], approval(NAMES[j], keys[j]), server=True),
        lambda: secure(dialled, keys[j], approval(NAMES[i], keys[i]), server=False),
    )
    assert isinstance(one, ssl.SSLSocket), one
    assert isinstance(two, ssl.SSLSocket), two
    return one, two


@contextmanager
def mesh(world: int, keys: list[TlsKey], *, timeout_s: float = 60, ends=connected) -> Iterator[list[TlsChannel]]:
    peers: list[dict[int, tuple[str, ssl.SSLSocket]]] = [{} for _ in range(world)]
    for i, j in combinations(range(world), 2):
        one, two = secured(ends(), keys, i, j)
        peers[i][j], peers[j][i] = (NAMES[j], one), (NAMES[i], two)
    session = bytes.fromhex(SESSION)
    made = [TlsChannel(r, peers[r], session=session, epoch=1, timeout_s=timeout_s) for r in range(world)]
    try:
        yield made
    finally:
        for channel in made:
            channel.close()


class TestTlsChannel(ChannelSuite):
    """All that the transport in memory promises, over real TLS connections."""

    @pytest.fixture(autouse=True)
    def _keys(self, keys):
        self.keys = keys

    def mesh(self, world):
        return mesh(world, self.keys)


@pytest.fixture
def pair(keys) -> Iterator[list[TlsChannel]]:
    with mesh(2, keys) as made:
        yield made


def words(count: int = 1) -> np.ndarray:
    return np.arange(count, dtype=np.int64)


# who may be at the other end


@pytest.mark.parametrize("swapped", ["the caller", "the called"])
def test_another_key_than_approved_is_refused_on_both_sides(keys, swapped):
    """A peer with a key that its approval does not name gets no channel, and each side names the other."""
    dialled, accepted = connected()
    a, b, stranger = keys[:3]
    found = at_once(
        lambda: secure(accepted, stranger if swapped == "the called" else a, approval(NAMES[1], b), server=True),
        lambda: secure(dialled, stranger if swapped == "the caller" else b, approval(NAMES[0], a), server=False),
    )
    for error, other in zip(found, (NAMES[1], NAMES[0]), strict=True):
        assert isinstance(error, (PartnerError, PeerLost)), error
        assert other in str(error)
    refusing = found[0] if swapped == "the caller" else found[1]
    assert isinstance(refusing, PartnerError)
    assert "compare fingerprints over the phone" in str(refusing)
    assert dialled.fileno() == accepted.fileno() == -1


def test_a_key_that_the_peer_vouches_for_is_not_the_peer(keys):
    """A certificate under the approved one passes TLS's own check; the comparison afterwards refuses it."""
    a, b = keys[:2]
    inner = ec.generate_private_key(ec.SECP256R1())
    under = _certificate(NAMES[2], inner, issuer=NAMES[1], issuer_key=b._key, now=utc_now(), days=1, authority=False)
    dialled, accepted = connected()
    refusing, other = at_once(
        lambda: secure(accepted, a, approval(NAMES[1], b), server=True),
        lambda: secure(dialled, TlsKey(inner, under), approval(NAMES[0], a), server=False),
    )
    assert isinstance(refusing, PartnerError)
    assert "another certificate" in str(refusing.__cause__)
    assert isinstance(other, (PartnerError, PeerLost))


@pytest.mark.parametrize("server", [False, True])
def test_a_peer_that_dies_in_the_handshake_is_lost_not_suspect(keys, server):
    """A connection that ends before a key was shown says so, and accuses nobody."""
    near, far = connected()
    far.close()
    with pytest.raises(PeerLost, match="clinic-b went away during the TLS handshake"):
        secure(near, keys[0], approval(NAMES[1], keys[1]), server=server)


def test_a_peer_that_says_nothing_in_the_handshake_is_lost(keys):
    """A handshake has a deadline of its own."""
    near, far = connected()
    with far, pytest.raises(PeerLost, match="clinic-b went away during the TLS handshake"):
        secure(near, keys[0], approval(NAMES[1], keys[1]), server=True, timeout_s=0.2)


def test_plaintext_in_place_of_tls_is_refused(keys):
    """Bytes that are no handshake end the connection with the peer's name."""
    near, far = connected()
    with far:
        far.sendall(b"GET / HTTP/1.1\r\n\r\n" * 20)
        with pytest.raises(PartnerError, match="clinic-b"):
            secure(near, keys[0], approval(NAMES[1], keys[1]), server=True)


# the wire


def test_nothing_goes_in_clear_after_the_greeting(keys):
    """A listener on the wire sees the greeting, then TLS records alone: no word, header or name of an opening."""
    marker = secrets.token_bytes(64)
    sent = np.frombuffer(marker * 1000, dtype="<i8")
    with wire() as tapped:
        greeting = Greeting(SESSION, 1, NAMES[1]).encode()
        tapped.client.sendall(greeting)
        assert tapped.server.recv(len(greeting), socket.MSG_WAITALL) == greeting
        with mesh(2, keys, ends=lambda: (tapped.client, tapped.server)) as channels:
            received = at_once(
                *(
                    lambda c=c: c.exchange("tell-tale", {1 - c.rank: sent}, {1 - c.rank: ("i8", sent.shape)})
                    for c in channels
                )
            )
            assert (received[0][1] == sent).all()
            assert (received[1][0] == sent).all()
        seen = bytes(tapped.to_server), bytes(tapped.to_client)
    assert seen[0].startswith(greeting)
    for content in (seen[0][len(greeting) :], seen[1]):
        assert len(content) > len(sent) * 8
        for secret in (marker[:8], b"tell-tale", b"PRVY", bytes.fromhex(SESSION), NAMES[0].encode()):
            # The server's name is not even in the certificates that go over: they follow the key exchange.
            assert secret not in content
        assert records(content) <= {20, 22, 23}


def records(content: bytes) -> set[int]:
    """Types of the TLS records that bytes consist of, from the first to the last byte."""
    found, place = set(), 0
    while place < len(content):
        kind, major, length = content[place], content[place + 1], int.from_bytes(content[place + 3 : place + 5])
        assert major == 3
        found.add(kind)
        place += 5 + length
    assert place == len(content)
    return found


def test_a_changed_byte_on_the_wire_ends_the_round(keys):
    """Whoever changes traffic gets nothing accepted: the round fails with the peer's name."""
    with wire() as tapped, mesh(2, keys, ends=lambda: (tapped.client, tapped.server)) as (server, client):
        tapped.flip_next.set()
        server.exchange("words", {1: words()}, {})
        with pytest.raises(PeerLost, match="clinic-a"):
            client.exchange("words", {}, {0: ("i8", (1,))})


def test_connections_are_tuned():
    """Small frames leave at once, and the kernel gives up a machine that is gone within ten seconds."""
    near, far = connected()
    with near, far:
        tune(near)
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, interval, count = (
            near.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + interval * count <= 10
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 10_000
    one, two = socket.socketpair()
    with one, two:
        tune(one)  # a Unix socket has nothing to tune


# what arrives


def test_a_peer_that_dies_is_named_in_the_middle_of_a_round(keys):
    """Of three parties one vanishes: the others learn which, whether they send or wait."""
    with mesh(3, keys) as channels:
        channels[1].close()
        everyone = (0, 2)
        found = at_once(
            *(
                lambda c=channels[rank], other=2 - rank: c.exchange(
                    "words", {1: words(), other: words()}, {1: ("i8", (1,)), other: ("i8", (1,))}
                )
                for rank in everyone
            )
        )
    for error in found:
        assert isinstance(error, PeerLost)
        assert error.who == "clinic-b"
        assert "propose the session again" in str(error)


CHILD = """
import socket, sys
import numpy as np
from parties.agreement.contract import Approval
from parties.process.links import TlsChannel, secure
from parties.keys.tls import TlsKey
descriptor, key, peer = int(sys.argv[1]), sys.stdin.read(), open(sys.argv[2]).read()
pem, mark, certificate = key.partition("-----BEGIN CERTIFICATE-----")
own = TlsKey.from_pem(pem.encode(), mark + certificate)
approval = Approval(contract="ab" * 32, name="clinic-a", role="party", certificate=peer, endpoint="127.0.0.1:9")
tls = secure(socket.socket(fileno=descriptor), own, approval, server=False)
channel = TlsChannel(1, {0: ("clinic-a", tls)}, session=bytes.fromhex("ab" * 32), epoch=1)
channel.exchange("ready", {0: np.zeros(1, np.int64)}, {})
channel.exchange("never", {}, {0: ("i8", (1,))})
"""


@contextmanager
def other_process(keys: list[TlsKey], tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], TlsChannel]]:
    """clinic-b as a process of its own, connected and waiting in a round."""
    certificate = tmp_path / "a.pem"
    certificate.write_text(keys[0].certificate)
    dialled, accepted = connected()
    dialled.setblocking(True)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(dialled.fileno()), str(certificate)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        pass_fds=(dialled.fileno(),),
    )
    with child:
        child.stdin.write(keys[1].key_pem + keys[1].certificate.encode())
        child.stdin.close()
        dialled.close()
        tls = secure(accepted, keys[0], approval(NAMES[1], keys[1]), server=True)
        channel = TlsChannel(0, {1: (NAMES[1], tls)}, session=bytes.fromhex(SESSION), epoch=1, timeout_s=1)
        channel.exchange("ready", {}, {1: ("i8", (1,))})
        try:
            yield child, channel
        finally:
            child.kill()
            channel.close()


def test_a_killed_process_is_noticed_at_once(keys, tmp_path):
    """kill -9 of a worker closes its connection: its peer is told by name, long before any deadline."""
    with other_process(keys, tmp_path) as (child, channel):
        channel._timeout_s = 3600
        child.kill()
        with pytest.raises(PeerLost, match="clinic-b closed its connection"):
            channel.exchange("words", {}, {1: ("i8", (1,))})


def test_a_stopped_process_is_given_up_at_the_deadline(keys, tmp_path):
    """A worker that stands still keeps its connection open: the deadline names it and the round."""
    with other_process(keys, tmp_path) as (child, channel):
        os.kill(child.pid, signal.SIGSTOP)
        with pytest.raises(PeerLost, match="clinic-b kept silent for 1 s in round 'words'"):
            channel.exchange("words", {}, {1: ("i8", (1,))})


def test_who_keeps_silent_is_named_alone(keys):
    """Of three parties one says nothing: the line names that one and not the other."""
    with mesh(3, keys, timeout_s=1) as channels:
        channels[2].exchange("words", {0: words()}, {})
        with pytest.raises(PeerLost) as caught:
            channels[0].exchange("words", {}, {1: ("i8", (1,)), 2: ("i8", (1,))})
    assert caught.value.who == "clinic-b"


def test_a_peer_that_does_not_read_is_given_up(keys):
    """A round whose frame nobody takes ends at the deadline too, however much was sent before."""
    with mesh(2, keys, timeout_s=1) as (first, _), pytest.raises(PeerLost, match="clinic-b kept silent"):
        first.exchange("words", {1: words(1 << 23)}, {})


def inject(channel: TlsChannel, content: bytes) -> None:
    """Bytes that a dishonest peer sends in place of its next frame."""
    ((_, peer),) = channel._peers.items()
    peer.tls.setblocking(True)
    peer.tls.sendall(content)


def header(**changed) -> bytes:
    fields = {"session": bytes.fromhex(SESSION), "epoch": 1, "sequence": 0, "name": "words", "dtype": "i8"}
    return encode_header(Header(**fields | {"shape": (1,)} | changed))


WRONG = {
    "not a frame": (b"x" * HEADER_BYTES, "does not begin as one of this version"),
    "another session": (header(session=bytes(32)), "another session"),
    "another epoch": (header(epoch=2), "epoch is 2 where 1 was expected"),
    "out of order": (header(sequence=1), "sequence is 1 where 0 was expected"),
    "another opening": (header(name="loss"), "name is 'loss' where 'words' was expected"),
    "another type": (header(dtype="i4"), "dtype is 'i4' where 'i8' was expected"),
    "too much": (header(shape=(1 << 20,)), "shape is .* was expected"),
    "a length that does not fit": (header()[:-8] + (9).to_bytes(8, "little"), "length does not fit its shape"),
}


@pytest.mark.parametrize(("content", "says"), WRONG.values(), ids=WRONG)
def test_a_wrong_header_ends_the_round_before_its_payload(pair, content, says):
    """Every field is compared with what is expected next; the error names the field and the peer."""
    inject(pair[1], content)
    with pytest.raises(ProtocolError, match=f"from clinic-b: .*{says}"):
        pair[0].exchange("words", {}, {1: ("i8", (1,))})


def test_a_frame_sent_twice_is_refused(pair):
    """What was recorded and sent again does not count as the next frame."""
    frame = Sequencer(bytes.fromhex(SESSION), 1).write(0, "words", words())
    inject(pair[1], frame + frame)
    pair[0].exchange("words", {}, {1: ("i8", (1,))})
    with pytest.raises(ProtocolError, match=r"from clinic-b: .*sequence is 0 where 1"):
        pair[0].exchange("words", {}, {1: ("i8", (1,))})


def test_half_a_frame_is_a_lost_peer(pair):
    """A peer that dies within a frame leaves nothing that could be taken for one."""
    inject(pair[1], header(shape=(4,))[: HEADER_BYTES - 1])
    pair[1].close()
    with pytest.raises(PeerLost, match="clinic-b"):
        pair[0].exchange("words", {}, {1: ("i8", (4,))})


def test_goodbye_waits_for_everybody(keys):
    """Whoever finishes first closes only after all others have said goodbye: no last message is lost."""
    with mesh(3, keys) as channels:

        def act(channel: TlsChannel):
            others = [rank for rank in range(3) if rank != channel.rank]
            got = channel.exchange("last", dict.fromkeys(others, words(3)), dict.fromkeys(others, ("i8", (3,))))
            channel.finish()
            return sorted(got)

        assert at_once(*(lambda c=c: act(c) for c in channels)) == [[1, 2], [0, 2], [0, 1]]


# the greeting


def test_a_greeting_survives_its_line():
    """What the caller writes, node and worker read."""
    greeting = Greeting(SESSION, 7, "clinic-b")
    assert parse_greeting(greeting.encode()) == greeting
    assert len(greeting.encode()) <= MAX_GREETING_BYTES


GOOD = Greeting(SESSION, 1, "clinic-b").encode()
BAD_GREETINGS = [
    b"",
    b"\n",
    GOOD[:-1],
    GOOD * 2,
    GOOD.replace(b"privity1", b"privity2"),
    GOOD.replace(b"ab", b"AB", 1),
    GOOD.replace(b" 1 ", b" one "),
    GOOD.replace(b" 1 ", b" -1 "),
    GOOD.replace(b" 1 ", b" 1_0 "),
    GOOD.replace(b" 1 ", b" " + b"9" * 40 + b" "),
    GOOD.replace(b" 1 ", b"\t1\t"),
    GOOD.replace(b"clinic-b", b"Clinic B"),
    GOOD.replace(b"clinic-b", b"clinic-b" * 20),
    GOOD.replace(b"clinic", b"\xff\xfe"),
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n",
]


@pytest.mark.parametrize("line", BAD_GREETINGS)
def test_a_malformed_greeting_is_refused(line):
    """Anything but the line of this version is one error, whatever bytes it has."""
    with pytest.raises(ProtocolError, match="does not begin as one between parties"):
        parse_greeting(line)


@contextmanager
def listening(act) -> Iterator[str]:
    """A port whose every caller is handed to a function of socket and number, until it returns True."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(DEADLINE_S)
    failed: queue.Queue[BaseException] = queue.Queue()

    def serve() -> None:
        number = 0
        with listener:
            while True:
                raw, _ = listener.accept()
                with raw:
                    try:
                        if act(raw, number):
                            return
                    except BaseException as exc:  # noqa: BLE001 - handed to the test
                        failed.put(exc)
                        return
                number += 1

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert failed.empty(), failed.get()


def test_a_caller_tries_again_until_it_is_answered():
    """A node that is not ready hangs up; the caller comes back with the same line until a worker answers."""

    def act(raw: socket.socket, number: int) -> bool:
        assert raw.recv(MAX_GREETING_BYTES) == GOOD
        if number == 2:
            raw.sendall(b"+")
        return number == 2

    with listening(act) as address:
        dial(address, Greeting(SESSION, 1, "clinic-b"), "clinic-a", time.monotonic() + DEADLINE_S).close()


def test_a_slow_worker_is_waited_for_on_one_connection():
    """A call that a worker has not answered yet is not given up: it would find a dead connection in its queue."""

    def act(raw: socket.socket, number: int) -> bool:
        assert number == 0
        raw.recv(MAX_GREETING_BYTES)
        assert select.select([raw], [], [], 2.5)[0] == []  # neither a hang-up nor another word
        raw.sendall(b"+")
        return True

    with listening(act) as address:
        dial(address, Greeting(SESSION, 1, "clinic-b"), "clinic-a", time.monotonic() + DEADLINE_S).close()


def test_a_call_that_nobody_answers_ends_with_the_name():
    """At the deadline the peer and its address are named, whether nobody listens or somebody only listens."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for address in (f"127.0.0.1:{silent.getsockname()[1]}", "127.0.0.1:1"):
            with pytest.raises(PeerLost, match=f"clinic-a did not answer at {address} in time"):
                dial(address, Greeting(SESSION, 1, "clinic-b"), "clinic-a", time.monotonic() + 0.5)


def test_what_was_sent_and_received_is_not_kept(keys):
    """A masked table that went over a connection does not stay in memory until the next round."""
    large = words(1 << 20)
    with mesh(2, keys) as (one, other):
        expected = {1: ("i8", large.shape)}, {0: ("i8", large.shape)}
        at_once(
            lambda: one.exchange("words", {1: large}, expected[0]),
            lambda: other.exchange("words", {0: large}, expected[1]),
        )
        for peer in (one._peers[1], other._peers[0]):
            assert [len(part.obj) for part in (peer.out, peer.held_back, peer.into)] == [0, 0, 0]
            assert len(peer.frame) == 0


def test_a_large_frame_waits_for_its_reader(keys):
    """A busy peer's socket is not filled: the words of a large frame follow once the peer is in the round."""
    large = np.arange(1 << 20, dtype="<i8")
    expected = {1: ("i8", large.shape)}, {0: ("i8", large.shape)}
    with mesh(2, keys) as (one, other):
        sent = []

        def first():
            received = one.exchange("words", {1: large}, expected[0])
            return received[1]

        def second():
            # Nothing but a header lies in the socket before this side joins the round.
            readable, _, _ = select.select([other._peers[0].tls], [], [], 20)
            assert readable
            sent.append(len(socket.socket.recv(other._peers[0].tls, 1 << 20, socket.MSG_PEEK)))
            return other.exchange("words", {0: large * 2}, expected[1])[0]

        mine, theirs = at_once(first, second)
    assert (mine == large * 2).all()
    assert (theirs == large).all()
    assert sent[0] < 1 << 10
