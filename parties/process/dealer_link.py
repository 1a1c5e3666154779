"""The connection between a party's worker and the dealer's process: whole messages each way over TLS 1.3.

A message is its length and its bytes. The dealer's process also sends a heartbeat every few seconds, whatever it
computes: a party that hears nothing at all gives it up, however long an answer may take.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
import time
import weakref
from collections.abc import Iterator, Sequence

from mpc.errors import PeerLost, ProtocolError
from parties.process.links import CHUNK_BYTES
from parties.process.measured import measured
from parties.service.messages import MeasuredLink

MAX_MESSAGE_BYTES = 1 << 30  # of the dealer's, whose corrections are as large as what they correct
MAX_REQUEST_BYTES = 1 << 20  # of a party's: keys, and what it asks for
BEAT_S = 2.0
_LENGTH = struct.Struct("<I")
_BEAT = (1 << 32) - 1  # in place of a length


class DealerLink:
    """mpc.channel.Link over a TLS connection, at either end. One thread uses it; others may close it or let it beat."""

    def __init__(self, tls: ssl.SSLSocket, name: str, *, limit: int, timeout_s: float, silence_s: float) -> None:
        """`timeout_s`: for a message; `silence_s`: without even a heartbeat."""
        self._tls, self._name, self._limit = tls, name, limit
        self._timeout_s, self._silence_s = timeout_s, silence_s
        if tls.family in {socket.AF_INET, socket.AF_INET6}:  # what is dealt ahead waits for a busy reader
            tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * timeout_s))
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(tls, select.POLLIN)
        self._writable.register(tls, select.POLLOUT)
        self._using = threading.Lock()  # OpenSSL takes one caller at a time, and a message is not cut by a heartbeat
        weakref.finalize(self, tls.close)  # not before: the number could be another's while a thread still waits on it

    def send(self, message: bytes) -> None:
        """Raises: PeerLost if the other end is gone, or takes nothing in time."""
        with self._using, self._lost_at_end():
            left = memoryview(_LENGTH.pack(len(message)) + message)
            while left:
                try:
                    left = left[self._tls.send(left[:CHUNK_BYTES]) :]
                except ssl.SSLWantWriteError:
                    if not self._writable.poll(1000 * self._timeout_s):
                        raise PeerLost(self._name, f"took nothing for {self._timeout_s:.0f} s") from None

    def receive(self) -> bytes:
        """Raises: PeerLost if the other end is gone or silent, ProtocolError for a message beyond the limit."""
        deadline = time.monotonic() + self._timeout_s
        with self._lost_at_end():
            while (length := _LENGTH.unpack(self._exactly(_LENGTH.size, deadline))[0]) == _BEAT:
                continue
            if length > self._limit:
                raise ProtocolError(f"{self._name} sent {length} bytes where {self._limit} are the limit")
            return bytes(self._exactly(length, deadline))

    def _exactly(self, count: int, deadline: float) -> bytearray:
        content = bytearray(count)
        view = memoryview(content)
        while view:
            try:
                with self._using:
                    got = self._tls.recv_into(view)
            except ssl.SSLWantReadError:
                self._await_more(deadline)
                continue
            if not got:
                raise EOFError
            view = view[got:]
        return content

    def _await_more(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left > 0 and self._readable.poll(1000 * min(left, self._silence_s)):
            return
        if left < self._silence_s:
            raise PeerLost(self._name, f"sent no message for {self._timeout_s:.0f} s")
        raise PeerLost(self._name, f"kept silent for {self._silence_s:.0f} s")

    @contextlib.contextmanager
    def _lost_at_end(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError) as exc:
            raise PeerLost(self._name, "closed its connection") from exc

    def measured(self) -> MeasuredLink | None:
        """What the kernel measured of the connection so far, if it says."""
        return measured(self._name, self._tls)

    def beat(self) -> None:
        """Send a heartbeat, unless a message is under way or earlier ones are still unread."""
        if self._using.acquire(blocking=False):
            try:
                if self._writable.poll(0):
                    self._tls.send(_LENGTH.pack(_BEAT))
            except OSError:
                self.close()  # whoever uses the link learns of it
            finally:
                self._using.release()

    def close(self) -> None:
        """End the connection after what was sent; whoever waits on it learns at once.

        The TCP connection alone: SSLSocket.shutdown would make what another thread still sends go out in clear.
        """
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._tls, socket.SHUT_RDWR)


@contextlib.contextmanager
def beating(links: Sequence[DealerLink], every_s: float = BEAT_S) -> Iterator[None]:
    """Heartbeats on these links, from a thread of their own."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(every_s):
            for link in links:
                link.beat()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
