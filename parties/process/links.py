"""The data plane between workers: one TLS 1.3 connection a pair of parties, driven by one thread, both ways at once.

A connection begins with one plaintext line that names version, session, epoch and caller, so that a node can hand it to
the right worker; TLS starts after it, ends in the worker, and accepts exactly the certificate that the peer's approval
names. A dead process shows as a closed connection at once, a dead machine through the kernel's keepalive.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mpc.channel import Counters, Expectation, Sequencer
from mpc.errors import FrameRefused, PeerLost, ProtocolError
from mpc.frames import HEADER_BYTES, Array, Due
from parties.agreement.contract import Approval
from parties.errors import PartnerError
from parties.keys.tls import TlsKey, certificate_sha256, split_address, worker_context
from parties.process.measured import measured
from parties.service.messages import MeasuredLink

GREETING = "privity1"
MAX_GREETING_BYTES = 256
SILENCE_S = 8  # the kernel gives a peer's machine up after this
CHUNK_BYTES = 1 << 18
BUFFERED_BYTES = 1 << 16  # that a socket takes while its reader is busy
LINGER_S, LINGER_READS = 1.0, 8  # for the other side to read an alert
_PADDING = -HEADER_BYTES % 8  # before a header, so that the words after it stand on their boundaries
_NOTHING = memoryview(b"")
_GREETING = re.compile(GREETING.encode() + rb" ([0-9a-f]{64}) ([0-9]{1,9}) ([a-z0-9][a-z0-9_-]{0,63})\n")


@dataclass(frozen=True)
class Greeting:
    """The plaintext line at the start of a connection."""

    session: str
    epoch: int
    caller: str

    def encode(self) -> bytes:
        return f"{GREETING} {self.session} {self.epoch} {self.caller}\n".encode()


def parse_greeting(line: bytes) -> Greeting:
    """Raises: ProtocolError if it is not the line of this version."""
    found = _GREETING.fullmatch(line)
    if found is None:
        raise ProtocolError("a connection does not begin as one between parties", action="check who dials")
    session, epoch, caller = (part.decode("ascii") for part in found.groups())
    return Greeting(session, int(epoch), caller)


def tune(raw: socket.socket) -> None:
    """No delay for small frames; a silent machine is given up after SILENCE_S."""
    if raw.family in {socket.AF_INET, socket.AF_INET6}:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_S * 1000)


def dial(address: str, greeting: Greeting, peer: str, deadline: float) -> socket.socket:
    """A connection on which the greeting was answered; tried again until the deadline (of time.monotonic).

    Raises: PeerLost if nobody hands it to a worker in time.
    """
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            raw = socket.create_connection(split_address(address), timeout=2)
            try:
                raw.settimeout(max(0.1, deadline - time.monotonic()))  # a worker may take its time to start
                raw.sendall(greeting.encode())
                if raw.recv(1) == b"+":  # the worker has it
                    tune(raw)
                    return raw
            except OSError:
                raw.close()
                raise
            raw.close()
        time.sleep(0.05)
    raise PeerLost(peer, f"did not answer at {address} in time")


def secure(
    raw: socket.socket, own: TlsKey, approval: Approval, *, server: bool, timeout_s: float = 20
) -> ssl.SSLSocket:
    """The TLS handshake, and the comparison of the peer's certificate with its approval's.

    Raises: PartnerError if the peer shows another key, PeerLost if it goes away before it shows one.
    """
    raw.settimeout(timeout_s)
    try:
        tls = _shake_hands(raw, worker_context(own, approval.certificate, server=server), approval)
    except (ssl.SSLEOFError, ConnectionError, TimeoutError) as exc:
        raw.close()
        raise PeerLost(approval.name, "went away during the TLS handshake, perhaps refusing this side's key") from exc
    except ssl.SSLError as exc:
        raw.close()
        raise PartnerError(
            f"the TLS handshake with {approval.name} failed: one side's key is not the one that its approval names",
            action="do not go on; compare fingerprints over the phone",
        ) from exc
    tls.setblocking(False)
    return tls


def _shake_hands(raw: socket.socket, context: ssl.SSLContext, approval: Approval) -> ssl.SSLSocket:
    """A connection that both sides have confirmed: in TLS 1.3 a client learns of its refusal only when it reads."""
    is_server = context.protocol is ssl.PROTOCOL_TLS_SERVER
    tls = context.wrap_socket(raw, server_side=is_server, do_handshake_on_connect=False)
    try:
        tls.do_handshake()
        shown = tls.getpeercert(binary_form=True)
        if not shown or certificate_sha256(ssl.DER_cert_to_PEM_cert(shown)) != certificate_sha256(approval.certificate):
            raise ssl.SSLError("another certificate")
        tls.sendall(b"!")
        if not tls.recv(1):  # a refusal is an alert, so this is a death, or a refusal that nobody could explain
            raise ssl.SSLEOFError("hung up")
    except BaseException:
        _hang_up(tls)
        raise
    return tls


def _hang_up(tls: ssl.SSLSocket) -> None:
    """Close once the other side has read why: bytes left unread here would reset the connection and lose the alert."""
    with tls, contextlib.suppress(OSError):
        socket.socket.shutdown(tls, socket.SHUT_WR)
        tls.settimeout(LINGER_S)
        for _ in range(LINGER_READS):
            if not socket.socket.recv(tls, CHUNK_BYTES):
                return


class _Peer:
    """One connection's state within a round.

    A frame that a socket's buffer may not hold follows its header only when the peer's header shows that it is in the
    round as well: the kernel would take a live peer that is busy, and so reads nothing, for a dead one.
    """

    __slots__ = ("_alone", "descriptor", "due", "filled", "frame", "held_back", "into", "name", "out", "reading", "tls")

    def __init__(self, name: str, tls: ssl.SSLSocket) -> None:
        self.name, self.tls, self.descriptor = name, tls, tls.fileno()
        self.out = self.held_back = self.into = _NOTHING
        self.frame = bytearray()  # what is read, after its padding
        self.filled, self.reading = 0, False
        self.due: Due | None = None
        self._alone = select.poll()  # no call to the system before it waits, unlike epoll
        self._alone.register(self.descriptor, select.POLLIN)

    def begin(self, frame: bytes, *, answered: bool) -> None:
        """A round, in which nothing is expected yet."""
        self.due, self.filled, self.reading, self.out = None, 0, False, memoryview(frame)
        if answered and len(frame) > BUFFERED_BYTES:
            self.out, self.held_back = self.out[:HEADER_BYTES], self.out[HEADER_BYTES:]

    def expect(self, due: Due) -> None:
        self.due, self.reading = due, True
        self.frame = bytearray(_PADDING + HEADER_BYTES + due.form.length)
        self.into = memoryview(self.frame)[_PADDING:]

    @property
    def busy(self) -> bool:
        return self.reading or bool(self.out or self.held_back)

    @property
    def wanted(self) -> int:
        return (select.POLLIN if self.reading else 0) | (select.POLLOUT if self.out else 0)

    def is_readable(self, timeout_s: float) -> bool:
        """Wait for it alone."""
        return bool(self._alone.poll(1000 * timeout_s))

    def move(self) -> None:
        """Send what the connection takes, take what it has."""
        self._write()
        if self.reading:
            self._read()
            self._write()

    def _write(self) -> None:
        if self.held_back and not self.out and self.filled >= HEADER_BYTES:
            self.out, self.held_back = self.held_back, _NOTHING
        while self.out:
            try:
                sent = self.tls.send(self.out[:CHUNK_BYTES])
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            self.out = self.out[sent:] or _NOTHING  # an empty part would keep the whole

    def _read(self) -> None:
        while self.reading:
            try:
                got = self.tls.recv_into(self.into)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            if not got:
                raise PeerLost(self.name, "closed its connection")
            before, self.filled = self.filled, self.filled + got
            if before < HEADER_BYTES <= self.filled and self.due is not None:
                self.due.check(self.frame[_PADDING : _PADDING + HEADER_BYTES])
            self.into = self.into[got:]
            self.reading = len(self.into) > 0

    def received(self) -> Array:
        """Raises: ProtocolError if nothing was expected."""
        if self.due is None:
            raise ProtocolError(f"nothing was received from {self.name}")
        found = self.due.array(self.frame, _PADDING + HEADER_BYTES)
        self.frame, self.into = bytearray(), _NOTHING  # which may be large: the words alone keep them
        return found


class TlsChannel:
    """mpc.channel.Channel over TLS connections to every peer."""

    def __init__(
        self,
        rank: int,
        peers: Mapping[int, tuple[str, ssl.SSLSocket]],
        *,
        session: bytes,
        epoch: int,
        timeout_s: float = 120,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rank, self.world, self.counters = rank, len(peers) + 1, Counters()
        self._peers = {peer: _Peer(name, tls) for peer, (name, tls) in peers.items()}
        self._sequencer = Sequencer(session, epoch)
        self._timeout_s, self._clock = timeout_s, clock
        self.measured: tuple[MeasuredLink, ...] = ()  # at the goodbye

    def exchange(
        self, name: str, outgoing: Mapping[int, Array], expecting: Mapping[int, Expectation]
    ) -> dict[int, Array]:
        """One round; see mpc.channel.Channel."""
        sent = 0
        for rank, peer in self._peers.items():
            frame = self._sequencer.write(rank, name, outgoing[rank]) if rank in outgoing else b""
            sent += len(frame)
            peer.begin(frame, answered=rank in expecting)
            try:
                self._advance(peer)
            except PeerLost:
                continue  # met again in a moment, when the others can be read too
        for rank, expectation in expecting.items():  # while frames are under way
            self._peers[rank].expect(self._sequencer.expect(rank, name, expectation))
        self.counters.rounds += 1
        self.counters.bytes_sent += sent
        self.counters.sent_by_name[name] += sent
        self._drive(name)
        received = {}
        for rank in expecting:
            received[rank] = (peer := self._peers[rank]).received()
            self.counters.bytes_received += peer.filled
        return received

    def _drive(self, name: str) -> None:
        """Move bytes both ways on all connections until the round is complete."""
        deadline = self._clock() + self._timeout_s
        while busy := [peer for peer in self._peers.values() if peer.busy]:
            # A read that fails costs an error, several times what it takes to wait first.
            ready = [peer for peer in busy if peer.reading and peer.tls.pending()]
            self._advance_each(ready or self._await(busy, deadline, name))

    def _await(self, busy: list[_Peer], deadline: float, name: str) -> list[_Peer]:
        """Those whose connection is ready, if any is before the deadline. Raises: PeerLost after it."""
        left = deadline - self._clock()
        if left <= 0:
            silent, *others = (peer.name for peer in busy)
            raise PeerLost(silent, f"kept silent for {self._timeout_s:.0f} s in round '{name}'", others=others)
        if len(busy) == 1 and busy[0].wanted == select.POLLIN:
            return busy if busy[0].is_readable(left) else []
        waiting = select.poll()
        for peer in busy:
            waiting.register(peer.descriptor, peer.wanted)
        ready = dict(waiting.poll(1000 * left))
        return [peer for peer in busy if peer.descriptor in ready]

    def _advance_each(self, ready: list[_Peer]) -> None:
        """Raises: PeerLost after all had their turn: a peer's wrong frame says more than that others closed on it."""
        lost = None
        for peer in ready:
            try:
                self._advance(peer)
            except PeerLost as exc:
                lost = lost or exc
        if lost is not None:
            raise lost

    @staticmethod
    def _advance(peer: _Peer) -> None:
        try:
            peer.move()
        except (OSError, EOFError) as exc:
            raise PeerLost(peer.name, "closed its connection") from exc
        except FrameRefused as exc:
            raise exc.sent_by(peer.name) from exc
        except ProtocolError as exc:
            raise ProtocolError(f"from {peer.name}: {exc.what}", action=exc.action) from exc

    def finish(self) -> None:
        """Say goodbye and wait for everybody's, so that nobody's last message is lost; then close."""
        empty = np.empty(0, dtype="u1")
        self.exchange("goodbye", dict.fromkeys(self._peers, empty), dict.fromkeys(self._peers, ("u1", (0,))))
        self.measured = tuple(filter(None, (measured(peer.name, peer.tls) for peer in self._peers.values())))
        self.close()

    def close(self) -> None:
        for peer in self._peers.values():
            with contextlib.suppress(OSError):
                peer.tls.close()
